"""What the answers to page 8 must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from expect import WrongError, model, same

from minigte.engine.weights import to_bfloat16

Float32 = npt.NDArray[np.float32]


def value_of_bits(answer: Callable[[str], float]) -> None:
    """Whole numbers, fractions, either sign, and any bits."""
    patterns = np.float32([1, -6.5, np.pi, 0.15625]).view(np.uint32).tolist()
    patterns += np.random.default_rng(8).integers(100 << 23, 150 << 23, 20).tolist()
    for pattern in patterns:
        value = float(np.uint32(pattern).view(np.float32))
        same(answer(f"{pattern:032b}") / value, 1.0, tolerance=1e-7)


def round_to_bfloat16(answer: Callable[[float], float]) -> None:
    """Ties of both kinds, their neighbours, and numbers of any size."""
    ties = [1 + 1 / 256, 1 + 3 / 256, 1 + 1 / 256 + 2**-20, 1 + 3 / 256 - 2**-20, 2 - 2**-10]
    for x in [*ties, *np.exp(np.random.default_rng(8).normal(0, 9, 50)).astype(np.float32).tolist()]:
        bits = to_bfloat16(np.float32([x])).astype(np.uint32) << 16
        same(answer(x) / float(bits.view(np.float32)[0]), 1.0, tolerance=1e-9)


def quantize_rows(answer: Callable[[Float32], tuple[npt.NDArray[np.int8], Float32]]) -> None:
    """Rows of different size, and one of zeros."""
    a = np.random.default_rng(8).normal(0, 1, (4, 50)).astype(np.float32)
    a *= np.float32([[1], [100], [0], [1e-3]])
    q, scale = answer(a.copy())
    if np.asarray(q).dtype != np.int8:
        raise WrongError("q is not int8")
    same(scale, abs(a).max(axis=1) / 127, tolerance=1e-6)
    same(q, np.rint(a / np.where(scale > 0, scale, 1)[:, None]), tolerance=0)


def int8_linear(answer: Callable[[Float32, Float32], Float32]) -> None:
    """A product of gte-small's: what is off must be what int8 costs, neither more nor less."""
    weight = model()[1].layers[0].query_weight
    x = np.random.default_rng(8).normal(0, 1, (3, 384)).astype(np.float32) * np.float32([[1], [5], [20]])

    def rounded(a: Float32) -> npt.NDArray[np.float64]:
        scale = abs(a).max(axis=1, keepdims=True) / np.float32(127)
        return np.rint(a / scale) * scale.astype(np.float64)

    same(answer(x, weight), rounded(x) @ rounded(weight).T, tolerance=1e-4)


def largest_sum(answer: Callable[[int], int]) -> None:
    """gte-small's widest layer, and the least."""
    same(answer(1536), 49743360)
    same(answer(1), 32385)


def turned_by(answer: Callable[[float], float]) -> None:
    """The same direction, a right angle, the opposite, and int8's usual cosine."""
    same(answer(1.0), 0.0)
    same(answer(0.0), 2**0.5)
    same(answer(-1.0), 2.0)
    same(answer(0.9997), 0.0006**0.5)
