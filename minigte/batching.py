"""Texts in chunks, and their token ids packed: ordered by length, laid end to end without padding."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigte.errors import InputError


def chunks(sentences: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut an iterable into lists of at most ``size``. Raises InputError for what is no iterable of texts."""
    if isinstance(sentences, str):  # an iterable of str too, its letters
        raise InputError("sentences must be an iterable of str, not one str: put it in a list")
    if isinstance(sentences, (bytes, bytearray, Mapping)) or not isinstance(sentences, Iterable):
        raise InputError(f"sentences must be a str or an iterable of str, not {type(sentences).__name__}")
    dimensions = getattr(sentences, "ndim", 1)
    if dimensions != 1:  # of a DataFrame iter gives the columns' names
        raise InputError(
            f"sentences must have one dimension, and this {type(sentences).__name__} has {dimensions}: "
            "give one column of it"
        )
    iterator = iter(sentences)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def as_list(sentences: str | Iterable[str]) -> list[str]:
    """One text, or an iterable of them, as a list. Raises InputError as ``chunks`` does."""
    if isinstance(sentences, str):
        return [sentences]
    return list(itertools.chain.from_iterable(chunks(sentences, 1024)))


@dataclass(frozen=True)
class Batch:
    """B texts in one row of N tokens; text b owns the tokens ``offsets[b]:offsets[b + 1]``."""

    input_ids: npt.NDArray[np.int32]  # (N,)
    offsets: npt.NDArray[np.int64]  # (B + 1,), rising from 0 to N
    index: npt.NDArray[np.int64]  # (B,), each text's place in the caller's list

    @property
    def num_tokens(self) -> int:
        """N, the tokens of all texts together."""
        return len(self.input_ids)


def pack(texts: Sequence[Sequence[int]], *, max_texts: int, max_tokens: int) -> Iterator[Batch]:
    """Pack texts (each a list of token ids) into batches, longest first.

    A batch holds at most ``max_texts`` texts and at most ``max_tokens`` tokens, but always at least one
    text. Longest first, so that the largest need of memory comes at the start and workers that share
    the batches end at nearly the same time; texts of equal length keep the caller's order.
    """
    lengths = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        ends = np.cumsum(lengths[order[start : start + max_texts]])
        stop = start + max(1, int(np.searchsorted(ends, max_tokens, side="right")))
        index = order[start:stop]
        offsets = np.zeros(len(index) + 1, np.int64)
        np.cumsum(lengths[index], out=offsets[1:])
        input_ids = np.empty(offsets[-1], np.int32)
        for text, begin, end in zip(index, offsets, offsets[1:], strict=False):
            input_ids[begin:end] = texts[text]
        yield Batch(input_ids, offsets, index)
        start = stop
