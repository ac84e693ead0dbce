"""What the page's tokenizer, ``site/word_piece.js``, has to know of a model's."""

from __future__ import annotations

import json
from typing import Any

from minigte.errors import UnsupportedError
from minigte.tokenizing.tokenizer import Tokenizer


def word_piece(tokenizer: Tokenizer) -> dict[str, Any]:
    """The settings of a WordPiece tokenizer. Raises UnsupportedError for any other, and says for what."""
    library = tokenizer.tokenizer
    steps = json.loads(library.to_str())
    model, normalizer = steps["model"], steps["normalizer"] or {}
    for name, found, wanted in (
        ("model", model["type"], "WordPiece"),
        ("normalizer", normalizer.get("type"), "BertNormalizer"),
        ("pre_tokenizer", (steps["pre_tokenizer"] or {}).get("type"), "BertPreTokenizer"),
    ):
        if found != wanted:
            raise _unsupported(tokenizer, f"its {name} is {found}, not {wanted}")
    if tokenizer.truncation_side != "right":
        raise _unsupported(tokenizer, "it keeps the end of a long text")
    added = steps["added_tokens"]
    for token in added:
        if token["normalized"] or token["single_word"]:
            raise _unsupported(tokenizer, f"the token {token['content']!r} is looked for in normalized text")
    encoding = library.encode("a")
    special = encoding.special_tokens_mask
    before, after = special.index(0), special[::-1].index(0)
    vocab = sorted(library.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    tokens = [""] * (vocab[-1][1] + 1)
    for token, place in vocab:
        tokens[place] = token
    lowercase, strip_accents = normalizer["lowercase"], normalizer["strip_accents"]
    return {
        "vocab": tokens,
        "prefix": model["continuing_subword_prefix"],
        "unknown": library.token_to_id(model["unk_token"]),
        "maxWordLength": model["max_input_chars_per_word"],
        "cleanText": normalizer["clean_text"],
        "handleChineseChars": normalizer["handle_chinese_chars"],
        "stripAccents": lowercase if strip_accents is None else strip_accents,
        "lowercase": lowercase,
        "added": [{key: token[key] for key in ("id", "content", "lstrip", "rstrip")} for token in added],
        "before": encoding.ids[:before],
        "after": encoding.ids[len(special) - after :],
        "maxLength": tokenizer.max_seq_length,
    }


def _unsupported(tokenizer: Tokenizer, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"a page cannot tokenize as {tokenizer.path} asks for: {why}; take another model, such as "
        "thenlper/gte-small"
    )
