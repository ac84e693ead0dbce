// The residual stream of one token: who wrote its row, after the embeddings and after every layer.

import { byId, inBrackets, onPlace } from "./dom.js";
import { after, codeLine, describeWriter, drawStream, drawTerms, fill, fixed, listen, named, percent, writersBySize, writersOf } from "./views.js";
import { sharesOf, written } from "./written.js";

const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));

/** Gives {show}, which is called with every new text or token, and its blocks; open(layer) shows a feed-forward. */
export function stream(embedder, open) {
  const { lines } = embedder;
  let seen;
  let token;
  let blocks;
  let states; // of every state its parts
  let shares; // and their shares
  let writers;
  let picked; // the number of the row that was asked for; without, the largest
  let number; // that is followed where it is one alone
  let cell; // a writer, and a state

  let ofNumber = false; // whether one number is followed, or the whole row
  const value = (k, l) => (ofNumber ? states[l][k][number] : shares[l][k]);
  const whose = () => named(seen.tokens[token], token);
  const said = (x) => (ofNumber ? fixed(x, 3) : percent(x));
  const row = (l) => Array.from(states[l][0], (_, d) => states[l].reduce((sum, part) => sum + part[d], 0));

  function show(next, at, of) {
    [seen, token, blocks] = [next, at, of];
    const first = seen.states[0].slice(token * embedder.dimension, (token + 1) * embedder.dimension);
    states = written(first, blocks);
    shares = states.map(sharesOf);
    writers = writersOf(blocks.length);
    const last = row(states.length - 1).map(Math.abs);
    number = picked ?? last.indexOf(Math.max(...last));
    byId("stream-number").value = number;
    cell ??= [2 * blocks.length, blocks.length];
    draw();
  }

  function describe(k, l) {
    const what = ofNumber ? `number ${number} of ${whose()}` : whose();
    return describeWriter(writers, k, l, `${said(value(k, l))} of ${what}`);
  }

  function draw() {
    drawStream(canvas, { ramp: byId("stream-ramp"), limits: [byId("stream-least"), byId("stream-most")], whose: whose(), writers, value,
      said, chosen: cell, room: canvas.parentElement.clientWidth - 130 });
    byId("stream-readout").textContent = describe(...cell);
    drawSum(cell[1]);
    drawNorm(cell[0]);
  }

  function drawSum(l) {
    byId("stream-title-sum").textContent = `${whose()} after ${after(l)}: ${ofNumber ? `number ${number}` : "the row"} as a sum`;
    const order = writersBySize(writers, l, value);
    drawTerms(byId("stream-terms"), order.map((k) => ({ how: writers[k], value: value(k, l), shown: said(value(k, l)) })),
      { choose: (i) => choose(order[i], l), chosen: order.indexOf(cell[0]) });
    const whole = row(l);
    byId("stream-sum").textContent = ofNumber
      ? `x[${number}] = Σ = ${fixed(whole[number], 4)}`
      : `Σ = 100 %: a share is how far a part points where the row points`;
    byId("stream-table").caption.textContent = `After ${after(l)} the row is ${length(whole).toFixed(2)} long`;
    fill(byId("stream-table"), order.map((k) => {
      const added = k === 0 ? states[0][0] : blocks[Math.floor((k - 1) / 2)]?.[k % 2 ? "attended" : "fed"];
      const wrote = k < writers.length - 1 && added ? length(added).toFixed(2) : "–";
      return [writers[k], wrote, length(states[l][k]).toFixed(2), said(value(k, l))];
    }));
  }

  // The norm that stands behind what the chosen writer added.
  function drawNorm(k) {
    const layer = Math.floor((k - 1) / 2);
    const block = k > 0 && blocks[layer];
    byId("stream-norm").hidden = !block;
    if (!block) return;
    const half = (k - 1) % 2;
    const before = half ? block.norms[0].out : seen.states[layer].subarray(token * embedder.dimension, (token + 1) * embedder.dimension);
    const added = half ? block.fed : block.attended;
    const { mean, deviation, weight, bias, out } = block.norms[half];
    const sum = before.map((x, d) => x + added[d]);
    byId("stream-lengths").textContent =
      `${writers[k]} adds ${length(added).toFixed(2)} to a row of ${length(before).toFixed(2)}. Their sum is ${length(sum).toFixed(2)} long, and after the norm ${length(out).toFixed(2)}.`;
    const d = number;
    byId("stream-formula").textContent =
      `number ${d}: (x + added − μ) / σ · w + b = (${fixed(before[d], 3)} + ${inBrackets(added[d], 3)} − ${inBrackets(mean, 3)}) / ${deviation.toFixed(3)} · ${inBrackets(weight[d], 3)} + ${inBrackets(bias[d], 3)} = ${fixed(out[d], 4)}`;
  }

  function choose(k, l) {
    cell = [k, l];
    draw();
    if (k > 0 && k % 2 === 0) open(k / 2 - 1);
  }

  const canvas = byId("stream");
  listen(canvas, byId("stream-readout"), {
    size: () => [writers.length, states.length],
    chosen: () => cell,
    choose,
    describe,
  });
  for (const radio of document.querySelectorAll("[name=stream-of]")) {
    radio.addEventListener("change", () => {
      ofNumber = radio.value === "number";
      draw();
    });
  }
  onPlace(byId("stream-number"), embedder.dimension, (place) => {
    number = picked = place;
    draw();
  });
  byId("stream-lines").append(codeLine(lines.added, "page 5: Residuals and LayerNorm"), codeLine(lines.norm, "page 5: Residuals and LayerNorm"));
  return { show, redraw: () => seen && draw() };
}
