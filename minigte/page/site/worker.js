// What computes, in a thread of its own, so that the page is never held up.

import { scores, softmax } from "./attention.js";
import { Model, checkBrowser } from "./model.js";
import { hexOfSha256 } from "./sha256.js";
import { WordPiece } from "./word_piece.js";

const MOST_ATTENDING = 128; // tokens of a text whose probabilities are given: they are T x T for every head

let model;
let tokenizer;
let shape; // of the heads

const methods = {
  /** source: {url} of a folder, or {plan, kernels, weights}, its files. */
  async load(source) {
    checkBrowser();
    const plan = source.plan ?? (await json(new URL("model.json", source.url)));
    const kernels = source.kernels ?? (await bytes(new URL("kernels.wasm", source.url)));
    if (source.weights) await check(source.weights, plan.weights);
    const weights = source.weights ?? (await kept(plan.weights, source.url));
    model = await Model.build(plan, kernels, weights);
    tokenizer = new WordPiece(plan.tokenizer);
    const { name, dtype, hiddenSize, intermediateSize, hiddenAct, prompts, pooling, lines, headSize } = plan;
    const { maxLength } = plan.tokenizer;
    shape = { heads: plan.inside.heads, headWidth: plan.inside.headWidth, headSize, scale: plan.attentionScale };
    const sizes = { dimension: hiddenSize, intermediateSize, maxLength };
    return { name, dtype, ...sizes, hiddenAct, prompts, pooling, lines, shape };
  },

  embed(texts) {
    const tokenized = texts.map((text) => tokenizer.tokenize(text));
    const vectors = model.embed(tokenized.map(({ ids }) => ids));
    return { vectors, cut: tokenized.filter(({ isCut }) => isCut).length };
  },

  tokenize(texts) {
    return texts.map((text) => {
      const { ids, isCut, own } = tokenizer.tokenize(text);
      return { ids, tokens: ids.map((id) => tokenizer.token(id)), isCut, own };
    });
  },

  layers(text, off) {
    const [tokenized] = methods.tokenize([text]);
    const { states, attention } = model.steps(tokenized.ids, off);
    const probabilities = ({ query, key }) =>
      Array.from({ length: shape.heads }, (_, head) => softmax(scores({ query, key }, shape, head)));
    return {
      ...tokenized,
      states,
      vectors: states.map((state) => model.vector(state)),
      attention: attention.map(
        (of) =>
          of && {
            query: of.query,
            key: of.key,
            context: of.context,
            probabilities: tokenized.ids.length > MOST_ATTENDING ? null : probabilities(of),
          },
      ),
    };
  },

  blocks(states, contexts) {
    return model.blocks(states, contexts);
  },

  neuron(layer, number) {
    const { intermediate, output } = model.layer(layer);
    return { input: intermediate.row(number), bias: intermediate.bias[number], output: output.column(number) };
  },

  output(layer, number) {
    const { output } = model.layer(layer);
    return { input: output.row(number), bias: output.bias[number] };
  },

  reach(layer) {
    return model.layer(layer).output.lengths();
  },
};

async function json(url) {
  return (await fetched(url)).json();
}

async function bytes(url) {
  return new Uint8Array(await (await fetched(url)).arrayBuffer());
}

async function fetched(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new Error(`${url} cannot be fetched (${error.message})`);
  }
  if (!response.ok) throw new Error(`${url} cannot be fetched: the server says ${response.status}`);
  return response;
}

// The weights, from the browser's own store where they have been fetched before.
async function kept(of, folder) {
  const url = new URL(of.file, folder);
  const store = await globalThis.caches?.open("minigte").catch(() => undefined); // not in every place
  const name = `${url}?sha256=${of.sha256}`;
  try {
    const weights = new Uint8Array(await (await store.match(name)).arrayBuffer());
    await check(weights, of);
    return weights;
  } catch {
    // No store, nothing in it, or not what was put there.
  }
  const weights = await download(url, of.bytes);
  await check(weights, of);
  await store?.put(name, new Response(weights)).catch(() => undefined); // where there is room
  return weights;
}

async function download(url, size) {
  const weights = new Uint8Array(size);
  const reader = (await fetched(url)).body.getReader();
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return weights.subarray(0, Math.min(loaded, size));
    if (loaded + value.length <= size) weights.set(value, loaded);
    loaded += value.length;
    postMessage({ progress: { loaded, total: size } });
  }
}

async function check(weights, { bytes: size, sha256 }) {
  const way = "get the file again";
  if (weights.length !== size) {
    throw new Error(`the weights are cut, ${weights.length} of ${size} bytes are there: ${way}`);
  }
  if ((await hexOfSha256(weights)) !== sha256) throw new Error(`the weights are damaged: ${way}`);
}

// The memory of all arrays of numbers in a result, which is handed over, not copied.
function* buffers(value) {
  if (ArrayBuffer.isView(value)) yield value.buffer;
  else if (value && typeof value === "object") for (const part of Object.values(value)) yield* buffers(part);
}

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    const result = await methods[method](...args);
    postMessage({ id, result }, [...new Set(buffers(result))]);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
