"""Token ids packed into batches: ordered by length, laid end to end without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from minigte.arrays import Int64
from minigte.models.batch import Batch

BATCH_TOKENS = 2048  # bounds the memory of a forward pass, whatever batch_size says


def pack(
    texts: Sequence[Sequence[int] | npt.NDArray[np.int32]],
    *,
    max_texts: int,
    max_tokens: int,
    token_type_ids: Sequence[Sequence[int]] | None = None,
) -> Iterator[Batch]:
    """Pack texts (each a list of token ids) into batches, longest first.

    A batch holds at most ``max_texts`` texts and at most ``max_tokens`` tokens, but always at least one
    text. Longest first, so that the largest need of memory comes at the start and workers that share
    the batches end at nearly the same time; texts of equal length keep the caller's order.
    ``token_type_ids`` are as long as the texts.
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
        types = None if token_type_ids is None else _packed(token_type_ids, index, offsets)
        yield Batch(_packed(texts, index, offsets), offsets, index, types)
        start = stop


def _packed(
    texts: Sequence[Sequence[int] | npt.NDArray[np.int32]], index: Int64, offsets: Int64
) -> npt.NDArray[np.int32]:
    """The numbers of some of the texts, end to end."""
    packed = np.empty(offsets[-1], np.int32)
    for text, begin, end in zip(index, offsets, offsets[1:], strict=False):
        packed[begin:end] = texts[text]
    return packed
