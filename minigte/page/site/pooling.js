// One vector per token to one vector per text, with the bits that NumPy's sums give on x86-64
// (minigte/vectors/pooling.py): float32 throughout, in NumPy's order.

const f32 = Math.fround;

// numpy/_core/src/umath/loops_utils.h.src: pairwise_sum. Blocks of 128 in eight sums side by side.
function pairwiseSum(a, begin, count, stride) {
  if (count < 8) {
    let sum = -0;
    for (let i = 0; i < count; i++) sum = f32(sum + a[begin + i * stride]);
    return sum;
  }
  if (count <= 128) {
    const r = new Float32Array(8);
    for (let j = 0; j < 8; j++) r[j] = a[begin + j * stride];
    let i = 8;
    for (; i < count - (count % 8); i += 8) {
      for (let j = 0; j < 8; j++) r[j] += a[begin + (i + j) * stride];
    }
    let sum = f32(
      f32(f32(r[0] + r[1]) + f32(r[2] + r[3])) + f32(f32(r[4] + r[5]) + f32(r[6] + r[7])),
    );
    for (; i < count; i++) sum = f32(sum + a[begin + i * stride]);
    return sum;
  }
  let half = Math.floor(count / 2);
  half -= half % 8;
  return f32(
    pairwiseSum(a, begin, half, stride) + pairwiseSum(a, begin + half * stride, count - half, stride),
  );
}

// np.add.reduceat along the tokens: the first row, and the sum of the others.
function sumOfRows(hidden, first, last, width, column) {
  const begin = first * width + column;
  const others = last - first - 1;
  return others ? f32(hidden[begin] + pairwiseSum(hidden, begin + width, others, width)) : hidden[begin];
}

const POOLING = {
  cls: (hidden, first, last, width, column) => hidden[first * width + column],
  lasttoken: (hidden, first, last, width, column) => hidden[(last - 1) * width + column],
  mean: (hidden, first, last, width, column) =>
    f32(sumOfRows(hidden, first, last, width, column) / (last - first)),
  max(hidden, first, last, width, column) {
    let largest = -Infinity;
    for (let n = first; n < last; n++) largest = Math.max(largest, hidden[n * width + column]);
    return largest;
  },
};

// np.einsum("d,d->"): four lanes, sixteen numbers at a time, the last four of them first.
function sumOfSquares(vector) {
  const lanes = new Float32Array(4);
  let i = 0;
  const add = (at) => {
    for (let lane = 0; lane < 4; lane++) {
      const x = at + lane < vector.length ? vector[at + lane] : 0;
      lanes[lane] = f32(lanes[lane] + f32(x * x));
    }
  };
  for (; i + 16 <= vector.length; i += 16) for (const at of [12, 8, 4, 0]) add(i + at);
  for (; i < vector.length; i += 4) add(i);
  return f32(f32(lanes[0] + lanes[1]) + f32(lanes[2] + lanes[3]));
}

/** x / max(‖x‖₂, 1e-12), in place. */
export function normalize(vector) {
  const length = Math.max(f32(Math.sqrt(sumOfSquares(vector))), f32(1e-12));
  for (let i = 0; i < vector.length; i++) vector[i] = f32(vector[i] / length);
  return vector;
}

/** The vector of the text whose tokens are the rows from first up to, not with, last. */
export function pool(hidden, first, last, width, mode) {
  return Float32Array.from({ length: width }, (_, column) =>
    POOLING[mode](hidden, first, last, width, column),
  );
}
