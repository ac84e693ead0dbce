"""Two texts in one row: how many tokens of each are kept, and what the tokenizer puts around them.

The ``tokenizers`` library does both over a pair, and these are its rules. But it also makes a row of each
part that it cuts off the one text with each part that it cuts off the other: two texts of 50,000 characters
can take it a minute and 10 GB. Here it is given one text at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import models


@dataclass(frozen=True)
class PairTemplate:
    """A row's special tokens, and the places of its two texts."""

    parts: tuple[tuple[int | None, int, int], ...]  # (text or None, a special token's id, token type)

    def join(self, texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Two texts' ids -> ``input_ids`` and ``token_type_ids`` of the row, (T,) each."""
        input_ids: list[int] = []
        token_type_ids: list[int] = []
        for text, special, token_type in self.parts:
            ids = [special] if text is None else texts[text]
            input_ids += ids
            token_type_ids += [token_type] * len(ids)
        return input_ids, token_type_ids


def read_template(tokenizer: tokenizers.Tokenizer) -> PairTemplate:
    """What a tokenizer's post-processor makes of two texts of one token each."""
    one_token = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    if tokenizer.post_processor is not None:
        one_token.post_processor = tokenizer.post_processor
    row = one_token.encode("a", "a")
    return PairTemplate(tuple(zip(row.sequence_ids, row.ids, row.type_ids, strict=True)))


def longest_first(lengths: Sequence[int], room: int) -> tuple[int, int]:
    """How many tokens are kept of two texts, in a row with room for so many: the longer text is cut first.

    The shorter one keeps what it has, up to half of the room, and the longer one the rest. Of two that are
    equally long the second counts as the longer.
    """
    a, b = lengths
    if a + b <= room:
        return a, b
    shorter = min(a, b, room // 2)
    return (room - shorter, shorter) if a > b else (shorter, room - shorter)


def num_tokens(encoding: tokenizers.Encoding) -> int:
    """How many tokens a text has, with those that were cut off."""
    return sum(map(len, (encoding, *encoding.overflowing)))
