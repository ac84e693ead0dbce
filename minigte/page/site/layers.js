// The numbers of one token, or of the whole text, after the embeddings and after every layer.

import { byId, count } from "./dom.js";
import { cosine } from "./minigte.js";
import { after, make } from "./views.js";

const MOST_TOKENS_SHOWN = 128;
const [ABOVE, BELOW] = [[33, 102, 172], [178, 24, 43]]; // zero

/** A row of numbers as a row of colours: blue above zero, red below. */
export function strip(row, attributes = {}) {
  const canvas = make("canvas", { width: row.length, height: 1, ...attributes });
  canvas.getContext("2d").putImageData(coloured(row, row.length), 0, 0);
  return canvas;
}

/** Rows of numbers as a picture, a pixel for each. */
export function coloured(numbers, width) {
  const image = new ImageData(width, numbers.length / width);
  const step = Math.ceil(numbers.length / 4096);
  const sample = Float32Array.from({ length: Math.ceil(numbers.length / step) }, (_, i) => Math.abs(numbers[i * step])).sort();
  const largest = sample[Math.floor(sample.length * 0.98)] || 1;
  for (let i = 0, at = 0; i < numbers.length; i++) {
    const [r, g, b] = numbers[i] < 0 ? BELOW : ABOVE;
    image.data[at++] = r;
    image.data[at++] = g;
    image.data[at++] = b;
    image.data[at++] = 255 * Math.min(1, Math.abs(numbers[i]) / largest);
  }
  return image;
}

/** Gives {show}, which is called with every new text; onChoice is called with the token that is chosen. */
export function layers(embedder, onChoice) {
  let chosen = -1; // a token, or -1 for the whole text
  let seen;

  function show(next) {
    seen = next;
    const { ids, tokens, isCut } = seen;
    const shown = Math.min(tokens.length, MOST_TOKENS_SHOWN);
    if (chosen >= shown) chosen = -1;
    const choices = [["whole text", count(ids.length, "token")], ...tokens.slice(0, shown).map((token, i) => [token, ids[i]])];
    const group = byId("tokens");
    const hadFocus = group.contains(document.activeElement);
    group.replaceChildren(
      ...choices.map(([token, id], i) => {
        const button = make("button", { type: "button", role: "radio" }, token, make("small", {}, String(id)));
        button.addEventListener("click", () => choose(i - 1));
        return button;
      }),
    );
    draw();
    if (hadFocus) group.children[chosen + 1].focus();
    byId("inside-note").textContent = isCut
      ? `The text is longer than the ${embedder.maxLength} tokens that the model reads: it was cut there.`
      : "";
  }

  function choose(token) {
    chosen = token;
    draw();
    byId("tokens").children[chosen + 1].focus();
    if (token >= 0) onChoice(token);
  }

  function draw() {
    [...byId("tokens").children].forEach((button, i) => {
      button.setAttribute("aria-checked", i - 1 === chosen);
      button.tabIndex = i - 1 === chosen ? 0 : -1;
    });
    const width = embedder.dimension;
    const rows = seen.states.map((state, layer) =>
      chosen < 0 ? seen.vectors[layer] : state.subarray(chosen * width, (chosen + 1) * width),
    );
    const last = rows.at(-1);
    byId("layers").replaceChildren(
      ...rows.map((row, layer) => {
        const alike = cosine(row, last).toFixed(3);
        const label = `${after(layer)}: ${row.length} numbers, cosine ${alike} with the last`;
        const isOff = layer > 0 && !seen.attention[layer - 1];
        const name = make("span", {}, isOff ? `${after(layer)}, off` : after(layer));
        return make("div", { class: "layer" }, name, strip(row, { role: "img", "aria-label": label }), make("span", {}, alike));
      }),
    );
  }

  byId("tokens").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const { length } = byId("tokens").children;
    choose(((chosen + 1 + step + length) % length) - 1);
  });
  return { show };
}
