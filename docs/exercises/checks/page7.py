"""What the answers to page 7 must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from expect import WrongError, same

Float32 = npt.NDArray[np.float32]


def flop(answer: Callable[[int, int], int]) -> None:
    """One token; a long text; many short ones."""
    same(answer(1, 1), 3540480)
    same(answer(512, 512), 2214592512)
    same(answer(1100, 11), 3911424000)


def cache_lines(answer: Callable[[int, int], int]) -> None:
    """Side by side; down a column of 1536; two a line."""
    same(answer(4, 384), 24)
    same(answer(6144, 384), 384)
    same(answer(32, 10), 5)
    same(answer(4, 17), 2)


def cache_sets(answer: Callable[[int, int], int]) -> None:
    """Side by side; strides that fall on few sets, and one that does not."""
    same(answer(4, 384), 24)
    same(answer(6144, 384), 2)
    same(answer(4096, 384), 1)
    same(answer(6208, 384), 64)


def loads_per_multiply_add(answer: Callable[[int, int], float]) -> None:
    """Rung 6, the engine's tiles, and no tile at all."""
    same(answer(4, 2), 0.75)
    same(answer(6, 2), 2 / 3)
    same(answer(12, 2), 14 / 24)
    same(answer(1, 1), 2.0)


def pack_panels(answer: Callable[[Float32, int], Float32]) -> None:
    """Panel p, step k, column j is B[k, p width + j]."""
    for steps, columns, width in ((3, 8, 4), (5, 6, 6), (4, 96, 16)):
        b = np.arange(steps * columns, dtype=np.float32).reshape(steps, columns)
        packed = answer(b.copy(), width)
        same(
            packed, np.stack([b[:, start : start + width] for start in range(0, columns, width)]), tolerance=0
        )
        if not packed.flags.c_contiguous:
            raise WrongError("its panels do not lie end to end")


def tile_product(answer: Callable[[Float32, Float32], Float32]) -> None:
    """The same bits as a sum in float32 from left to right."""
    rng = np.random.default_rng(7)
    a, panel = rng.normal(0, 1, (5, 70)).astype(np.float32), rng.normal(0, 1, (70, 16)).astype(np.float32)
    terms = a[:, :, None] * panel  # (R, K, P)
    same(answer(a, panel), np.cumsum(terms, axis=1)[:, -1], tolerance=0)
