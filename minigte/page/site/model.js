// The encoder: the WebAssembly kernels, and the memory in which they find a model.

import { normalize, pool } from "./pooling.js";

// A function with an instruction of SIMD128 in it.
const SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15],
  ...[253, 98, 11],
);
const PAGE = 65536; // bytes of memory, WebAssembly's unit

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

  /** One text's hidden states: of its embeddings and after every layer, each (T, D). */
  hiddenStates(ids) {
    const layers = this.#table[this.#plan.layers];
    try {
      return Array.from({ length: Number(layers) + 1 }, (_, layer) => {
        this.#table[this.#plan.layers] = BigInt(layer);
        return this.#run([ids]);
      });
    } finally {
      this.#table[this.#plan.layers] = layers;
    }
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
    this.#table[word + 2] = BigInt(rows * width);
    this.#table[word + 5] = BigInt(rows);
    return new type(this.#memory.buffer, Number(this.#table[word + 4]), rows * width);
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
