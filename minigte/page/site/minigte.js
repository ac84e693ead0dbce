// Text embeddings in a browser, computed where the texts are: nothing but the model's own files is fetched.
//
//   import { Embedder } from "./minigte.js";
//   const embedder = await Embedder.load("./");
//   const [a, b] = await embedder.embed(["A man plays a guitar.", "It is raining."]);
//   cosine(a, b);

export class Embedder {
  #worker;
  #waiting = new Map();
  #calls = 0;

  constructor(worker, onProgress) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      if (data.progress) {
        onProgress?.(data.progress);
        return;
      }
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.error === undefined) resolve(data.result);
      else reject(new Error(data.error));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.#waiting.values()) {
        reject(new Error(`the worker failed: ${event.message ?? "it cannot be started"}`));
      }
      this.#waiting.clear();
    };
  }

  /**
   * Load the model of a folder that `minigte page` made.
   *
   * url: the folder's; onProgress: called with {loaded, total}, in bytes, while the weights are fetched.
   */
  static async load(url = "./", { onProgress } = {}) {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    const folder = new URL(String(url).replace(/\/?$/, "/"), document.baseURI);
    return Embedder.start(worker, { url: folder.href }, onProgress);
  }

  /** Load a model in a worker: from {url}, or from {plan, kernels, weights}. */
  static async start(worker, source, onProgress) {
    const embedder = new Embedder(worker, onProgress);
    try {
      Object.assign(embedder, await embedder.#call("load", source));
    } catch (error) {
      worker.terminate();
      throw error;
    }
    return embedder;
  }

  /** The texts' vectors, each a Float32Array. Of a text that is too long the beginning is read. */
  async embed(texts) {
    if (!Array.isArray(texts)) throw new TypeError("embed takes an array of texts");
    for (const [i, text] of texts.entries()) {
      if (typeof text !== "string") throw new TypeError(`texts[${i}] is ${typeof text}, not a string`);
    }
    const { vectors, cut } = await this.#call("embed", texts);
    if (cut) console.warn(`${cut} of ${texts.length} texts have more than ${this.maxLength} tokens and were cut there`);
    return vectors;
  }

  /** The texts' tokens: {ids, tokens, isCut, own} of each; tokens from own[0] up to own[1] are the text's own. */
  async tokenize(texts) {
    return this.#call("tokenize", texts);
  }

  /**
   * One text on its way: {ids, tokens, isCut, own, states, vectors, attention}.
   *
   * states and vectors are of the embeddings and of every layer. attention is of every layer: {query, key, context},
   * as the kernels made them, (T, heads * headWidth) each, and probabilities, (T, T) for each head, or null where
   * there are more than 128 tokens. off: {layers, heads} that are left out, layers by number, heads as
   * [layer, head]; the attention of a layer that is left out is null.
   */
  async layers(text, off = {}) {
    return this.#call("layers", text, off);
  }

  /**
   * One token of them, block by block: what attention and feed-forward of every layer add to its row, the norms, and
   * the feed-forward's numbers in between (see blocks.js). seen: what layers gave; token: its place.
   */
  async blocks({ states, attention }, token) {
    const { heads, headWidth } = this.shape;
    const row = (of, width) => of.slice(token * width, (token + 1) * width);
    const contexts = attention.map((of) => of && row(of.context, heads * headWidth));
    return this.#call("blocks", states.map((state) => row(state, this.dimension)), contexts);
  }

  /** The weights of one neuron of a layer's feed-forward: {input, bias, output}. */
  async neuron(layer, number) {
    return this.#call("neuron", layer, number);
  }

  /** The weights of one number that a layer's feed-forward adds: {input, bias}, an input for every neuron. */
  async output(layer, number) {
    return this.#call("output", layer, number);
  }

  /** How long what each neuron of a layer adds is where it answers 1. */
  async reach(layer) {
    return this.#call("reach", layer);
  }

  /** End the worker; what it has not answered never comes. */
  close() {
    this.#worker.terminate();
  }

  #call(method, ...args) {
    return new Promise((resolve, reject) => {
      const id = this.#calls++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, method, args });
    });
  }
}

/** The cosine of the angle between two vectors. */
export function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / Math.sqrt(aa * bb || 1);
}
