"""Answers to page 7."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def flop(tokens: int, length: int) -> int:
    """2 a weight and token; in attention every token meets ``length`` others, twice, over D numbers."""
    weights = 4 * 384 * 384 + 2 * 384 * 1536
    return 2 * tokens * weights + 2 * 2 * tokens * length * 384


def cache_lines(stride: int, count: int) -> int:
    """Those of all addresses, each once."""
    return len({i * stride // 64 for i in range(count)})


def cache_sets(stride: int, count: int) -> int:
    """The last six bits of the line's number."""
    return len({i * stride // 64 % 64 for i in range(count)})


def loads_per_multiply_add(rows: int, vectors: int) -> float:
    """A step loads a number of A for each row, and each vector of B; every pair is one multiply-add."""
    return (rows + vectors) / (rows * vectors)


def pack_panels(b: Float32, width: int) -> Float32:
    """Split the columns in two axes, and put the panel's number first."""
    return np.ascontiguousarray(b.reshape(len(b), -1, width).swapaxes(0, 1))


def tile_product(a: Float32, panel: Float32) -> Float32:
    """One step of the inner dimension after the other, all sums at once."""
    total = np.zeros((len(a), panel.shape[1]), np.float32)
    for k in range(len(panel)):
        total += a[:, k : k + 1] * panel[k]
    return total
