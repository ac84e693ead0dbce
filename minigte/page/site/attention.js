// What the kernels do between queries, keys and values without leaving it anywhere: scores and probabilities.

/** The factors of the sum that is a score: one component of the query and one of the key after the other. */
export function terms({ query, key }, { heads, headWidth, headSize }, head, i, j) {
  const at = (row) => row * heads * headWidth + head * headWidth;
  return Array.from({ length: headSize }, (_, k) => [query[at(i) + k], key[at(j) + k]]);
}

/** s_ij = q_i · k_j · scale of one head: (T, T). */
export function scores({ query, key }, { heads, headWidth, scale }, head) {
  const width = heads * headWidth;
  const tokens = query.length / width;
  const found = new Float32Array(tokens * tokens);
  for (let i = 0; i < tokens; i++) {
    const q = i * width + head * headWidth;
    for (let j = 0; j < tokens; j++) {
      const k = j * width + head * headWidth;
      let sum = 0;
      for (let c = 0; c < headWidth; c++) sum += query[q + c] * key[k + c];
      found[i * tokens + j] = sum * scale;
    }
  }
  return found;
}

/** p_ij = exp(s_ij) / Σ_j exp(s_ij), in place: the largest score of a row is taken off first, which cancels. */
export function softmax(found) {
  const tokens = Math.sqrt(found.length);
  for (let begin = 0; begin < found.length; begin += tokens) {
    const row = found.subarray(begin, begin + tokens);
    const largest = row.reduce((a, b) => Math.max(a, b));
    let sum = 0;
    for (let j = 0; j < tokens; j++) {
      row[j] = Math.exp(row[j] - largest);
      sum += row[j];
    }
    for (let j = 0; j < tokens; j++) row[j] /= sum;
  }
  return found;
}
