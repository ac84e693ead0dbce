// Attention: all heads at a glance, one of them large, and one cell of it as the sum that made it.

import { terms } from "./attention.js";
import { breathe, byId, inBrackets, isPrinted } from "./dom.js";
import { codeLine, describeGathering, drawAttention, drawAttentionArcs, drawTerms, ends, fill, fixed, listen, make, moved, named, shaded } from "./views.js";

/**
 * off: what is switched off; change(): called after something was.
 *
 * Gives {show, redraw, ask}: show(seen) is called with every new text, redraw() where colours have changed, and
 * ask(i) where a token is chosen elsewhere.
 */
export function heads(embedder, off, change) {
  const { shape, lines } = embedder;
  let seen;
  let [layer, head] = [0, 0];
  let painted = 0;
  let cell; // the token that asks, and one that it gathers from

  // The tokens that are shown: all, or the text's own.
  function shown() {
    const all = seen.tokens.map((_, i) => i);
    const [first, last] = seen.own;
    return byId("apart").checked && last > first ? all.slice(first, last) : all;
  }

  const probabilities = (at, number) => seen.attention[at]?.probabilities?.[number];

  // What colours and arcs go up to: 1, or the largest that is shown where the others are apart.
  function most(of, places) {
    if (!byId("apart").checked) return 1;
    let found = 0;
    for (const i of places) for (const j of places) found = Math.max(found, of[i * seen.tokens.length + j]);
    return found || 1;
  }

  function shares(of, places) {
    const whole = most(of, places);
    return (a, b) => of[places[a] * seen.tokens.length + places[b]] / whole;
  }

  function show(next) {
    seen = next;
    const tooLong = seen.attention.some((of) => of && !of.probabilities);
    byId("heads-view").hidden = tooLong;
    byId("heads-note").textContent = tooLong
      ? `The text has ${seen.tokens.length} tokens. Attention is shown for texts of up to 128.`
      : "";
    return tooLong ? undefined : draw();
  }

  async function draw() {
    cell ??= strongest(probabilities(layer, head), shown()) ?? [shown()[0], shown()[0]];
    drawChosen();
    await paint();
  }

  function drawChosen() {
    const places = shown();
    cell = cell.map((place) => (places.includes(place) ? place : places[0]));
    markGrid();
    drawHead(places);
  }

  // --- All heads

  function markGrid() {
    const grid = byId("grid");
    const count = seen.attention.length;
    if (grid.children.length !== count + 1 || grid.children[0].children.length !== shape.heads + 1) build(grid, count);
    byId("grid-help").textContent =
      `${count} layers of ${shape.heads} heads, counted from 0: layers downwards, heads to the right. Choose one with the mouse or the arrow keys.`;
    for (let l = 0; l < count; l++) {
      for (let h = 0; h < shape.heads; h++) {
        const box = grid.children[l + 1].children[h + 1];
        const isOff = !probabilities(l, h) || off.heads.has(`${l} ${h}`);
        const isChosen = l === layer && h === head;
        box.classList.toggle("off", isOff);
        box.setAttribute("aria-selected", isChosen);
        box.setAttribute("aria-label", `layer ${l}, head ${h}${isOff ? ", switched off" : ""}`);
        box.tabIndex = isChosen ? 0 : -1;
      }
    }
  }

  // A layer at a time: of a long text there are two million cells.
  async function paint() {
    const mine = ++painted;
    const places = shown();
    const colours = ends(); // asked once: there are many heads
    for (let l = 0; l < seen.attention.length; l++) {
      if (!isPrinted()) await breathe();
      if (mine !== painted) return; // something else is painted meanwhile
      for (let h = 0; h < shape.heads; h++) {
        const canvas = byId("grid").children[l + 1].children[h + 1].firstChild;
        const of = probabilities(l, h);
        canvas.width = canvas.height = places.length;
        if (!of) continue;
        const share = shares(of, places);
        canvas.getContext("2d").putImageData(shaded(places.length, places.length, (a, b) => Math.sqrt(share(a, b)), colours), 0, 0);
      }
    }
  }

  function build(grid, count) {
    grid.style.setProperty("--heads", shape.heads);
    grid.replaceChildren(
      make("div", { role: "row" }, make("span", { role: "columnheader" }, make("span", { class: "hidden" }, "layer")),
        ...Array.from({ length: shape.heads }, (_, h) => make("span", { role: "columnheader" }, String(h)))),
      ...Array.from({ length: count }, (_, l) =>
        make("div", { role: "row" }, make("span", { role: "rowheader" }, String(l)),
          ...Array.from({ length: shape.heads }, (_, h) => {
            const box = make("div", { role: "gridcell" }, make("canvas", { "aria-hidden": true }));
            box.addEventListener("click", () => open(l, h));
            return box;
          }))));
    grid.onkeydown = (event) => {
      const to = moved(event.key, [layer, head], [count, shape.heads]);
      if (!to) return;
      event.preventDefault();
      open(...to);
      grid.children[layer + 1].children[head + 1].focus();
    };
  }

  function open(l, h) {
    [layer, head] = [l, h];
    cell = strongest(probabilities(layer, head), shown()) ?? cell;
    drawChosen();
  }

  // The cell that is largest among those shown.
  function strongest(of, places) {
    if (!of) return undefined;
    let [most, found] = [-1, undefined];
    for (const i of places) {
      for (const j of places) {
        const p = of[i * seen.tokens.length + j];
        if (p > most) [most, found] = [p, [i, j]];
      }
    }
    return found;
  }

  // --- One head

  const describe = (i, j) => describeGathering(seen.tokens, i, j, probabilities(layer, head)[i * seen.tokens.length + j]);

  function drawHead(places) {
    const of = probabilities(layer, head);
    const [headOff, layerOff] = [off.heads.has(`${layer} ${head}`), off.layers.has(layer)];
    const title = `Layer ${layer}, head ${head}`;
    byId("head-title").textContent = title;
    byId("switch-head").textContent = `Switch this head ${headOff ? "on" : "off"}`;
    byId("switch-layer").textContent = `Switch layer ${layer} ${layerOff ? "on" : "off"}`;
    byId("all-on").hidden = !off.heads.size && !off.layers.size;
    byId("head-on").hidden = byId("sum").hidden = !of;
    byId("head-note").textContent = layerOff
      ? "This layer is switched off: what comes in goes out as it is."
      : headOff
        ? "This head is switched off: it still attends as below, but what it gathers is zero."
        : "";
    if (!of) return;
    const tokens = places.map((i) => seen.tokens[i]);
    const share = shares(of, places);
    const arcs = document.querySelector("[name=head-view]:checked").value === "arcs";
    byId("matrix-view").hidden = arcs;
    byId("arcs-view").hidden = !arcs;
    if (arcs) {
      drawAttentionArcs(byId("arcs"), { title, tokens, share, chosen: places.indexOf(cell[0]),
        describe: (a, b) => describe(places[a], places[b]) });
    } else {
      drawAttention(byId("matrix"), { ramp: byId("matrix-ramp"), title, tokens, share,
        room: Math.max(200, byId("matrix").parentElement.clientWidth - 120),
        chosen: cell.map((place) => places.indexOf(place)) });
      byId("matrix-readout").textContent = describe(...cell);
      byId("matrix-most").textContent = byId("apart").checked ? most(of, places).toFixed(2) : "1";
    }
    const T = seen.tokens.length;
    const own = places.reduce((sum, i) => sum + places.reduce((part, j) => part + of[i * T + j], 0), 0) / places.length;
    byId("apart-note").textContent = places.length < T
      ? `${(100 * (1 - own)).toFixed(0)} % of what the words gather here comes from ${seen.tokens.filter((_, i) => !places.includes(i)).join(" and ")}, left out of the picture.`
      : "";
    drawSum(of);
  }

  // --- One cell

  function drawSum(of) {
    const [i, j] = cell;
    const T = seen.tokens.length;
    const factors = (to) => terms(seen.attention[layer], shape, head, i, to);
    const dot = (to) => factors(to).reduce((sum, [q, k]) => sum + q * k, 0);
    const row = seen.tokens.map((_, to) => dot(to) * shape.scale);
    const most = Math.max(...row);
    const powers = row.map((score) => Math.exp(score - most));
    const total = powers.reduce((a, b) => a + b);
    byId("sum-title").textContent = `${named(seen.tokens[i], i)} asks, ${named(seen.tokens[j], j)} answers: ${of[i * T + j].toFixed(4)}`;
    const parts = factors(j);
    drawTerms(byId("terms"), parts.map(([q, k]) => ({ how: `${fixed(q, 2)} × ${fixed(k, 2)}`, value: q * k, shown: fixed(q * k, 2) })));
    byId("score-sum").textContent = `q · k = ${fixed(dot(j), 2)}`;
    byId("score-scaled").textContent =
      `s = q · k / √${shape.headSize} = ${fixed(dot(j), 2)} × ${shape.scale.toFixed(4)} = ${fixed(row[j], 4)}`;
    byId("softmax").textContent =
      `p = e^(s − largest) / Σ = e^(${fixed(row[j], 2)} − ${inBrackets(most, 2)}) / ${total.toFixed(4)} = ${powers[j].toFixed(4)} / ${total.toFixed(4)} = ${of[i * T + j].toFixed(4)}`;
    byId("row").caption.textContent = `All that ${named(seen.tokens[i], i)} gathers: shares of 1`;
    const order = row.map((_, to) => to).sort((a, b) => row[b] - row[a] || a - b);
    fill(byId("row"), order.map((to) => [seen.tokens[to], String(to), row[to].toFixed(4), powers[to].toFixed(4), of[i * T + to].toFixed(4)]));
  }

  function choose(i, j) {
    cell = [i, j];
    drawChosen();
  }

  listen(byId("matrix"), byId("matrix-readout"), {
    size: () => [shown().length, shown().length],
    chosen: () => cell.map((place) => shown().indexOf(place)),
    choose: (a, b) => choose(shown()[a], shown()[b]),
    describe: (a, b) => describe(shown()[a], shown()[b]),
  });
  byId("arcs").addEventListener("click", ({ target }) => {
    if (target.dataset.token) choose(shown()[target.dataset.token], cell[1]);
  });
  byId("apart").addEventListener("change", () => draw());
  for (const radio of document.querySelectorAll("[name=head-view]")) radio.addEventListener("change", drawChosen);
  const flip = (set, key) => (set.delete(key) ? set : set.add(key));
  byId("switch-head").addEventListener("click", () => {
    flip(off.heads, `${layer} ${head}`);
    change();
  });
  byId("switch-layer").addEventListener("click", () => {
    flip(off.layers, layer);
    change();
  });
  byId("all-on").addEventListener("click", () => {
    off.heads.clear();
    off.layers.clear();
    byId("switch-head").focus();
    change();
  });
  byId("lines").append(codeLine(lines.scores, "page 3: Attention"), codeLine(lines.probabilities, "page 3: Attention"));

  return { show, redraw: () => seen && show(seen), ask: (i) => choose(i, cell?.[1] ?? i) };
}
