"""What happens to one row at a time: softmax, layer norm, conversion to a product's input type.

A row is given by its byte address and lies padded to whole vectors. The formulas are those of
``minigte.reference.ops``.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from minigte.engine.activations import exp2
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
    splat,
    square_root,
    store,
    store_as,
    store_integers,
)

f32 = np.float32

INT8_ZERO = f32(128)  # activations are stored as value + 128, which is not negative
INT8_SMALLEST = f32(1e-36)  # the largest of a row that is not all zeros; 127 / it is finite


@kernel
def from_bfloat16(half):
    """The number that these 16 bits are: the upper half of a float32."""
    return np.uint32(np.uint32(half) << np.uint32(16)).view(f32)


@kernel
def from_float16(half):
    """The number that these 16 bits are, which is finite: sign, 5 bits of exponent, 10 of fraction."""
    bits = np.uint32(half)
    fraction = f32(bits & np.uint32(0x3FF)) * f32(2**-24)  # all of it where the exponent is 0
    normal = np.uint32((bits & np.uint32(0x7FFF)) * np.uint32(1 << 13) + np.uint32((127 - 15) << 23)).view(
        f32
    )
    value = normal if bits & np.uint32(0x7C00) else fraction
    return -value if bits & np.uint32(0x8000) else value


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
    variance = lane_sum(squares) / f32(size)
    # Infinity must not become a factor of 0, which would hide it; of anything finite the difference is 0.
    factor = f32(1) / square_root(variance + eps) + (variance - variance)
    for offset in range(0, vectors * VECTOR_BYTES, VECTOR_BYTES):
        y = fma((load(row + offset) - mean) * factor, load(weight + offset), load(bias + offset))
        store(target + offset, y)


@kernel
def quantize(source, size, like, target):
    """Write q = round(x / scale) + 128 in the type of ``like``, scale = max |x| / 127; returns the scale.

    If an x is NaN or infinite the scale is NaN, and so is all that a product makes of the row.
    """
    highest = splat(f32(0))
    for i in range(size // LANES):
        highest = maximum_or_nan(highest, magnitude(load(source + i * VECTOR_BYTES)))
    largest = lane_maximum_or_nan(highest)
    inverse = f32(127) / largest if largest > INT8_SMALLEST else f32(0)
    for i in range(size // LANES):
        q = fma(load(source + i * VECTOR_BYTES), inverse, ROUNDER + INT8_ZERO)
        store_integers(like, target + i * LANES * like.itemsize, q)
    return largest / f32(127) + (largest - largest)


def convert(source, target, scales, outliers):
    """The rows of ``source`` (M, width) in the type of ``target``, which products read.

    int8 sets ``scales`` (M, 1 + MOST): a row's scale, and its numbers in the columns ``outliers`` (MOST,),
    which are 0 in ``target``; a column of -1 is none.
    """
    raise NotImplementedError


@overload(convert)
def _convert(source, target, scales, outliers):
    def same(source, target, scales, outliers):
        pass

    def narrow(source, target, scales, outliers):
        for i in range(source.shape[0]):
            row, to = address(source) + i * source.strides[0], address(target) + i * target.strides[0]
            for j in range(source.shape[1] // LANES):
                store_as(target, to + j * LANES * target.itemsize, load(row + j * VECTOR_BYTES))

    def quantized(source, target, scales, outliers):
        for i in range(source.shape[0]):
            row, to = address(source) + i * source.strides[0], address(target) + i * target.strides[0]
            for j in range(len(outliers)):
                if outliers[j] >= 0:
                    scales[i, 1 + j] = source[i, outliers[j]]
                    source[i, outliers[j]] = 0
            scales[i, 0] = quantize(row, source.shape[1], target, to)
            for j in range(len(outliers)):
                if outliers[j] >= 0:
                    source[i, outliers[j]] = scales[i, 1 + j]

    if source.dtype == target.dtype:
        return same
    return quantized if target.dtype in (types.uint8, types.int16) else narrow
