// The encoder: the WebAssembly kernels, and the memory in which they find a model.

import { blocks } from "./blocks.js";
import { Matrix } from "./matrix.js";
import { normalize, pool } from "./pooling.js";

// A function with an instruction of SIMD128 in it.
const SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15],
  ...[253, 98, 11],
);
const PAGE = 65536; // bytes of memory, WebAssembly's unit
// Of an array's words in the table: how many items it has, how many bytes each, where it lies, and how many rows it has.
const [ITEMS, SIZE, ADDRESS, ROWS] = [2, 3, 4, 5];

/** Say what this browser lacks, before anything large is fetched. Throws an Error. */
export function checkBrowser() {
  const why = "take a current version of Firefox, Chrome, Edge or Safari";
  if (typeof WebAssembly !== "object") throw new Error(`WebAssembly is missing or switched off here: ${why}`);
  if (!WebAssembly.validate(SIMD)) throw new Error(`WebAssembly has no SIMD here: ${why}`);
}

export class Model {
  #plan;
  #forward;
  #table;
  #base;
  #memory;

  /** plan: what model.json says; kernels: the module's bytes; weights: those of the weights file. */
  static async build(plan, kernels, weights) {
    const model = new Model();
    await model.#build(plan, kernels, weights);
    return model;
  }

  async #build(plan, kernels, weights) {
    const { instance } = await WebAssembly.instantiate(kernels);
    const { memory, __heap_base: heap, [plan.function]: forward } = instance.exports;
    this.#plan = plan;
    this.#forward = forward;
    this.#memory = memory;
    const base = Math.ceil(heap.value / 64) * 64;
    const table = base + plan.size;
    const missing = table + 8 * plan.table.length - memory.buffer.byteLength;
    try {
      if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    } catch {
      const megabytes = Math.ceil(plan.size / 2 ** 20);
      throw new Error(
        `this browser gives the page no ${megabytes} MB of memory: close other pages, or use a smaller model`,
      );
    }
    new Uint8Array(memory.buffer, base).set(weights.subarray(0, plan.copied));
    for (const [begin, address, count] of plan.widened) {
      const halves = new Uint16Array(weights.buffer, weights.byteOffset + begin, count);
      widen(halves, new Float32Array(memory.buffer, base + address, count));
    }
    this.#base = base;
    this.#table = new BigInt64Array(memory.buffer, table, plan.table.length);
    for (const [i, word] of plan.table.entries()) this.#table[i] = BigInt(word);
    for (const i of plan.addresses) this.#table[i] += BigInt(base);
  }

  /** The vectors of texts, each given as its token ids. */
  embed(texts) {
    const vectors = new Array(texts.length);
    const order = [...texts.keys()].sort((a, b) => texts[a].length - texts[b].length);
    for (let first = 0, last = 0; first < order.length; first = last) {
      let tokens = 0;
      while (last < order.length) {
        const length = texts[order[last]].length;
        if (last > first && tokens + length > this.#plan.tokens) break;
        tokens += length;
        last++;
      }
      const batch = order.slice(first, last);
      const hidden = this.#run(batch.map((i) => texts[i]));
      let row = 0;
      for (const i of batch) {
        vectors[i] = this.#vector(hidden, row, row + texts[i].length);
        row += texts[i].length;
      }
    }
    return vectors;
  }

  /**
   * One text step by step: {states, attention}.
   *
   * states: its hidden states, of the embeddings and after every layer, each (T, D); attention: of each layer
   * query, key, value and context, (T, H K) each, as the kernels left them. off: what is left out, layers by
   * number and heads as [layer, head]. A head that is off gathers nothing, and a layer that is off leaves the
   * hidden state as it is, and its attention is null. The model is as before afterwards, to the last bit.
   */
  steps(ids, { layers = [], heads = [] } = {}) {
    const { inside, batch, layers: depth } = this.#plan;
    const layered = Object.values(inside.layered);
    const table = this.#table.slice();
    const silenced = heads.flatMap(([layer, head]) => this.#silence(layer, head));
    try {
      const count = Number(table[depth]);
      this.#table[depth] = 0n;
      const states = [this.#run([ids])];
      // Now the kernels are given one layer, and look tokens up in the state that the last run left.
      for (const { word } of layered) this.#table[word + ROWS] = 1n;
      for (const word of inside.added) this.#table[word + ROWS] = 0n;
      this.#table[inside.wordEmbeddings + ADDRESS] = table[batch.out + ADDRESS];
      this.#table[inside.wordEmbeddings + ROWS] = BigInt(ids.length);
      const rows = ids.map((_, row) => row);
      const attention = [];
      for (let layer = 0; layer < count; layer++) {
        if (layers.includes(layer)) {
          states.push(states.at(-1));
          attention.push(null);
          continue;
        }
        for (const { word, bytes } of layered) {
          this.#table[word + ADDRESS] = table[word + ADDRESS] + BigInt(layer * bytes);
        }
        states.push(this.#run([rows]));
        attention.push(this.#attention(ids.length));
      }
      return { states, attention };
    } finally {
      for (const restore of silenced.reverse()) restore();
      this.#table.set(table);
    }
  }

  // Set what makes a head's values to zero; gives what sets it back.
  #silence(layer, head) {
    const { layered, heads } = this.#plan.inside;
    return [layered["value.panels"], layered["value.bias"]].map(({ word, bytes }) => {
      const size = bytes / heads;
      const begin = Number(this.#table[word + ADDRESS]) + layer * bytes + head * size;
      const weights = new Uint8Array(this.#memory.buffer, begin, size);
      const kept = weights.slice();
      weights.fill(0);
      return () => weights.set(kept);
    });
  }

  // What the last layer of the last run left, of so many tokens.
  #attention(tokens) {
    const { qkv, context, heads, headWidth } = this.#plan.inside;
    const width = heads * headWidth;
    const all = new Float32Array(this.#memory.buffer, Number(this.#table[qkv + ADDRESS]), tokens * 3 * width);
    const [query, key, value] = [0, 1, 2].map((part) => {
      const rows = new Float32Array(tokens * width);
      for (let n = 0; n < tokens; n++) {
        const begin = (3 * n + part) * width;
        rows.set(all.subarray(begin, begin + width), n * width);
      }
      return rows;
    });
    const gathered = new Float32Array(this.#memory.buffer, Number(this.#table[context + ADDRESS]), tokens * width);
    return { query, key, value, context: gathered.slice() };
  }

  /**
   * One token's way through the layers: what each adds to its row, and what is between (see blocks.js).
   *
   * states: its hidden states, (D,) each, as steps gave them; contexts: its contexts, null for layers that were off.
   */
  blocks(states, contexts) {
    const { hiddenAct: name, normEps: eps, intermediateSize: wide } = this.#plan;
    return contexts.map((context, at) => context && blocks(this.layer(at), { name, eps, wide }, states[at], context));
  }

  /** The matrices and norms of one layer, as they lie in the memory. */
  layer(layer) {
    const matrix = (name) => {
      const [panels, ...others] = ["panels", "bias", "scale", "outliers", "outlier_weights"].map((part) =>
        this.#rows(`${name}.${part}`, layer),
      );
      return new Matrix(panels, ...others);
    };
    const norm = (name) => {
      const rows = this.#rows(name, layer);
      const width = rows.length / 2;
      return [0, 1].map((row) => rows.slice(row * width, row * width + this.#plan.hiddenSize));
    };
    return {
      attentionOutput: matrix("attention_output"),
      intermediate: matrix("intermediate"),
      output: matrix("output"),
      normAfterAttention: norm("norm_after_attention"),
      normAfterFeedForward: norm("norm_after_feed_forward"),
    };
  }

  // One layer's row of an array, with its other sizes as its shape.
  #rows(name, layer) {
    const { word, bytes } = this.#plan.inside.layered[name];
    const size = Number(this.#table[word + SIZE]);
    const type = name.endsWith(".outliers") ? Int32Array : size === 1 ? Int8Array : Float32Array;
    const begin = Number(this.#table[word + ADDRESS]) + layer * bytes;
    const row = new type(this.#memory.buffer, begin, bytes / size);
    row.shape = [...this.#table.subarray(word + ROWS + 1, word + ROWS + 5)].map(Number);
    return row;
  }

  /** What pooling and norm make of one text's hidden states. */
  vector(hidden) {
    return this.#vector(hidden, 0, hidden.length / this.#plan.hiddenSize);
  }

  #vector(hidden, first, last) {
    const vector = pool(hidden, first, last, this.#plan.hiddenSize, this.#plan.pooling);
    return this.#plan.normalize ? normalize(vector) : vector;
  }

  // The last hidden states of texts that lie one behind the other: (N, D).
  #run(texts) {
    const { batch, hiddenSize } = this.#plan;
    const tokens = texts.reduce((sum, ids) => sum + ids.length, 0);
    this.#array(Int32Array, batch.input_ids, tokens).set(texts.flat());
    this.#array(Int32Array, batch.token_type_ids, tokens).fill(0);
    const offsets = this.#array(BigInt64Array, batch.offsets, texts.length + 1);
    let end = 0;
    for (const [i, ids] of texts.entries()) offsets[i + 1] = BigInt((end += ids.length));
    const out = this.#array(Float32Array, batch.out, tokens, hiddenSize);
    if (this.#forward(this.#table.byteOffset, 1) !== 0) throw new Error("the kernels failed");
    return out.slice();
  }

  // An array of the table with so many rows.
  #array(type, word, rows, width = 1) {
    this.#table[word + ITEMS] = BigInt(rows * width);
    this.#table[word + ROWS] = BigInt(rows);
    return new type(this.#memory.buffer, Number(this.#table[word + ADDRESS]), rows * width);
  }
}

// float16 to float32.
function widen(halves, floats) {
  const values = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    values[bits] = bits >> 15 ? -size : size;
  }
  for (let i = 0; i < halves.length; i++) floats[i] = values[halves[i]];
}
