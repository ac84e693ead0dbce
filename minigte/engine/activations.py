"""Activations of a vector, and the power of two that they and the softmax are made of.

The formulas are those of ``minigte.reference.ops``; the polynomials come from ``tools/fit_polynomials.py``.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.engine.finishes import GELU, GELU_10, GELU_NEW, SILU
from minigte.engine.jit import kernel
from minigte.engine.simd import (
    ROUNDER,
    fma,
    maximum,
    minimum,
    splat,
    times_power_of_two,
    where_less,
)

f32 = np.float32

SMALLEST_EXPONENT = f32(-126)  # of a normal float32
LOG2_E = f32(math.log2(math.e))
GELU_NEW_SCALE = f32(-2 * math.sqrt(2 / math.pi) * math.log2(math.e))
SILU_FAR = f32(87**2)  # squared: here SiLU is x or 0, to 1e-35

# 2^f for |f| <= 1/2, lowest power first, to a relative 8e-8.
E0, E1, E2, E3, E4, E5 = map(
    f32, (1.00000007, 0.693146967, 0.240221197, 0.0555071328, 0.00967554456, 0.0013276481)
)
# (Φ(x) - 1/2) / x for |x| <= GELU_END in u = 2 (x / GELU_END)² - 1, lowest power first; the error of x Φ(x)
# is below 5e-7 (its last bit). Outside, Φ is taken as constant: 4e-8 from 0 or 1, until x is far from 0.
GELU_END = f32(5.25)
GELU_SQUARE = f32(2 / 5.25**2)
GELU_FAR = f32(64 * 5.25)  # of x clipped(x): here |x| is 64, and gelu is x or 0 to the last bit
G0, G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11, G12, G13, G14 = map(
    f32,
    (
        0.134659347,
        -0.0671267735,
        0.0496456784,
        -0.0397648765,
        0.0320339746,
        -0.0250275839,
        0.0185177524,
        -0.0128344362,
        0.00849608211,
        -0.00533174702,
        0.00274721784,
        -0.0011486348,
        0.000794802491,
        -0.000617828594,
        0.000195108016,
    ),
)


@kernel
def exp2(x):
    """2^x of a vector, for x <= 127; below -126 it is 0."""
    rounded = x + ROUNDER
    f = x - (rounded - ROUNDER)  # in [-1/2, 1/2]
    p = fma(fma(fma(fma(fma(splat(E5), f, E4), f, E3), f, E2), f, E1), f, E0)
    return where_less(x, SMALLEST_EXPONENT, f32(0), times_power_of_two(p, rounded))


@kernel
def _unless_far(distance, far, x, y):
    """y; but x or 0, as x is above or below 0, where the distance from 0 is ``far``. -inf gives NaN."""
    return where_less(distance, far, y, maximum(x, x * f32(0)))


@kernel
def gelu(x):
    """x · Φ(x) = x/2 + x · (Φ(x) - 1/2) of a vector."""
    clipped = minimum(GELU_END, maximum(-GELU_END, x))
    u = fma(clipped * clipped, GELU_SQUARE, f32(-1))
    p = fma(fma(fma(fma(fma(splat(G14), u, G13), u, G12), u, G11), u, G10), u, G9)
    p = fma(fma(fma(fma(fma(p, u, G8), u, G7), u, G6), u, G5), u, G4)
    p = fma(fma(fma(fma(p, u, G3), u, G2), u, G1), u, G0)
    square = x * clipped  # of x; beyond GELU_END a multiple of |x|
    return _unless_far(square, GELU_FAR, x, fma(square, p, x * f32(0.5)))


@kernel
def gelu_new(x):
    """x/2 · (1 + tanh(y)) of a vector, y = sqrt(2/π) (x + 0.044715 x³); that is x / (1 + exp(-2y))."""
    square = x * x
    y = x * fma(square, f32(0.044715), f32(1)) * GELU_NEW_SCALE  # -2y / ln 2
    return _unless_far(square, GELU_FAR, x, x / (exp2(minimum(f32(126), y)) + f32(1)))


@kernel
def silu(x):
    """x / (1 + exp(-x)) of a vector."""
    return _unless_far(x * x, SILU_FAR, x, x / (exp2(minimum(f32(126), x * -LOG2_E)) + f32(1)))


@kernel
def activate(activation, x):
    """The activation of a vector."""
    if activation == GELU:
        return gelu(x)
    if activation == GELU_10:
        return minimum(f32(10), gelu(x))
    if activation == GELU_NEW:
        return gelu_new(x)
    if activation == SILU:
        return silu(x)
    return maximum(f32(0), x)
