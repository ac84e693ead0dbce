"""Answers to page 4."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def gelu(x: float) -> float:
    """x times the share of a normal distribution below it."""
    return x / 2 * (1 + math.erf(x / math.sqrt(2)))


def feed_forward(
    x: Float32, w1: Float32, b1: Float32, w2: Float32, b2: Float32, act: Callable[[Float32], Float32]
) -> Float32:
    """Wide, bent, narrow."""
    return act(x @ w1.T + b1) @ w2.T + b2


def merge(w1: Float32, b1: Float32, w2: Float32, b2: Float32) -> tuple[Float32, Float32]:
    """Multiply out."""
    return w2 @ w1, w2 @ b1 + b2


def lowest_point() -> float:
    """Try them all."""
    return min((x / 100 for x in range(-300, 1)), key=gelu)
