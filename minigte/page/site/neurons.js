// The feed-forward of one layer and one token: all its neurons at a glance, one of them as the sum that made it, and
// one number that they add to the row.

import { byId, count, inBrackets, onPlace } from "./dom.js";
import { strip } from "./layers.js";
import { codeLine, drawMatrix, drawRamp, drawTerms, fixed, listen, named } from "./views.js";

const [ACROSS, NARROW] = [64, 32]; // neurons in a row of the picture, and of a narrow one
const TERMS = 11; // terms that are written out
const STRONGEST = 12; // neurons that are listed

const bySize = (values) => Array.from(values.keys()).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
const largest = (values) => values.reduce((most, x, i) => (Math.abs(x) > Math.abs(values[most]) ? i : most), 0);
const ACTIVATION = { gelu: "GELU", gelu_new: "GELU", gelu_10: "GELU", relu: "ReLU", silu: "SiLU" };

/** The largest terms of a sum of products, the rest of them together, and the bias. */
function largestTerms(weights, values, bias, word) {
  const products = values.map((x, i) => x * weights[i]);
  const order = bySize(products);
  const rest = order.slice(TERMS).reduce((sum, i) => sum + products[i], 0);
  return [
    ...order.slice(0, TERMS).map((i) => ({ i, how: `${i}: ${fixed(values[i], 2)}\u2009×\u2009${fixed(weights[i], 3)}`, value: products[i], shown: fixed(products[i], 3) })),
    ...(order.length > TERMS ? [{ how: count(order.length - TERMS, `other ${word}`), value: rest, shown: fixed(rest, 3) }] : []),
    { how: "bias", value: bias, shown: fixed(bias, 3) },
  ];
}

/** Gives {show, open}: show is called with every new text or token, and its blocks; open(layer) shows that layer. */
export function neurons(embedder) {
  const { lines, intermediateSize: F, dimension: D } = embedder;
  const reaches = new Map(); // of a layer, how long what each neuron adds is where it answers 1
  let seen;
  let token;
  let blocks;
  let layer;
  let picked = {}; // the neuron and the number that were asked for; without, the largest
  let neuron;
  let number;
  let drawn = 0;
  let redraw = () => {}; // the picture, which has the page's colours
  let [across, down] = [1, 1]; // neurons in a row of the picture, and rows

  function show(next, at, of) {
    [seen, token, blocks] = [next, at, of];
    layer ??= blocks.length - 1;
    return draw();
  }

  function open(next) {
    layer = next;
    picked = {};
    return draw();
  }

  async function draw() {
    const mine = ++drawn;
    const block = blocks[layer];
    const options = blocks.map((_, l) => String(l));
    const select = byId("neurons-layer");
    if (select.options.length !== options.length) select.replaceChildren(...options.map((l) => new Option(l)));
    select.value = layer;
    byId("neurons-view").hidden = !block;
    byId("neurons-note").textContent = block ? "" : `Layer ${layer} is switched off: it adds nothing.`;
    redraw = () => {};
    if (!block) return;
    if (!reaches.has(layer)) reaches.set(layer, await embedder.reach(layer));
    const strength = block.after.map((x, n) => Math.abs(x) * reaches.get(layer)[n]);
    neuron = picked.neuron ?? largest(strength);
    number = picked.number ?? largest(block.fed);
    const [of, to] = await Promise.all([embedder.neuron(layer, neuron), embedder.output(layer, number)]);
    if (mine !== drawn) return; // something else was chosen meanwhile
    redraw = () => drawAll(block, strength);
    redraw();
    drawNeuron(block, of, strength[neuron]);
    drawNumber(block, to);
  }

  const describe = (i, j) => {
    const n = Math.min(i * across + j, F - 1);
    return `Neuron ${n}: ${fixed(blocks[layer].before[n], 3)} before, ${fixed(blocks[layer].after[n], 3)} after ${ACTIVATION[embedder.hiddenAct]}`;
  };
  const place = () => [Math.floor(neuron / across), neuron % across];

  function drawAll({ after }, strength) {
    const canvas = byId("neurons");
    const room = canvas.parentElement.clientWidth;
    across = Math.min(room < 560 ? NARROW : ACROSS, F);
    down = Math.ceil(F / across);
    const most = Math.abs(after[largest(after)]) || 1;
    const shade = (i, j) => (after[i * across + j] ?? 0) / most;
    const rows = Array.from({ length: down }, (_, i) => String(i * across));
    canvas.setAttribute("aria-label", `Layer ${layer}: ${F} neurons at ${named(seen.tokens[token], token)}`);
    drawMatrix(canvas, { rows, columns: Array(across).fill(""), shade, chosen: place(), band: false, tall: true, room: room - 50 });
    drawRamp(byId("neurons-ramp"), (x) => 2 * x - 1);
    [byId("neurons-least").textContent, byId("neurons-most").textContent] = [fixed(-most, 2), fixed(most, 2)];
    byId("neurons-readout").textContent = describe(...place());
    const above = after.filter((x) => x > 0.5).length;
    byId("neurons-count").textContent =
      `${named(seen.tokens[token], token)} asks ${F.toLocaleString("en")} neurons; the answers of ${above} are above 0.5.`;
    const order = bySize(strength).slice(0, STRONGEST);
    drawTerms(byId("neurons-strongest"), order.map((n) => ({ how: `neuron ${n}: ${fixed(after[n], 2)}`, value: after[n], shown: strength[n].toFixed(2) })),
      { choose: (i) => choose(order[i]), chosen: order.indexOf(neuron) });
  }

  function drawNeuron({ input, before, after }, { input: weights, bias, output }, length) {
    const [h, y] = [before[neuron], after[neuron]];
    byId("neuron-title").textContent = `Neuron ${neuron} of layer ${layer} at ${named(seen.tokens[token], token)}: ${fixed(y, 4)}`;
    drawTerms(byId("neuron-terms"), largestTerms(weights, input, bias, "number"));
    byId("neuron-sum").textContent = `h = x · w + b = ${fixed(h - bias, 4)} + ${inBrackets(bias, 4)} = ${fixed(h, 4)}`;
    byId("neuron-act").textContent =
      `${ACTIVATION[embedder.hiddenAct]}(h) = ${fixed(h, 4)} × ${(h ? y / h : 0).toFixed(4)} = ${fixed(y, 4)}`;
    const adds = output.subarray(0, D).map((w) => w * y);
    const most = largest(adds);
    byId("neuron-adds").replaceChildren(strip(adds, { role: "img", "aria-label": `What neuron ${neuron} adds to the row: ${D} numbers, the largest number ${most}, ${fixed(adds[most], 3)}` }));
    byId("neuron-note").textContent = `Its answer times its ${D} outgoing weights is what it adds to the row: ${length.toFixed(2)} long, and most of all ${fixed(adds[most], 3)} to number ${most}.`;
  }

  function drawNumber({ activated, fed }, { input: weights, bias }) {
    byId("number-title").textContent = `Number ${number} of what layer ${layer}'s feed-forward adds: ${fixed(fed[number], 4)}`;
    byId("neurons-number").value = number;
    const all = largestTerms(weights, activated, bias, "neuron");
    drawTerms(byId("number-terms"), all);
    byId("number-sum").textContent = `Σ = ${fixed(fed[number], 4)}`;
  }

  function choose(n) {
    picked.neuron = n;
    return draw();
  }

  listen(byId("neurons"), byId("neurons-readout"), {
    size: () => [down, across],
    chosen: place,
    choose: (i, j) => choose(Math.min(i * across + j, F - 1)),
    describe,
  });
  byId("neurons-layer").addEventListener("change", ({ target }) => open(Number(target.value)));
  onPlace(byId("neurons-number"), D, (place) => {
    picked.number = place;
    draw();
  });
  const course = "page 4: Feed-forward and GELU";
  byId("neuron-lines").append(codeLine(lines.before, course), codeLine(lines.after, course));
  byId("number-lines").append(codeLine(lines.fed, course));
  return { show, open, redraw: () => redraw() };
}
