"""Answers to page 1."""

from __future__ import annotations


def count_the_tokens() -> int:
    """[CLS] beijing is the capital of china . [SEP]."""
    return 9


def wordpiece(word: str, vocabulary: set[str]) -> list[str]:
    """Cut off the longest piece, again and again."""
    pieces: list[str] = []
    while word:
        mark = "##" if pieces else ""
        fits = [end for end in range(1, len(word) + 1) if mark + word[:end] in vocabulary]
        if not fits:
            return ["[UNK]"]
        pieces.append(mark + word[: fits[-1]])
        word = word[fits[-1] :]
    return pieces


def lay_end_to_end(texts: list[list[int]]) -> tuple[list[int], list[int]]:
    """Offsets are a running sum of the lengths."""
    input_ids: list[int] = []
    offsets = [0]
    for text in texts:
        input_ids += text
        offsets.append(len(input_ids))
    return input_ids, offsets


def share_of_padding(lengths: list[int]) -> float:
    """The rectangle is as wide as its longest text."""
    return 1 - sum(lengths) / (len(lengths) * max(lengths))
