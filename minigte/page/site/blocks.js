// What the kernels do to a token's row between two hidden states without leaving it anywhere: what attention and
// feed-forward add, and the norms after each (encoder_layer in minigte/reference).

// erf to 1.5e-7, by the formula of minigte/reference/ops.py.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

const gelu = (x) => (x / 2) * (1 + erf(x / Math.SQRT2));
const ACTIVATIONS = {
  gelu,
  gelu_10: (x) => Math.min(gelu(x), 10),
  gelu_new: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(x, 0),
  silu: (x) => x / (1 + Math.exp(-x)),
};

/** The mean and the deviation that a norm takes off a row and divides it by. */
function spread(row, eps) {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
  const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length;
  return { mean, deviation: Math.sqrt(variance + eps) };
}

function norm(row, [weight, bias], eps) {
  const { mean, deviation } = spread(row, eps);
  return { mean, deviation, weight, bias, out: row.map((x, d) => ((x - mean) / deviation) * weight[d] + bias[d]) };
}

/**
 * One layer of one token: state (D,), its row, and context (H K,), what its heads gathered.
 *
 * attended: what attention adds; fed: what feed-forward adds; norms: what stands after each, with mean and deviation of
 * the row, weight, bias and what comes out; input: what the feed-forward's first product reads; before, after: its
 * numbers in the middle, (F,), before and behind the activation; activated: the latter as the second product reads them.
 */
export function blocks(layer, { name, eps, wide }, state, context) {
  const width = state.length;
  const { attentionOutput, intermediate, output } = layer;
  const attended = attentionOutput.times(attentionOutput.read(context)).slice(0, width);
  const first = norm(state.map((x, d) => x + attended[d]), layer.normAfterAttention, eps);
  const input = intermediate.read(first.out);
  const before = intermediate.times(input);
  const after = before.map(ACTIVATIONS[name]);
  const activated = output.read(after);
  const fed = output.times(activated).slice(0, width);
  const second = norm(first.out.map((x, d) => x + fed[d]), layer.normAfterFeedForward, eps);
  const middle = { before, after, activated };
  for (const [part, row] of Object.entries(middle)) middle[part] = row.slice(0, wide); // without what pads it
  return { attended, fed, norms: [first, second], input: input.slice(0, width), ...middle };
}
