// Two texts: the pairs of tokens that their cosine is the sum of, and what it becomes with heads or layers off.

import { breathe, byId, count } from "./dom.js";
import { cosine } from "./minigte.js";
import { codeLine, drawArcs, fill, fixed, named } from "./views.js";

const SHARES = {
  mean: (state, tokens) => new Float64Array(state).map((x) => x / tokens),
  cls: (state, tokens, width) => new Float64Array(state).fill(0, width),
  lasttoken: (state, tokens, width) => new Float64Array(state).fill(0, 0, (tokens - 1) * width),
  max(state, tokens, width) {
    const shares = new Float64Array(state.length);
    for (let column = 0; column < width; column++) {
      let at = column;
      for (let i = column; i < state.length; i += width) if (state[i] > state[at]) at = i;
      shares[at] = state[at];
    }
    return shares;
  },
};

/** What each token gives to a text's vector of length 1: (T, D), rows that add up to it. */
function shares(state, width, pooling) {
  const parts = SHARES[pooling](state, state.length / width, width);
  let squares = 0;
  for (let column = 0; column < width; column++) {
    let sum = 0;
    for (let i = column; i < parts.length; i += width) sum += parts[i];
    squares += sum * sum;
  }
  const length = Math.max(Math.sqrt(squares), 1e-12);
  return parts.map((x) => x / length);
}

/** What each pair of tokens gives to the cosine: (Ta, Tb), adds up to it. */
async function pairs(a, b, width) {
  const [rows, columns] = [a.length / width, b.length / width];
  const found = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let d = 0; d < width; d++) sum += a[i * width + d] * b[j * width + d];
      found[i * columns + j] = sum;
    }
    if (i % 16 === 15) await breathe();
  }
  return found;
}

const ARCS = 24; // of the strongest pairs
const ROWS = 20; // of the table

/** Gives {show}, which is called with two texts as they are read, what is off, and their cosine with nothing off. */
export function pair(embedder) {
  let seen;

  async function show(a, b, off, wholeScore) {
    const width = embedder.dimension;
    const [last, other] = [a, b].map(({ states }) => shares(states.at(-1), width, embedder.pooling));
    seen = { a, b, parts: await pairs(last, other, width) };
    const score = cosine(a.vectors.at(-1), b.vectors.at(-1));
    byId("pair-score").textContent = fixed(score, 4);
    const what = [[off.layers.size, "layer"], [off.heads.size, "head"]]
      .filter(([size]) => size).map(([size, word]) => count(size, word)).join(" and ");
    byId("pair-off").textContent = what
      ? `with ${what} off; with everything on ${fixed(wholeScore, 4)}, so ${fixed(score - wholeScore, 4)} from it`
      : "Switch a head or a layer off, above, and see it move.";
    draw();
  }

  function draw() {
    const { a, b, parts } = seen;
    const columns = b.tokens.length;
    const places = ({ tokens, own: [first, end] }) =>
      tokens.map((_, i) => i).filter((i) => !byId("pair-apart").checked || end === first || (i >= first && i < end));
    const [left, right] = [places(a), places(b)];
    const part = (i, j) => parts[i * columns + j];
    const order = Uint32Array.from(left.flatMap((i) => right.map((j) => i * columns + j))).sort((x, y) => parts[y] - parts[x]);
    const most = Math.max(0, parts[order[0]]) || 1;
    const least = parts[order[Math.min(order.length, ARCS) - 1]];
    const describe = (i, j) => `${named(a.tokens[i], i)} with ${named(b.tokens[j], j)}: ${fixed(part(i, j), 4)}`;
    // How far above the weakest that is shown, so that what carries the score stands out.
    const strength = (i, j) => (part(i, j) > 0 && part(i, j) >= least ? 0.12 + 0.88 * ((part(i, j) - least) / (most - least || 1)) ** 1.5 : null);
    drawArcs(byId("links"), { rows: left.map((i) => a.tokens[i]), columns: right.map((j) => b.tokens[j]), chosen: -1,
      strength: (x, y) => strength(left[x], right[y]), describe: (x, y) => describe(left[x], right[y]),
      label: `Links between the ${Math.min(order.length, ARCS)} pairs of tokens that give most to the cosine; the table holds the numbers` });
    const sum = order.reduce((total, at) => total + parts[at], 0);
    const whole = parts.reduce((x, y) => x + y, 0);
    byId("pair-note").textContent = order.length < parts.length
      ? `The pairs shown add up to ${fixed(sum, 4)}; those with tokens that every text has give the other ${fixed(whole - sum, 4)}.`
      : `All ${order.length} pairs add up to ${fixed(sum, 4)}, the cosine.`;
    fill(byId("top"), Array.from(order.subarray(0, ROWS), (at) => {
      const [i, j] = [Math.floor(at / columns), at % columns];
      return [named(a.tokens[i], i), named(b.tokens[j], j), part(i, j).toFixed(4)];
    }));
  }

  byId("pair-apart").addEventListener("change", () => seen && draw());
  byId("pair-lines").append(codeLine(embedder.lines.pooling, "page 6: Pooling and similarity"));
  return { show };
}
