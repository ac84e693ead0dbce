"""Page 8, Numbers with fewer bits. Put your answers in place of the lines that raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def value_of_bits(bits: str) -> float:
    """What 32 digits 0 and 1 (sign, 8 of the exponent, 23 of the fraction) mean; the exponent is 1 to 254."""
    raise NotImplementedError


def round_to_bfloat16(x: float) -> float:
    """The nearest number that bfloat16 has, ties to even; x is positive and has a float32.

    bfloat16 has the numbers of 8 binary digits, a 1 and the 7 bits of the fraction, times a power of two.
    """
    raise NotImplementedError


def quantize_rows(a: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """q and the scales: (M, K) -> (M, K) int8, (M,) float32; a is nearly q * scale. Zeros give zeros."""
    raise NotImplementedError


def int8_linear(x: Float32, weight: Float32) -> Float32:
    """x Wᵀ by way of int8, a scale for each row of both: (N, inputs), (outputs, inputs) -> (N, outputs)."""
    raise NotImplementedError


def largest_sum(inputs: int) -> int:
    """The largest sum of ``inputs`` products of a uint8 from q + 128 and an int8 weight from -127 to 127."""
    raise NotImplementedError


def turned_by(cosine: float) -> float:
    """The distance of two unit vectors of this cosine."""
    raise NotImplementedError
