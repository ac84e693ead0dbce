// What the page of `minigte explain` and that of `minigte page` draw alike: matrices of tokens, and arcs.

const SVG = new Set(["svg", "text", "path", "line", "circle", "polyline", "title"]);

export function make(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG.has(name) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function fill(table, rows) {
  // The first cell names its row; the table's own head says which columns are words.
  const body = rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first),
    ...rest.map((cell) => make("td", Number.isNaN(Number(cell)) ? { class: "word" } : {}, cell))));
  table.tBodies[0].replaceChildren(...body);
}

export const named = (token, place) => `${token} (${place})`;

// Matrices on a canvas

const css = (property) => getComputedStyle(document.documentElement).getPropertyValue(property).trim();
const rgb = (property) => css(property).split(/\s+/).map(Number);
export const ends = () => [rgb("--none"), rgb("--full")];

export function drawRamp(canvas, shade) {
  const context = canvas.getContext("2d");
  const [none, full] = ends();
  for (let x = 0; x < canvas.width; x++) {
    const t = shade(x / (canvas.width - 1));
    context.fillStyle = `rgb(${none.map((c, k) => c + t * (full[k] - c)).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// A pixel for every cell; shade(i, j) from 0 to 1.
export function shaded(rows, columns, shade, [none, full] = ends()) {
  const image = new ImageData(columns, rows);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const t = shade(i, j);
      for (let k = 0; k < 3; k++) image.data[at++] = none[k] + t * (full[k] - none[k]);
      image.data[at++] = 255;
    }
  }
  return image;
}

// Rows and columns of tokens; shade(i, j) from 0 to 1; chosen: a row and a column.
export function drawMatrix(canvas, { rows, columns, shade, chosen, room = 640 }) {
  const longest = Math.max(rows.length, columns.length);
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
  context.strokeRect(left, top + row * cell, cell * columns.length, cell);
  context.strokeRect(left + column * cell, top + row * cell, cell, cell);
  if (font) {
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
  const arcs = { others: [], own: [] };
  for (let i = 0; i < rows.length; i++) {
    const own = i === chosen;
    for (let j = 0; j < columns.length; j++) {
      const p = strength(i, j);
      if (p === null) continue;
      const middle = (left + right) / 2;
      (own ? arcs.own : arcs.others).push(make("path", { class: own ? "arc chosen" : "arc",
        d: `M${left} ${y(i)}C${middle} ${y(i)} ${middle} ${y(j)} ${right} ${y(j)}`,
        "stroke-width": 0.5 + 6 * p, "stroke-opacity": own ? 0.25 + 0.75 * p : 0.1 + 0.5 * p },
      make("title", {}, describe(i, j))));
    }
  }
  const words = [
    ...rows.map((token, i) => make("text", { class: i === chosen ? "token chosen" : "token", x: left - 8, y: y(i) + 4,
      "text-anchor": "end", "data-token": i }, token)),
    ...columns.map((token, j) => make("text", { x: right + 8, y: y(j) + 4 }, token))];
  svg.replaceChildren(...arcs.others, ...arcs.own, ...words);
}
