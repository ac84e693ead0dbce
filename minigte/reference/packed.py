"""What a packed batch needs beside the formulas: runs of equal length, and memory that is used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.spec import Spec

# The feed-forward activation is computed for this many rows at a time, so that its temporary arrays
# stay in the processor's cache. Any value gives the same bits.
ACTIVATION_ROWS = 16


# Attention's scores are computed for at most this many pairs of tokens at a time, heads counted apart: 16 MB.
MAX_SCORES = 1 << 22


@dataclass(frozen=True)
class Scratch:
    """The arrays one pass writes its intermediate results to, allocated once and used by every layer."""

    query: Float32  # (N, H * K)
    key: Float32  # (N, H * K)
    value: Float32  # (N, H * K)
    context: Float32  # (N, H * K)
    output: Float32  # (N, D)
    intermediate: Float32  # (N, F)

    @staticmethod
    def allocate(spec: Spec, num_tokens: int) -> Scratch:
        """Uninitialised arrays for ``num_tokens`` tokens."""
        attention = spec.num_attention_heads * spec.head_size
        widths = (attention, attention, attention, attention, spec.hidden_size, spec.intermediate_size)
        return Scratch(*(np.empty((num_tokens, width), np.float32) for width in widths))


def by_rows(function: Callable[[Float32], Float32], x: Float32) -> Float32:
    """Replace x by function(x), an elementwise function, ACTIVATION_ROWS rows at a time: (N, F) -> (N, F)."""
    for start in range(0, len(x), ACTIVATION_ROWS):
        rows = x[start : start + ACTIVATION_ROWS]
        rows[:] = function(rows)
    return x


class Run(NamedTuple):
    """Some neighbouring texts of the same number of tokens T, or Q of the queries of one text."""

    texts: int  # R
    queries: slice  # the rows of their queries, R * T or Q
    keys: slice  # the rows of their keys and values, R * T or T

    @property
    def distances(self) -> Ids:
        """How far each key stands behind each query of its text, j - i: (T, T) or (Q, T)."""
        rows = np.arange((self.queries.stop - self.queries.start) // self.texts)  # (Q,)
        columns = np.arange((self.keys.stop - self.keys.start) // self.texts)  # (T,)
        return columns - (rows + (self.queries.start - self.keys.start))[:, None]


def equal_lengths(offsets: Ids, num_heads: int, max_tokens: int = 512) -> Iterator[Run]:
    """The runs of neighbouring texts of the same length in a packed batch.

    A batch is ordered by length, so there are few runs, and one product handles all texts of a run. A
    run of more than one text holds at most ``max_tokens`` tokens. A text that has more than MAX_SCORES
    scores comes in several parts, each some of its queries and all of its keys: so memory grows with
    the text, not with its square.
    """
    lengths = np.diff(offsets).tolist()
    first = 0
    while first < len(lengths):
        length = lengths[first]
        last = first + 1
        while last < len(lengths) and lengths[last] == length and (last + 1 - first) * length <= max_tokens:
            last += 1
        start, stop = int(offsets[first]), int(offsets[last])
        most = max(1, MAX_SCORES // max(1, num_heads * length))
        if 0 < length <= most:
            yield Run(last - first, slice(start, stop), slice(start, stop))
        else:  # nothing for texts without a token
            for row in range(start, stop, most):
                yield Run(1, slice(row, min(stop, row + most)), slice(start, stop))
        first = last
