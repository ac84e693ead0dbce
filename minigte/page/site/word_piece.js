// Text to token ids: WordPiece, with the ids of Hugging Face's tokenizers library for every text.

import { LOWER_LONG, LOWER_RUNS, RANGES } from "./unicode.js";

// The code points of some kind, as numbers from which on one is in, is out, is in, and so on.
const KINDS = Object.fromEntries(
  Object.entries(RANGES).map(([kind, gaps]) => {
    let edge = 0;
    return [kind, Uint32Array.from(gaps.split(" "), (gap) => (edge += parseInt(gap, 36)))];
  }),
);

function is(kind, point) {
  const edges = KINDS[kind];
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= point) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

const LOWER = new Map(Object.entries(LOWER_LONG));
for (const [first, count, step, shift] of LOWER_RUNS) {
  for (let i = 0; i < count; i++) {
    const point = first + i * step;
    LOWER.set(String.fromCodePoint(point), String.fromCodePoint(point + shift));
  }
}

const WORDS_KEPT = 50_000;

export class WordPiece {
  #settings;
  #ids;
  #added;
  #words = new Map(); // the ids of words that were cut before

  /** settings: what model.json says under "tokenizer". */
  constructor(settings) {
    this.#settings = settings;
    this.#ids = new Map(settings.vocab.map((token, id) => [token, id]));
    const escape = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    const patterns = [...settings.added]
      .sort((a, b) => b.content.length - a.content.length)
      .map(({ content, lstrip, rstrip }) => {
        const blank = "\\p{White_Space}*";
        return `${lstrip ? blank : ""}(?:${escape(content)})${rstrip ? blank : ""}`;
      });
    this.#added = patterns.length ? new RegExp(`(${patterns.join("|")})`, "u") : null;
  }

  /** The vocabulary's spelling of an id. */
  token(id) {
    return this.#settings.vocab[id];
  }

  /**
   * The ids of a text, special tokens included, cut to what the model reads; whether there were more; and the
   * first of its own tokens and the one behind the last, the others being what every text has.
   */
  tokenize(text) {
    const lone = /\p{Surrogate}/u.exec(text);
    if (lone) {
      const found = lone[0].charCodeAt(0).toString(16);
      throw new Error(
        `the text holds a lone surrogate (\\u${found} at character ${lone.index}), which is not text: ` +
          "clean it with toWellFormed()",
      );
    }
    const { before, after, maxLength } = this.#settings;
    const room = maxLength - before.length - after.length;
    const ids = [];
    const parts = this.#added ? text.split(this.#added) : [text];
    for (const [i, part] of parts.entries()) {
      if (ids.length > room) break;
      if (i % 2) ids.push(this.#addedId(part));
      else {
        for (const word of this.words(part)) {
          for (const id of this.#cut(word)) ids.push(id);
          if (ids.length > room) break;
        }
      }
    }
    const kept = ids.slice(0, room);
    const own = [before.length, before.length + kept.length];
    return { ids: [...before, ...kept, ...after], isCut: ids.length > room, own };
  }

  #addedId(part) {
    const { added } = this.#settings;
    return (added.find(({ content }) => content === part) ?? added.find(({ content }) => content === part.trim())).id;
  }

  /** The words of a text without special tokens, normalized; a punctuation mark is one too. */
  *words(text) {
    let word = "";
    for (const point of this.#normalize(text)) {
      const code = point.codePointAt(0);
      const mark = is("punctuation", code);
      if (!mark && !is("split", code)) {
        word += point;
        continue;
      }
      if (word) yield word;
      word = "";
      if (mark) yield point;
    }
    if (word) yield word;
  }

  // One character after the other, a piece of text at a time: of a long text only the beginning is read.
  *#normalize(text) {
    const { cleanText, handleChineseChars, stripAccents, lowercase } = this.#settings;
    for (const piece of pieces(text)) {
      let clean = [];
      for (const point of piece) {
        const code = point.codePointAt(0);
        if (cleanText && is("removed", code)) continue;
        if (cleanText && is("blank", code)) clean.push(" ");
        else if (handleChineseChars && is("chinese", code)) clean.push(" ", point, " ");
        else clean.push(point);
      }
      if (stripAccents) {
        clean = [...clean.join("").normalize("NFD")].filter((point) => !is("nonspacing", point.codePointAt(0)));
      }
      if (lowercase) for (const point of clean) yield* LOWER.get(point) ?? point;
      else yield* clean;
    }
  }

  // The ids of a word: from the left the longest pieces that the vocabulary has.
  #cut(word) {
    const known = this.#words.get(word);
    if (known) return known;
    const { unknown, prefix, maxWordLength } = this.#settings;
    const points = [...word];
    let ids = [];
    if (points.length > maxWordLength) ids = [unknown];
    for (let begin = 0; begin < points.length && ids[0] !== unknown; ) {
      let end = points.length;
      let id;
      for (; end > begin; end--) {
        id = this.#ids.get((begin ? prefix : "") + points.slice(begin, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) ids = [unknown];
      else ids.push(id);
      begin = end;
    }
    if (this.#words.size >= WORDS_KEPT) this.#words.clear();
    this.#words.set(word, ids);
    return ids;
  }
}

// A text in pieces that end in front of a blank, so that nothing in one depends on the next.
function* pieces(text) {
  for (let begin = 0; begin < text.length; ) {
    let end = begin + 4096;
    while (end < text.length && text[end] !== " " && text[end] !== "\n") end++;
    yield text.slice(begin, end);
    begin = end;
  }
}
