// The whole way of a text, from its characters to its vector: six steps that one walks through.

import { byId, count } from "./dom.js";
import { coloured, strip } from "./layers.js";
import { cosine } from "./minigte.js";
import { pool } from "./pooling.js";
import { codeLine, fixed, make } from "./views.js";

const FEW = 6; // numbers that are written out
const MOST = 12; // of a column that is pooled
const SMALL = 24; // rows of a small picture

const picture = (numbers, width, attributes = {}) => {
  const canvas = make("canvas", { width, height: numbers.length / width, "aria-hidden": true, ...attributes });
  canvas.getContext("2d").putImageData(coloured(numbers, width), 0, 0);
  return canvas;
};
// Of many rows some: a small picture has no room for more, and there are many small pictures.
function some(rows, width) {
  const count = rows.length / width;
  const shown = Math.min(SMALL, count);
  const kept = new Float32Array(shown * width);
  for (let i = 0; i < shown; i++) {
    const begin = Math.floor((i * count) / shown) * width;
    kept.set(rows.subarray(begin, begin + width), i * width);
  }
  return kept;
}
const few = (numbers) => `${[...numbers.slice(0, FEW)].map((x) => fixed(x, 3)).join(", ")}${numbers.length > FEW ? ", …" : ""}`;
const formula = (...parts) => make("p", { class: "formula" }, ...parts);
const words = (...parts) => make("p", {}, ...parts);

const begun = (column, sign) =>
  column.slice(0, MOST).map((x) => fixed(x, 3)).join(sign) + (column.length > MOST ? `${sign}… ` : "");
const POOLED = {
  mean: (column) => `(${begun(column, " + ")}) / ${column.length}`,
  cls: (column) => fixed(column[0], 3),
  lasttoken: (column) => fixed(column.at(-1), 3),
  max: (column) => `max(${begun(column, ", ")})`,
};
const POOLED_AS = {
  mean: "Every token has a row. The text's is their mean, number by number.",
  cls: "Every token has a row. The text's is that of its first token, which stands for the whole.",
  lasttoken: "Every token has a row. The text's is that of its last token, which has seen all others.",
  max: "Every token has a row. The text's has of each number the largest.",
};

/** The steps: name, the shape that leaves them, a small picture, and what is said of them. */
function steps(embedder, text, seen) {
  const { dimension: D, lines, pooling, shape } = embedder;
  const { tokens, ids, states, attention, vectors } = seen;
  const T = tokens.length;
  const first = Math.min(seen.own[0], T - 1);
  const name = `“${tokens[first]}”`;
  const row = (state) => state.subarray(first * D, (first + 1) * D);
  const last = states.at(-1);
  const pooled = pool(last, 0, T, D, pooling);
  const length = Math.sqrt(pooled.reduce((sum, x) => sum + x * x, 0));
  const column = Array.from({ length: T }, (_, i) => last[i * D]);
  const characters = [...text].length;
  return [
    {
      name: "Text",
      leaves: count(characters, "character"),
      small: make("span", { class: "sample" }, text || "(nothing)"),
      more: [words(`What you type, ${count(characters, "character")}. The model never sees a character: first the text is cut into pieces that it knows.`)],
    },
    {
      name: "Tokens",
      leaves: `(${T},) ids`,
      small: make("span", { class: "sample ids" }, ids.join(" ")),
      more: [
        words(`${count(T, "piece")}, each with its number in the vocabulary. ` +
          `${tokens.filter((_, i) => i < seen.own[0] || i >= seen.own[1]).join(" and ")} stand around every text.`),
        make("p", { class: "chips" }, ...tokens.slice(0, 40).map((token, i) => make("span", {}, token, make("small", {}, String(ids[i]))))),
        words(make("span", { class: "note" }, "Course, page 1: From text to ids")),
      ],
      view: ["tokens", "The tokens, each with its numbers"],
    },
    {
      name: "Embeddings",
      leaves: `(${T}, ${D})`,
      small: picture(some(states[0], D), D),
      more: [
        words(`Every token looks up ${D} numbers for what it is, and adds ${D} for where it stands. Now each is a row:`),
        picture(states[0], D, { class: "broad" }),
        formula(`${name} = ${few(row(states[0]))}`),
        codeLine(lines.embeddings, "page 2: Embeddings"),
      ],
      view: ["layers", "Every row of numbers"],
    },
    {
      name: `${attention.length} layers`,
      leaves: `(${T}, ${D})`,
      small: make("span", { class: "stack" }, ...states.slice(1).map((state) => picture(some(state, D), D))),
      more: [
        words(`In each layer every token gathers from the others, in ${shape.heads} ways at once, and works on what it got. Its row stays ${D} numbers and changes a little each time: here ${name}, and its cosine with what it was as an embedding.`),
        make("div", { class: "growth" }, ...states.slice(1).map((state, i) =>
          make("span", {}, strip(row(state), { "aria-hidden": true }), make("small", {}, `${i}: ${cosine(row(state), row(states[0])).toFixed(2)}`)))),
        codeLine(lines.layer, "pages 3 to 5: Attention, feed-forward, residuals"),
      ],
      view: ["heads-title", `All ${attention.length * shape.heads} heads`],
    },
    {
      name: "Pooling",
      leaves: `(${D},)`,
      small: picture(pooled, D, { class: "flat" }),
      more: [
        words(POOLED_AS[pooling], " The first number:"),
        formula(`${POOLED[pooling](column)} = ${fixed(pooled[0], 4)}`),
        codeLine(lines.pooling, "page 6: Pooling and similarity"),
      ],
      view: ["layers", "The text after every layer"],
    },
    {
      name: "Vector",
      leaves: "",
      small: picture(vectors.at(-1), D, { class: "flat" }),
      more: [
        words(`${D} numbers, scaled to length 1: all that is kept of the text. The angle between two such arrows says how much their texts have in common.`),
        formula(`${fixed(pooled[0], 4)} / ${length.toFixed(4)} = ${fixed(vectors.at(-1)[0], 4)}`),
        formula(few(vectors.at(-1))),
        codeLine(lines.normalize, "page 6: Pooling and similarity"),
      ],
      view: ["pair-title", "Compare it with another text"],
    },
  ];
}

/** Gives {show}, to be called with every new text. */
export function way(embedder) {
  let current = 0;
  const list = byId("steps");
  const panels = byId("panels");
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  function mark(step) {
    current = step;
    [...list.querySelectorAll("button")].forEach((button, i) => {
      if (i === step) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
  }

  function go(step) {
    const to = Math.max(0, Math.min(list.children.length - 1, step));
    mark(to);
    panels.scrollTo({ left: panels.children[to].offsetLeft, behavior: still.matches ? "instant" : "smooth" });
  }

  function show(text, seen) {
    const all = steps(embedder, text, seen);
    if (!list.children.length) {
      list.append(...all.map(({ name }, i) => {
        const button = make("button", { type: "button" }, make("b", {}, name), make("span", { class: "small" }));
        button.addEventListener("click", () => go(i));
        return make("li", {}, button, ...(i < all.length - 1 ? [make("span", { class: "pipe" }, make("small", {}))] : []));
      }));
      panels.append(...all.map(({ name }, i) => make("section", { class: "panel", "aria-label": `Step ${i + 1} of ${all.length}: ${name}` })));
      mark(0);
    }
    all.forEach(({ leaves, small, more, name, view }, i) => {
      list.children[i].querySelector(".small").replaceChildren(small);
      list.children[i].querySelector(".pipe small")?.replaceChildren(leaves);
      const links = view ? [make("p", {}, make("a", { href: `#${view[0]}` }, `${view[1]} ↓`))] : [];
      panels.children[i].replaceChildren(make("h3", {}, `${i + 1} · ${name}`), ...more, ...links);
    });
  }

  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(current + step);
    if (list.contains(document.activeElement)) list.children[current].querySelector("button").focus();
  };
  list.addEventListener("keydown", keys);
  panels.addEventListener("keydown", (event) => { if (event.target === panels) keys(event); });
  byId("back").addEventListener("click", () => go(current - 1));
  byId("next").addEventListener("click", () => go(current + 1));
  // Scrolling walks too: the panel that fills most of the room is the step.
  let settling;
  panels.addEventListener("scroll", () => {
    clearTimeout(settling);
    settling = setTimeout(() => mark(Math.round(panels.scrollLeft / panels.clientWidth)), 80);
  });
  return { show };
}
