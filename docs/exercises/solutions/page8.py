"""Answers to page 8."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def value_of_bits(bits: str) -> float:
    """The formula."""
    sign, exponent, fraction = int(bits[0], 2), int(bits[1:9], 2), int(bits[9:], 2)
    return (-1) ** sign * 2.0 ** (exponent - 127) * (1 + fraction / 2**23)


def round_to_bfloat16(x: float) -> float:
    """As steps of the last digit; Python's own ``round`` takes ties to even."""
    step = 2.0 ** (math.floor(math.log2(x)) - 7)
    return round(x / step) * step


def quantize_rows(a: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """127 steps to the largest; where that is 0, any scale gives zeros."""
    scale = abs(a).max(axis=1) / np.float32(127)
    q = np.rint(a / np.where(scale > 0, scale, np.float32(1))[:, None])
    return q.astype(np.int8), scale


def int8_linear(x: Float32, weight: Float32) -> Float32:
    """Integers first, scales after."""
    (q_x, s_x), (q_w, s_w) = quantize_rows(x), quantize_rows(weight)
    return (q_x.astype(np.int32) @ q_w.astype(np.int32).T) * s_x[:, None] * s_w


def largest_sum(inputs: int) -> int:
    """q is at most 127, so what is stored is at most 255."""
    return inputs * 255 * 127


def turned_by(cosine: float) -> float:
    """|a - b|² = 2 - 2 a·b."""
    return math.sqrt(2 - 2 * cosine)
