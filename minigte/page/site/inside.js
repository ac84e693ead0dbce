// One text, and everything that is shown of its way to a vector; a second one for what they have in common.

import { breathe, byId, clean, latest } from "./dom.js";
import { heads } from "./heads.js";
import { layers } from "./layers.js";
import { cosine } from "./minigte.js";
import { neurons } from "./neurons.js";
import { pair } from "./pair.js";
import { stream } from "./stream.js";
import { named, onColours } from "./views.js";
import { way } from "./way.js";

/** Read the texts now and whenever they change; done after the first time. */
export function inside(embedder) {
  const off = { layers: new Set(), heads: new Set() }; // numbers, and "layer head"
  const read = {}; // what was last read of either text, and of what
  let token; // whose row is followed through the blocks
  let followed; // the text that it is of
  const headsView = heads(embedder, off, () => show());
  const layersView = layers(embedder, ask);
  const neuronsView = neurons(embedder);
  const streamView = stream(embedder, neuronsView.open);
  const pairView = pair(embedder);
  const wayView = way(embedder);

  async function seen(id) {
    const text = clean(byId(id).value);
    const without = { layers: [...off.layers], heads: [...off.heads].map((key) => key.split(" ").map(Number)) };
    const key = JSON.stringify([text, without]);
    if (read[id]?.key !== key) read[id] = { key, text, seen: await embedder.layers(text, without) };
    return read[id].seen;
  }

  const follow = latest(async () => {
    const { seen: of } = read.text;
    token = Math.min(token ?? of.own[0], of.tokens.length - 1);
    const blocks = await embedder.blocks(of, token);
    if (of !== read.text.seen) return; // something else was typed meanwhile
    for (const id of ["stream-token", "neurons-token"]) {
      if (of !== followed) byId(id).replaceChildren(...of.tokens.map((word, i) => new Option(named(word, i), i)));
      byId(id).value = token;
    }
    followed = of;
    streamView.show(of, token, blocks);
    await breathe();
    await neuronsView.show(of, token, blocks);
  });

  function ask(i) {
    token = i;
    headsView.ask(i);
    follow();
  }

  const show = latest(async () => {
    const before = read.text?.seen;
    const first = await seen("text");
    if (first !== before) {
      // Each in a task of its own, so that the page answers in between.
      wayView.show(read.text.text, first);
      await breathe();
      layersView.show(first);
      await breathe();
      await headsView.show(first);
      await follow();
    }
    const second = await seen("other");
    const isOff = off.layers.size + off.heads.size > 0;
    const whole = isOff
      ? await embedder.embed([read.text.text, read.other.text])
      : [first, second].map(({ vectors }) => vectors.at(-1));
    await pairView.show(first, second, off, cosine(...whole));
  });

  byId("text").addEventListener("input", show);
  byId("other").addEventListener("input", show);
  for (const id of ["stream-token", "neurons-token"]) {
    byId(id).addEventListener("change", ({ target }) => ask(Number(target.value)));
  }
  onColours(() => {
    for (const view of [headsView, streamView, neuronsView]) view.redraw();
  });
  return show();
}
