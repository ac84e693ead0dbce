// What a reader does with the model: look at a vector being made, compare texts, search notes.

import { breathe, byId, clean, count, fail, latest, milliseconds } from "./dom.js";
import { inside } from "./inside.js";
import { Embedder, cosine } from "./minigte.js";
import { passages } from "./passages.js";
import { make } from "./views.js";

// --- The model -------------------------------------------------------------------------------------------

async function bytesOf(id, onProgress = () => {}) {
  const text = byId(id).textContent;
  const step = 1 << 22; // letters; four of them are three bytes
  const whole = new Uint8Array((text.length / 4) * 3 - (text.match(/=*$/)[0].length));
  for (let begin = 0; begin < text.length; begin += step) {
    const letters = atob(text.slice(begin, begin + step));
    const at = (begin / 4) * 3;
    for (let i = 0; i < letters.length; i++) whole[at + i] = letters.charCodeAt(i);
    onProgress({ loaded: at, total: whole.length });
    await breathe();
  }
  byId(id).remove();
  return whole;
}

async function loadInlined(onProgress) {
  const plan = JSON.parse(byId("model").textContent);
  const script = new Blob([byId("worker").textContent], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(script));
  const kernels = await bytesOf("kernels");
  const weights = await bytesOf("weights", onProgress);
  return Embedder.start(worker, { plan, kernels, weights });
}

function onProgress({ loaded, total }) {
  const bar = byId("progress");
  bar.hidden = false;
  bar.value = loaded / total;
  byId("state").textContent = `Loading the model: ${Math.round(loaded / 2 ** 20)} of ${Math.round(total / 2 ** 20)} MB`;
}

async function load() {
  const start = performance.now();
  const embedder = byId("weights") ? await loadInlined(onProgress) : await Embedder.load("./", { onProgress });
  const [vector] = await embedder.embed(["ready"]);
  byId("progress").hidden = true;
  byId("state").textContent = `Ready after ${((performance.now() - start) / 1000).toFixed(1)} s: ${vector.length} numbers for every text.`;
  return embedder;
}

// --- How similar -----------------------------------------------------------------------------------------

const MOST_TEXTS = 12;

function compare(embedder) {
  const known = new Map();
  const show = latest(async () => {
    const start = performance.now();
    const lines = byId("texts").value.split("\n").map((line) => clean(line.trim())).filter(Boolean);
    const texts = lines.slice(0, MOST_TEXTS);
    const fresh = [...new Set(texts.filter((text) => !known.has(text)))];
    const vectors = await embedder.embed(fresh);
    fresh.forEach((text, i) => known.set(text, vectors[i]));
    for (const text of known.keys()) if (!texts.includes(text)) known.delete(text);
    const scores = texts.map((a) => texts.map((b) => cosine(known.get(a), known.get(b))));
    drawSimilarities(texts, scores);
    const left = lines.length - texts.length;
    const note = fresh.length ? `${count(fresh.length, "text")} computed in ${milliseconds(start)}.` : "";
    byId("compare-note").textContent = left > 0 ? `${note} The last ${count(left, "line")} left out.` : note;
  });
  byId("texts").addEventListener("input", show);
  return show();
}

function drawSimilarities(texts, scores) {
  const table = byId("similarities");
  const apart = scores.flatMap((row, i) => row.filter((_, j) => i !== j));
  const [least, most] = [Math.min(...apart), Math.max(...apart)];
  const numbers = texts.map((_, i) => make("th", { scope: "col" }, String(i + 1)));
  const head = make("tr", {}, make("td", { class: "corner" }), ...numbers);
  const rows = texts.map((text, i) => {
    const row = make("tr", {}, make("th", { scope: "row", title: text }, `${i + 1} ${text}`));
    for (const [j, score] of scores[i].entries()) {
      const cell = make("td", {}, score.toFixed(3));
      const strength = i === j || most === least ? 0 : (score - least) / (most - least);
      cell.style.backgroundColor = `rgb(var(--tint) / ${(strength * 0.35).toFixed(3)})`;
      row.append(cell);
    }
    return row;
  });
  table.replaceChildren(table.caption, head, ...rows);
}

// --- Search ----------------------------------------------------------------------------------------------

const AT_ONCE = 1000; // characters of notes embedded between two looks at what is typed
const SHOWN = 10;
const SAMPLE = {
  "holiday.md": `# Holiday

The train to Lisbon leaves at 7:42 on Friday; be at the station twenty minutes before.

We have booked two rooms with a balcony near the harbour, breakfast included.

Do not forget the passports, the charger and the medicine against seasickness.`,
  "kitchen.md": `# Kitchen

For the bread: 500 g flour, 350 g water, 10 g salt, a little yeast; let it rest overnight in the fridge.

The dishwasher stops with error E24 when the drain is blocked. Clean the filter first.

Grandmother's soup needs a bone with marrow and three hours of patience.`,
  "work.txt": `Ana takes over the budget from Monday. She needs access to the accounts.

The customer complained that the invoice was sent twice; we owe them an apology and a refund.

The server was slow because the disk was full. Old logs are deleted every night now.`,
};

async function filesOf(entry, path = "") {
  if (entry.isFile) return [{ path: path + entry.name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const inner of some) found.push(...(await filesOf(inner, `${path}${entry.name}/`)));
  }
}

function search(embedder) {
  let notes = []; // {path, text, vector}
  let reading = 0;
  const before = (name) => embedder.prompts[name] ?? "";

  const show = latest(async () => {
    const query = clean(byId("query").value.trim());
    if (!query || !notes.length) {
      byId("hits").replaceChildren();
      return;
    }
    const [vector] = await embedder.embed([before("query") + query]);
    const hits = notes.map((note) => ({ ...note, score: cosine(vector, note.vector) }));
    hits.sort((a, b) => b.score - a.score);
    byId("hits").replaceChildren(
      ...hits
        .slice(0, SHOWN)
        .map(({ path, text, score }) =>
          make("li", {}, make("small", {}, `${score.toFixed(3)}  ${path}`), make("p", {}, text)),
        ),
    );
  });

  async function read(files) {
    const mine = ++reading; // a later choice takes the place of this one
    notes = [];
    show();
    const taken = files.filter(({ path }) => /\.(txt|md|markdown)$/i.test(path) && !/(^|\/)\./.test(path));
    const found = [];
    for (const { path, file } of taken) {
      for (const text of passages(clean(await file.text()))) found.push({ path, text });
    }
    const start = performance.now();
    while (notes.length < found.length) {
      const some = [];
      for (let room = AT_ONCE, next = notes.length; room > 0 && next < found.length; next++) {
        some.push(found[next]);
        room -= found[next].text.length;
      }
      const vectors = await embedder.embed(some.map(({ text }) => before("document") + text));
      if (mine !== reading) return;
      notes.push(...some.map((note, j) => ({ ...note, vector: vectors[j] })));
      byId("search-note").textContent = `${notes.length} of ${count(found.length, "passage")} read …`;
      show();
    }
    const left = files.length - taken.length;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    byId("search-note").textContent =
      (found.length
        ? `${count(found.length, "passage")} of ${count(taken.length, "file")}, read in ${seconds} s.`
        : "Nothing to read there: notes are .txt and .md files with text in them.") +
      (left ? ` ${count(left, "other file")} left alone.` : "");
  }

  const choose = ({ target }) => {
    if (target.files.length) {
      read([...target.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }))).catch(fail);
    }
  };
  byId("folder").addEventListener("change", choose);
  byId("files").addEventListener("change", choose);
  byId("sample").addEventListener("click", () => {
    read(Object.entries(SAMPLE).map(([path, text]) => ({ path, file: new Blob([text]) }))).catch(fail);
  });
  byId("query").addEventListener("input", show);
  const drop = byId("drop");
  const over = (on) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", on);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", async (event) => {
    over(false)(event);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    try {
      await read((await Promise.all(entries.map((entry) => filesOf(entry)))).flat());
    } catch (error) {
      fail(error);
    }
  });
}

load()
  .then(async (embedder) => {
    search(embedder);
    await compare(embedder);
    await inside(embedder);
    document.body.dataset.ready = "";
    byId(location.hash.slice(1))?.scrollIntoView(); // what was asked for has moved since
  })
  .catch(fail);
