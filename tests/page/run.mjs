/* Run a part of the page in Node: node run.mjs SITE TASK, with JSON on stdin and on stdout. */
import fs from "node:fs";

const [site, task] = process.argv.slice(2);
const load = (name) => import(`${site}/${name}.js`);
const input = JSON.parse(fs.readFileSync(0, "utf-8"));

const tasks = {
  async tokenize({ settings, texts }) {
    const tokenizer = new (await load("word_piece")).WordPiece(settings);
    return texts.map((text) => tokenizer.tokenize(text));
  },
  async words({ settings, texts }) {
    const tokenizer = new (await load("word_piece")).WordPiece(settings);
    return texts.map((text) => [...tokenizer.words(text)].join("\n"));
  },
  async refuse({ settings, texts }) {
    const tokenizer = new (await load("word_piece")).WordPiece(settings);
    return texts.map((text) => {
      try {
        return tokenizer.tokenize(text);
      } catch (error) {
        return error.message;
      }
    });
  },
  async sha256({ lengths }) {
    const { hexOfSha256, sha256 } = await load("sha256");
    const hex = (hash) => Buffer.from(hash).toString("hex");
    const bytes = (length) => Uint8Array.from({ length }, (_, i) => (i * 7) % 251);
    return Promise.all(lengths.map(async (n) => [hex(sha256(bytes(n))), await hexOfSha256(bytes(n))]));
  },
  async pool({ hidden, width, mode, normalized }) {
    const { normalize, pool } = await load("pooling");
    const vector = pool(Float32Array.from(hidden), 0, hidden.length / width, width, mode);
    return [...(normalized ? normalize(vector) : vector)];
  },
  async without_web_assembly() {
    const { checkBrowser } = await load("model");
    delete globalThis.WebAssembly;
    try {
      return checkBrowser();
    } catch (error) {
      return error.message;
    }
  },
  async passages({ text }) {
    return (await load("passages")).passages(text);
  },
  async embed({ folder, tokens, batched }) {
    const { Model } = await load("model");
    const plan = JSON.parse(fs.readFileSync(`${folder}/model.json`, "utf-8"));
    const read = (name) => new Uint8Array(fs.readFileSync(`${folder}/${name}`));
    const model = await Model.build(plan, read("kernels.wasm"), read("weights.bin"));
    const vectors = batched ? model.embed(tokens) : tokens.map((ids) => model.embed([ids])[0]);
    return vectors.map((vector) => [...vector]);
  },
  async layers({ folder, ids, offs }) {
    const { Model } = await load("model");
    const { scores, softmax, terms } = await load("attention");
    const plan = JSON.parse(fs.readFileSync(`${folder}/model.json`, "utf-8"));
    const read = (name) => new Uint8Array(fs.readFileSync(`${folder}/${name}`));
    const model = await Model.build(plan, read("kernels.wasm"), read("weights.bin"));
    const { heads, headWidth } = plan.inside;
    const shape = { heads, headWidth, headSize: plan.headSize, scale: plan.attentionScale };
    const all = Array.from({ length: heads }, (_, head) => head);
    const sum = (factors) => factors.reduce((total, [q, k]) => total + q * k, 0) * shape.scale;
    return offs.map((off) => {
      const { states, attention } = model.steps(ids, off);
      return {
        states: states.map((state) => [...state]),
        attention: attention.map(
          (of) =>
            of && {
              ...Object.fromEntries(Object.entries(of).map(([name, rows]) => [name, [...rows]])),
              probabilities: all.map((head) => [...softmax(scores(of, shape, head))]),
              score: [scores(of, shape, heads - 1)[1], sum(terms(of, shape, heads - 1, 0, 1))],
            },
        ),
        vector: [...model.vector(states.at(-1))],
        whole: [...model.embed([ids])[0]],
      };
    });
  },
  async blocks({ folder, ids, token }) {
    const { Model } = await load("model");
    const { sharesOf, written } = await load("written");
    const plan = JSON.parse(fs.readFileSync(`${folder}/model.json`, "utf-8"));
    const read = (name) => new Uint8Array(fs.readFileSync(`${folder}/${name}`));
    const model = await Model.build(plan, read("kernels.wasm"), read("weights.bin"));
    const { states, attention } = model.steps(ids);
    const row = (of) => of.slice((token * of.length) / ids.length, ((token + 1) * of.length) / ids.length);
    const rows = states.map(row);
    const blocks = model.blocks(rows, attention.map(({ context }) => row(context)));
    const parts = written(rows[0], blocks);
    const { intermediate, output } = model.layer(1);
    return {
      states: rows.map((state) => [...state]),
      blocks: blocks.map(({ attended, fed, norms: [first, second], input, before, after, activated }) => ({
        attended: [...attended], fed: [...fed], first: [...first.out], second: [...second.out],
        input: [...input], before: [...before], after: [...after], activated: [...activated],
      })),
      sums: parts.map((of) => [...of[0].map((_, d) => of.reduce((sum, part) => sum + part[d], 0))]),
      shares: parts.map(sharesOf),
      neuron: { input: [...intermediate.row(3)], bias: intermediate.bias[3], output: [...output.column(3)] },
      number: { input: [...output.row(5)], bias: output.bias[5] },
      lengths: [...output.lengths()],
    };
  },
};

process.stdout.write(JSON.stringify(await tasks[task](input)));
