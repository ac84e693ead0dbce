// One text, and everything that is shown of its way to a vector; a second one for what they have in common.

import { byId, clean, latest } from "./dom.js";
import { heads } from "./heads.js";
import { layers } from "./layers.js";
import { cosine } from "./minigte.js";
import { pair } from "./pair.js";
import { way } from "./way.js";

/** Read the texts now and whenever they change; done after the first time. */
export function inside(embedder) {
  const off = { layers: new Set(), heads: new Set() }; // numbers, and "layer head"
  const read = {}; // what was last read of either text, and of what
  const onHeads = heads(embedder, off, () => show());
  const onLayers = layers(embedder, onHeads.ask);
  const onPair = pair(embedder);
  const onWay = way(embedder);

  async function seen(id) {
    const text = clean(byId(id).value);
    const without = { layers: [...off.layers], heads: [...off.heads].map((key) => key.split(" ").map(Number)) };
    const key = JSON.stringify([text, without]);
    if (read[id]?.key !== key) read[id] = { key, text, seen: await embedder.layers(text, without) };
    return read[id].seen;
  }

  const show = latest(async () => {
    const before = read.text?.seen;
    const first = await seen("text");
    if (first !== before) {
      onWay.show(read.text.text, first);
      onLayers(first);
      onHeads.show(first);
    }
    const second = await seen("other");
    const isOff = off.layers.size + off.heads.size > 0;
    const whole = isOff
      ? await embedder.embed([read.text.text, read.other.text])
      : [first, second].map(({ vectors }) => vectors.at(-1));
    onPair.show(first, second, off, cosine(...whole));
  });

  byId("text").addEventListener("input", show);
  byId("other").addEventListener("input", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onHeads.redraw);
  return show();
}
