"""What a packed batch needs beside the formulas: runs of equal length, and memory that is used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.bert import Config

# The feed-forward activation is computed for this many rows at a time, so that its temporary arrays
# stay in the processor's cache. Any value gives the same bits.
ACTIVATION_ROWS = 16


@dataclass(frozen=True)
class Scratch:
    """The arrays one pass writes its intermediate results to, allocated once and used by every layer."""

    query: Float32  # (N, D)
    key: Float32  # (N, D)
    value: Float32  # (N, D)
    context: Float32  # (N, D)
    output: Float32  # (N, D)
    intermediate: Float32  # (N, F)

    @staticmethod
    def allocate(config: Config, num_tokens: int) -> Scratch:
        """Uninitialised arrays for ``num_tokens`` tokens."""
        hidden = (num_tokens, config.hidden_size)
        wide = (num_tokens, config.intermediate_size)
        shapes = (hidden, hidden, hidden, hidden, hidden, wide)
        return Scratch(*(np.empty(shape, np.float32) for shape in shapes))


def by_rows(function: Callable[[Float32], Float32], x: Float32) -> Float32:
    """Replace x by function(x), an elementwise function, ACTIVATION_ROWS rows at a time: (N, F) -> (N, F)."""
    for start in range(0, len(x), ACTIVATION_ROWS):
        rows = x[start : start + ACTIVATION_ROWS]
        rows[:] = function(rows)
    return x


def equal_lengths(offsets: Ids, max_tokens: int = 512) -> Iterator[tuple[int, int, int]]:
    """(start, stop, T) for each run of neighbouring texts of the same T tokens.

    A batch is ordered by length, so there are few runs, and one product handles all texts of a run. A
    run of more than one text holds at most ``max_tokens`` tokens, which bounds its attention scores.
    """
    lengths = np.diff(offsets).tolist()
    first = 0
    while first < len(lengths):
        length = lengths[first]
        last = first + 1
        while last < len(lengths) and lengths[last] == length and (last + 1 - first) * length <= max_tokens:
            last += 1
        yield int(offsets[first]), int(offsets[last]), length
        first = last
