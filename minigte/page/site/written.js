// Who wrote a token's row: the embeddings, every attention, every feed-forward, and the biases of the norms.

/**
 * The row after the embeddings and after every layer, each as a sum of what was written up to there.
 *
 * A norm takes off the row's mean, divides by its deviation, multiplies by weights and adds a bias. With that mean and
 * that deviation it does the same to every part of the sum, so that the parts still add up to the row. first: (D,), the
 * embeddings; blocks: of every layer (see blocks.js), null where it is off. Gives of every state its parts, (D,) each:
 * embeddings, then attention and feed-forward of each layer, zeros before they were written, and last the norms' biases.
 */
export function written(first, blocks) {
  const width = first.length;
  const zeros = () => new Float64Array(width);
  let parts = [Float64Array.from(first), ...blocks.flatMap(() => [zeros(), zeros()]), zeros()];
  const states = [parts];
  blocks.forEach((block, layer) => {
    if (block) {
      [block.attended, block.fed].forEach((added, half) => {
        parts = parts.map((part, k) => (k === 1 + 2 * layer + half ? Float64Array.from(added) : part));
        parts = scaled(parts, block.norms[half]);
      });
    }
    states.push(parts);
  });
  return states;
}

function scaled(parts, { deviation, weight, bias }) {
  return parts.map((part, k) => {
    const mean = part.reduce((sum, x) => sum + x, 0) / part.length;
    const isBias = k === parts.length - 1;
    return part.map((x, d) => ((x - mean) / deviation) * weight[d] + (isBias ? bias[d] : 0));
  });
}

/** What share of the row each part is: its product with the row, over the row's with itself. They add up to 1. */
export function sharesOf(parts) {
  const row = parts[0].map((_, d) => parts.reduce((sum, part) => sum + part[d], 0));
  const product = (a) => a.reduce((sum, x, d) => sum + x * row[d], 0);
  const whole = product(row) || 1;
  return parts.map((part) => product(part) / whole);
}
