// Notes cut into passages: paragraphs, each behind its heading, a long one where its sentences end.

const LONGEST = 1000; // characters, some 200 tokens

/** The passages of a text file or of Markdown, in order. */
export function passages(text) {
  const found = [];
  let heading = "";
  for (const part of text.replace(/\r\n?/g, "\n").split(/\n\s*\n/)) {
    let body = part.trim();
    while (/^#{1,6}\s/.test(body)) {
      const end = body.indexOf("\n");
      heading = (end < 0 ? body : body.slice(0, end)).replace(/^#+\s+|\s+#*$/g, "");
      body = end < 0 ? "" : body.slice(end + 1).trim();
    }
    if (!body) continue;
    for (const piece of pieces(body)) found.push(heading ? `${heading}\n${piece}` : piece);
  }
  return found;
}

function* pieces(body) {
  let piece = "";
  for (const sentence of body.split(/(?<=[.!?…])\s+/)) {
    if (piece && piece.length + sentence.length > LONGEST) {
      yield piece;
      piece = "";
    }
    piece += (piece && " ") + sentence;
  }
  yield piece;
}
