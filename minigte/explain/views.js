// What the page of `minigte explain` and that of `minigte page` draw alike: matrices, arcs, attention, the residual stream.

const SVG = new Set(["svg", "text", "path", "line", "circle", "polyline", "title"]);

export function make(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG.has(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// As the pages write them; – is none.
const isNumber = (cell) => !Number.isNaN(Number(cell.replace("−", "-").replace(/\s%$|^–$/, "")));

export function fill(table, rows) {
  // The first cell names its row; the table's own head says which columns are words.
  const body = rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first),
    ...rest.map((cell) => make("td", isNumber(cell) ? {} : { class: "word" }, cell))));
  table.tBodies[0].replaceChildren(...body);
}

export const named = (token, place) => `${token} (${place})`;
export const after = (state) => (state ? `layer ${state - 1}` : "embeddings");
export const fixed = (number, digits) => number.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
export const percent = (share) => `${fixed(100 * share, 1)}\u00a0%`;

// A line of the reference, and where the course explains it.
export function codeLine({ where, source }, course) {
  return make("figure", { class: "code" }, make("pre", { tabindex: 0 }, make("code", {}, source)),
    make("figcaption", {}, `minigte/${where} · course, ${course}`));
}

// Matrices on a canvas

const signedRoot = (x) => Math.sign(x) * Math.sqrt(Math.abs(x));

const css = (property) => getComputedStyle(document.documentElement).getPropertyValue(property).trim();
const rgb = (property) => css(property).split(/\s+/).map(Number);
export const ends = () => [rgb("--none"), rgb("--full"), rgb("--less")];

export function drawRamp(canvas, shade) {
  canvas.getContext("2d").putImageData(shaded(canvas.height, canvas.width, (_, x) => shade(x / (canvas.width - 1))), 0, 0);
}

// A pixel for every cell; shade(i, j) from 0 to 1, or from -1 where there is something to take away.
export function shaded(rows, columns, shade, [none, full, less] = ends()) {
  const image = new ImageData(columns, rows);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const t = shade(i, j);
      const end = t < 0 ? less : full;
      for (let k = 0; k < 3; k++) image.data[at++] = none[k] + Math.abs(t) * (end[k] - none[k]);
      image.data[at++] = 255;
    }
  }
  return image;
}

// Rows and columns by their names; shade(i, j) as above; chosen: a row and a column.
// room is for the columns, and, if not tall, for the rows too; band: whether the chosen row stands out.
export function drawMatrix(canvas, { rows, columns, shade, chosen, room = 640, tall = false, band = true }) {
  const longest = tall ? columns.length : Math.max(rows.length, columns.length);
  const cell = Math.max(2, Math.min(36, Math.floor(room / longest)));
  const font = cell >= 11 ? Math.min(13, cell - 1) : 0; // smaller cells have no labels: the readout names them
  const context = canvas.getContext("2d");
  context.font = `${font}px system-ui, "DejaVu Sans", sans-serif`;
  const width = (words) => (font ? Math.min(140, Math.max(...words.map((word) => context.measureText(word).width)) + 10) : 0);
  const [left, top] = [width(rows), width(columns)].map(Math.ceil);
  const size = [left + cell * columns.length + 2, top + cell * rows.length + 2];
  const ratio = window.devicePixelRatio;
  [canvas.width, canvas.height] = size.map((length) => Math.round(length * ratio));
  [canvas.style.width, canvas.style.height] = size.map((length) => `${length}px`);
  context.scale(ratio, ratio);

  const small = new OffscreenCanvas(columns.length, rows.length);
  small.getContext("2d").putImageData(shaded(rows.length, columns.length, shade), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, left, top, cell * columns.length, cell * rows.length);

  const [row, column] = chosen;
  context.strokeStyle = css("--mark");
  context.lineWidth = 2;
  if (band) context.strokeRect(left, top + row * cell, cell * columns.length, cell);
  context.strokeRect(left + column * cell, top + row * cell, cell, cell);
  if (font) {
    // Resizing the canvas has forgotten it.
    context.font = `${font}px system-ui, "DejaVu Sans", sans-serif`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    rows.forEach((word, i) => {
      context.fillStyle = css(i === row ? "--accent" : "--text");
      context.fillText(word, left - 5, top + (i + 0.5) * cell, left - 6);
    });
    context.textAlign = "left";
    columns.forEach((word, j) => {
      context.save();
      context.translate(left + (j + 0.5) * cell, top - 5);
      context.rotate(-Math.PI / 2);
      context.fillStyle = css(j === column ? "--accent" : "--text");
      context.fillText(word, 0, 0, top - 6);
      context.restore();
    });
  }
  canvas.at = (event) => {
    const box = canvas.getBoundingClientRect();
    const i = Math.floor((event.clientY - box.top - top) / cell);
    const j = Math.floor((event.clientX - box.left - left) / cell);
    return i >= 0 && i < rows.length && j >= 0 && j < columns.length ? [i, j] : null;
  };
}

// Where a key leads from a cell of a matrix of this size, or undefined.
export function moved(key, [row, column], [rows, columns]) {
  const to = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1], Home: [row, 0], End: [row, columns - 1], PageUp: [0, column],
    PageDown: [rows - 1, column] }[key];
  return to && [Math.max(0, Math.min(rows - 1, to[0])), Math.max(0, Math.min(columns - 1, to[1]))];
}

// Clicks and keys choose a cell; the pointer reads any. describe() says what a cell holds.
export function listen(canvas, readout, { size, chosen, choose, describe }) {
  canvas.addEventListener("click", (event) => { const cell = canvas.at(event); if (cell) choose(...cell); });
  canvas.addEventListener("mousemove", (event) => { readout.textContent = describe(...(canvas.at(event) ?? chosen())); });
  canvas.addEventListener("mouseleave", () => { readout.textContent = describe(...chosen()); });
  canvas.addEventListener("keydown", (event) => {
    const cell = moved(event.key, chosen(), size());
    if (!cell) return;
    event.preventDefault();
    choose(...cell);
  });
}

// The terms of a sum, each {how, value, shown}: how it was made, and what it gives. Blue adds, red takes away. With
// choose(i) they are buttons.
export function drawTerms(list, terms, { choose, chosen } = {}) {
  const most = Math.max(...terms.map(({ value }) => Math.abs(value))) || 1;
  list.replaceChildren(...terms.map(({ how, value, shown }, i) => {
    const inner = [make("small", {}, how), make("span", {}, shown)];
    const item = make("li", {}, ...(choose ? [make("button", { type: "button", "aria-pressed": i === chosen }, ...inner)] : inner));
    item.style.backgroundColor = `rgb(var(${value < 0 ? "--against" : "--tint"}) / ${(0.4 * Math.abs(value) / most).toFixed(3)})`;
    if (choose) item.firstChild.addEventListener("click", () => choose(i));
    return item;
  }));
}

const MOST_ARCS = 200; // beside those of the row chosen: of long texts there would be thousands

// Arcs from the tokens on the left to those on the right. strength(i, j) from 0 to 1 is how wide and dark an arc
// is, and null where there is none; those of the row chosen stand out.
export function drawArcs(svg, { rows, columns, strength, chosen, label, describe }) {
  const narrow = svg.parentElement.clientWidth < 560;
  const [step, left, right, width] = narrow ? [22, 100, 240, 340] : [22, 150, 430, 590];
  const y = (i) => (i + 0.5) * step;
  svg.setAttribute("viewBox", `0 0 ${width} ${step * Math.max(rows.length, columns.length) + 4}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", step * Math.max(rows.length, columns.length) + 4);
  svg.setAttribute("aria-label", label);
  const middle = (left + right) / 2;
  const found = [];
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < columns.length; j++) {
      const p = strength(i, j);
      if (p !== null) found.push([i, j, p]);
    }
  }
  const arc = ([i, j, p]) => make("path", { class: i === chosen ? "arc chosen" : "arc",
    d: `M${left} ${y(i)}C${middle} ${y(i)} ${middle} ${y(j)} ${right} ${y(j)}`,
    "stroke-width": 0.5 + 6 * p, "stroke-opacity": i === chosen ? 0.25 + 0.75 * p : 0.1 + 0.5 * p },
  make("title", {}, describe(i, j)));
  const own = found.filter(([i]) => i === chosen);
  const others = found.filter(([i]) => i !== chosen).sort((a, b) => b[2] - a[2]).slice(0, MOST_ARCS);
  const words = [
    ...rows.map((token, i) => make("text", { class: i === chosen ? "token chosen" : "token", x: left - 8, y: y(i) + 4,
      "text-anchor": "end", "data-token": i }, token)),
    ...columns.map((token, j) => make("text", { x: right + 8, y: y(j) + 4 }, token))];
  svg.replaceChildren(...others.map(arc), ...own.map(arc), ...words);
}

// The attention of one head; title names it. share(i, j), from 0 to 1, is how much token i gathers from token j.

export const describeGathering = (tokens, i, j, probability) =>
  `${named(tokens[i], i)} gathers ${probability.toFixed(4)} from ${named(tokens[j], j)}`;

export function drawAttention(canvas, { ramp, title, tokens, share, chosen, room }) {
  canvas.setAttribute("aria-label", `${title}: attention of ${tokens.length} tokens`);
  drawMatrix(canvas, { rows: tokens, columns: tokens, shade: (i, j) => Math.sqrt(share(i, j)), chosen, room });
  drawRamp(ramp, Math.sqrt);
}

// chosen: a token, whose arcs are drawn down to weaker ones than the others'.
export function drawAttentionArcs(svg, { title, tokens, share, chosen, describe }) {
  drawArcs(svg, { rows: tokens, columns: tokens, chosen, describe,
    label: `${title}: arcs from each token to those it gathers from; the table holds the numbers`,
    strength: (i, j) => (share(i, j) < (i === chosen ? 0.005 : 0.05) ? null : share(i, j)) });
}

// The residual stream of one token: who writes its row, and what of that is in each state, after the embeddings and
// after every layer. value(k, l) is what writer k has of state l.

// In the order in which they write.
export const writersOf = (layers) =>
  ["embeddings", ...Array.from({ length: layers }, (_, l) => [`attention ${l}`, `feed-forward ${l}`]).flat(), "biases of norms"];
const hasWritten = (writers, k, l) => k === writers.length - 1 || k <= 2 * l;

// Those that have by then, the largest first.
export const writersBySize = (writers, l, value) =>
  [...writers.keys()].filter((k) => hasWritten(writers, k, l)).sort((a, b) => Math.abs(value(b, l)) - Math.abs(value(a, l)));

// part: what of the state is the writer's, in words.
export const describeWriter = (writers, k, l, part) =>
  hasWritten(writers, k, l) ? `${writers[k]}: ${part} after ${after(l)}` : `${writers[k]} has not written yet after ${after(l)}`;

// whose: the token; said(value): a value as it is written; limits: where the ends of the ramp are written.
export function drawStream(canvas, { ramp, limits, whose, writers, value, said, chosen, room }) {
  const states = Array.from({ length: writers.length / 2 }, (_, l) => after(l));
  const most = Math.max(...states.flatMap((_, l) => writers.map((_, k) => Math.abs(value(k, l))))) || 1;
  canvas.setAttribute("aria-label", `Who wrote ${whose}: ${writers.length} writers, ${states.length} states`);
  drawMatrix(canvas, { rows: writers, columns: states, shade: (k, l) => signedRoot(value(k, l) / most), chosen, tall: true, room });
  drawRamp(ramp, (x) => signedRoot(2 * x - 1));
  limits.forEach((limit, i) => { limit.textContent = said(i ? most : -most); });
}

// Call redraw where the page's colours change: with the reader's scheme, and while it is printed, on paper's.
export function onColours(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  for (const event of ["beforeprint", "afterprint"]) {
    addEventListener(event, () => {
      document.documentElement.classList.toggle("paper", event === "beforeprint");
      redraw();
    });
  }
}
