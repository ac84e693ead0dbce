"""What happens to one row at a time: activation, softmax, layer norm, conversion to a product's input type.

A row is given by its byte address and lies padded to whole vectors. The formulas are those of
``minigte.reference.ops``; the polynomials come from ``tools/fit_polynomials.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types
from numba.extending import overload

from minigte.engine.finishes import GELU, GELU_10, GELU_NEW, SILU
from minigte.engine.jit import kernel
from minigte.engine.simd import (
    LANES,
    ROUNDER,
    VECTOR_BYTES,
    address,
    fma,
    lane_maximum,
    lane_maximum_or_nan,
    lane_sum,
    lanes_between,
    load,
    magnitude,
    maximum,
    maximum_or_nan,
    minimum,
    splat,
    square_root,
    store,
    store_as,
    store_low_bytes,
    times_power_of_two,
    where_less,
)

f32 = np.float32

SMALLEST_EXPONENT = f32(-126)  # of a normal float32
LOG2_E = f32(math.log2(math.e))
GELU_NEW_SCALE = f32(-2 * math.sqrt(2 / math.pi) * math.log2(math.e))
INT8_ZERO = f32(128)  # activations are stored as uint8, value + 128
INT8_SMALLEST = f32(1e-36)  # the largest of a row that is not all zeros; 127 / it is finite
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


@kernel
def softmax(scores, first, last, begin, end, scale, bias, like, probs):
    """p_j = exp2((s_j + b_j - max (s + b)) · scale) for the columns ``first`` to ``last``, 0 around them.

    Returns sum p, still to be divided by. p goes to ``probs`` in the type of the array ``like``, which may
    be ``scores`` itself, for all columns from ``begin`` to ``end``, rounded out to whole vectors. ``bias`` is
    the address of b_0, or 0 where there is none. If a score is NaN or infinite, so is the sum, as in the
    reference, but for -inf beside larger scores: that is a probability of 0.
    """
    head, tail = first // LANES, (last - 1) // LANES  # the vectors with the first and the last column
    if bias != 0:
        for i in range(head, tail + 1):
            where = scores + i * VECTOR_BYTES
            store(where, load(where) + load(bias + i * VECTOR_BYTES))
    right = lanes_between(
        load(scores + tail * VECTOR_BYTES), first - tail * LANES, last - tail * LANES, f32(-np.inf)
    )
    highest = right
    left = right
    if head < tail:
        left = lanes_between(load(scores + head * VECTOR_BYTES), first - head * LANES, LANES, f32(-np.inf))
        highest = maximum(highest, left)
    for i in range(head + 1, tail):
        highest = maximum(highest, load(scores + i * VECTOR_BYTES))
    shift = lane_maximum(highest)
    for i in range(begin // LANES, head):
        store_as(like, probs + i * LANES * like.itemsize, splat(f32(0)))
    total = splat(f32(0))
    if head < tail:
        total = exp2((left - shift) * scale)
        store_as(like, probs + head * LANES * like.itemsize, total)
    for i in range(head + 1, tail):
        p = exp2((load(scores + i * VECTOR_BYTES) - shift) * scale)
        total = total + p
        store_as(like, probs + i * LANES * like.itemsize, p)
    p = exp2((right - shift) * scale)
    store_as(like, probs + tail * LANES * like.itemsize, p)
    for i in range(tail + 1, (end + LANES - 1) // LANES):
        store_as(like, probs + i * LANES * like.itemsize, splat(f32(0)))
    return lane_sum(total + p)


@kernel
def normalize(row, target, size, weight, bias, eps, centred):
    """y = (x - mean) / sqrt(variance + eps) · weight + bias, or, not ``centred``, with 0 for the mean.

    From ``row`` to ``target``, which may be the same; weight and bias end in zeros where the row does.
    """
    vectors = (size + LANES - 1) // LANES
    mean = f32(0)
    if centred:
        total = splat(f32(0))
        for i in range(vectors):
            total = total + load(row + i * VECTOR_BYTES)
        mean = lane_sum(total) / f32(size)
    # What pads the last vector is zero and must not count as (0 - mean)².
    last = (vectors - 1) * VECTOR_BYTES
    tail = lanes_between(load(row + last) - mean, 0, size - (vectors - 1) * LANES, f32(0))
    squares = tail * tail
    for i in range(vectors - 1):
        difference = load(row + i * VECTOR_BYTES) - mean
        squares = fma(difference, difference, squares)
    factor = f32(1) / square_root(lane_sum(squares) / f32(size) + eps)
    for offset in range(0, vectors * VECTOR_BYTES, VECTOR_BYTES):
        y = fma((load(row + offset) - mean) * factor, load(weight + offset), load(bias + offset))
        store(target + offset, y)


@kernel
def quantize(source, size, target):
    """Write q = round(x / scale) + 128 as uint8, scale = max |x| / 127; returns the scale.

    If an x is NaN or infinite the scale is NaN, and so is all that a product makes of the row.
    """
    highest = splat(f32(0))
    for i in range(size // LANES):
        highest = maximum_or_nan(highest, magnitude(load(source + i * VECTOR_BYTES)))
    largest = lane_maximum_or_nan(highest)
    inverse = f32(127) / largest if largest > INT8_SMALLEST else f32(0)
    for i in range(size // LANES):
        q = fma(load(source + i * VECTOR_BYTES), inverse, ROUNDER + INT8_ZERO)
        store_low_bytes(target + i * LANES, q)
    return largest / f32(127) + (largest - largest)


def convert(source, target, scales):
    """The rows of ``source`` (M, width) in the type of ``target``, which products read; int8 sets scales."""
    raise NotImplementedError


@overload(convert)
def _convert(source, target, scales):
    def same(source, target, scales):
        pass

    def narrow(source, target, scales):
        for i in range(source.shape[0]):
            row, to = address(source) + i * source.strides[0], address(target) + i * target.strides[0]
            for j in range(source.shape[1] // LANES):
                store_as(target, to + j * LANES * target.itemsize, load(row + j * VECTOR_BYTES))

    def quantized(source, target, scales):
        for i in range(source.shape[0]):
            row, to = address(source) + i * source.strides[0], address(target) + i * target.strides[0]
            scales[i] = quantize(row, source.shape[1], to)

    if source.dtype == target.dtype:
        return same
    return quantized if target.dtype == types.uint8 else narrow
