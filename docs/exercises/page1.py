"""Page 1, From text to ids. Put your answers in place of the lines that raise."""

from __future__ import annotations


def count_the_tokens() -> int:
    """How many tokens "Beijing is the capital of China." is to gte-small."""
    raise NotImplementedError


def wordpiece(word: str, vocabulary: set[str]) -> list[str]:
    """The pieces of a word: always the longest that fits; ["[UNK]"] where the word cannot be cut.

    Pieces after the first are in the vocabulary, and in the answer, with "##" in front.
    """
    raise NotImplementedError


def lay_end_to_end(texts: list[list[int]]) -> tuple[list[int], list[int]]:
    """The ids of B texts -> (input_ids, N of them; offsets, B + 1 of them), in the order given."""
    raise NotImplementedError


def share_of_padding(lengths: list[int]) -> float:
    """The share, 0 to 1, of a padded batch that is padding; ``lengths`` are the tokens of each text."""
    raise NotImplementedError
