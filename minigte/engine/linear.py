"""Linear layers: products tile by tile in registers, fused with what follows.

The weights are packed as ``weights.Matrix`` says. A product walks over the panels, and for each over blocks
of rows. In a block the chunks of the panel come one by one, and each is read into the first cache once for
all tiles. A row's inner dimension is summed from first to last, in chunks of CHUNK_STEPS whatever the rows,
so its result depends on that row alone.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import types
from numba.extending import overload

from minigte.arrays import Float32, Int64
from minigte.engine.activations import activate
from minigte.engine.finishes import GATED, LINEAR, RESIDUAL, ROTATE
from minigte.engine.jit import kernel, step
from minigte.engine.simd import (
    LANES,
    PANEL,
    PANEL_BYTES,
    TILE_ROWS,
    VECTOR_BYTES,
    address,
    first_tile,
    fma,
    load,
    load_difference,
    load_float,
    matrices_begin,
    matrices_end,
    matrix_tile,
    rows_at_once,
    store_as,
    tile,
    whole_matrices,
    widening_tile,
)
from minigte.engine.target import LEVEL

# Steps summed in registers before the sum goes to memory. Short chunks round less (each sum starts at zero),
# and a chunk of a panel fits the first cache.
CHUNK_STEPS = 384
BLOCK_ROWS = LEVEL.block_rows


@kernel
def multiply(like, height, a, a_stride, b, steps, c, c_stride):
    """C = A B for ``height`` rows of A and one panel B that is in a cache, by address.

    ``like`` is of B's type. Where the processor has matrix registers for it, 16 or 32 rows of A are read, and
    of C written, at a time.
    """
    whole, at_once = whole_matrices(like, steps), rows_at_once(like)
    if whole > 0:
        for top in range(0, height, at_once):
            rows = min(at_once, height - top)
            matrix_tile(like, rows, a + top * a_stride, a_stride, b, whole, c + top * c_stride, c_stride)
    for first in range(whole, steps, CHUNK_STEPS):
        last = min(steps, first + CHUNK_STEPS)
        for top in range(0, height, TILE_ROWS):
            rows = min(TILE_ROWS, height - top)
            tile(like, rows, a + top * a_stride, a_stride, b, first, last, c + top * c_stride, c_stride)


@kernel
def multiply_first(like, height, a, a_stride, b, steps, c):
    """``multiply`` for at most TILE_ROWS rows and a panel that no cache holds yet. C is PANEL wide."""
    for first in range(0, steps, CHUNK_STEPS):
        first_tile(like, height, a, a_stride, b, first, min(steps, first + CHUNK_STEPS), c, PANEL_BYTES)


@kernel
def multiply_block(like, height, a, a_stride, b, steps, c, is_first):
    """``multiply`` for a block of rows, perhaps the first that are multiplied by the panel."""
    done = 0
    if is_first and whole_matrices(like, steps) == 0:
        done = min(TILE_ROWS, height)
        multiply_first(like, done, a, a_stride, b, steps, c)
    a, c = a + done * a_stride, c + done * PANEL_BYTES
    multiply(like, height - done, a, a_stride, b, steps, c, PANEL_BYTES)


def _dequantize(like, total, offset, scale, row, weights, outliers):
    """A vector of a block's sums as float32.

    For int8, (total - offset) · scale of the output · scale of the row, and what the row's outliers add:
    ``row`` is the address of the row's scale and of them, ``weights`` of their weights.
    """
    raise NotImplementedError


@overload(_dequantize)
def _(like, total, offset, scale, row, weights, outliers):
    def quantized(like, total, offset, scale, row, weights, outliers):
        y = load_difference(total, offset) * (load(scale) * load_float(row))
        for i in range(outliers):
            y = fma(load(weights + i * PANEL_BYTES), load_float(row + 4 + 4 * i), y)
        return y

    if like.dtype == types.int8:
        return quantized
    return lambda like, total, offset, scale, row, weights, outliers: load(total)


@kernel
def address_of(panels, panel):
    """The address of ``panel`` = (layer, column)."""
    return address(panels) + panel[0] * panels.strides[0] + panel[1] * panels.strides[1]


def _multiply_panel(like, matrix, panel, rows, a, a_stride, c, is_first, is_last, widened):
    """C = A B for a block's ``rows`` and one panel, ``panel`` = (layer, column) of a matrix.

    ``like`` is ``matrix.panels``, whose type chooses. The block is the first or the last that the panel is
    multiplied with, or both, or neither. Of a panel that is kept in float16 the first tile reads that, and
    leaves it ``widened`` to the others.
    """
    raise NotImplementedError


@overload(_multiply_panel)
def _(like, matrix, panel, rows, a, a_stride, c, is_first, is_last, widened):
    def kept(like, matrix, panel, rows, a, a_stride, c, is_first, is_last, widened):
        multiply_block(like, rows, a, a_stride, address_of(like, panel), like.shape[2], c, is_first)

    def halved(like, matrix, panel, rows, a, a_stride, c, is_first, is_last, widened):
        halves, steps, done = matrix.halves, like.shape[2], 0
        if len(halves) == 0:
            multiply_block(like, rows, a, a_stride, address_of(like, panel), steps, c, is_first)
            return
        half = address_of(halves, panel)
        if is_first and is_last and rows <= TILE_ROWS:
            multiply_first(halves, rows, a, a_stride, half, steps, c)
            return
        if is_first:  # of several tiles, and so as high as a tile can be
            for first in range(0, steps, CHUNK_STEPS):
                last = min(steps, first + CHUNK_STEPS)
                widening_tile(halves, a, a_stride, half, first, last, c, PANEL_BYTES, address(widened))
            done = TILE_ROWS
        a, c = a + done * a_stride, c + done * PANEL_BYTES
        multiply(like, rows - done, a, a_stride, address(widened), steps, c, PANEL_BYTES)

    return halved if like.dtype == types.float32 and LEVEL.float16 else kept


class Rotation(NamedTuple):
    """How far ROTATE turns a row's pairs of outputs, which the two vectors of a panel hold side by side."""

    angles: Float32  # (positions, 2, K / 2 padded) the sine and the cosine of every pair of a head
    positions: Int64  # (M,) each row's place in its text
    panels: int  # of a head


@kernel
def linear(a, scales, matrix, layer, first, last, finish, rotation, out, start, products, widened):
    """out = finish(a Wᵀ + b) for the output panels ``first`` to ``last``: (M, inputs) -> (M, outputs).

    a and scales (M, 1 + MOST) are what ``rows.convert`` makes. ``finish`` is one of ``finishes``:
    LINEAR, RESIDUAL (out +=), ROTATE (by ``rotation``), an activation, or an activation + GATED, which makes
    half as many outputs; ``start`` is the column of ``out`` where the outputs begin. ``products`` and
    ``widened`` are scratch for a block's sums and for a panel.
    """
    height, a_stride, out_stride = a.shape[0], a.strides[0], out.strides[0]
    sums, a_address, out_address = address(products), address(a), address(out) + start * out.itemsize
    bias = address(matrix.bias) + layer * matrix.bias.strides[0] + first * PANEL_BYTES
    scale = address(matrix.scale) + layer * matrix.scale.strides[0] + first * PANEL_BYTES
    offset = address(matrix.offset) + layer * matrix.offset.strides[0] + first * PANEL_BYTES
    weights_bytes = matrix.outlier_weights.strides[1]
    weights = address(matrix.outlier_weights) + layer * matrix.outlier_weights.strides[0]
    weights += first * weights_bytes
    outliers = 0
    for i in range(matrix.outliers.shape[1]):
        outliers += matrix.outliers[layer, i] >= 0
    matrices_begin(matrix.panels)
    for column in range(first, last):
        for top in range(0, height, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, height - top)
            _multiply_panel(
                matrix.panels,
                matrix,
                (layer, column),
                rows,
                a_address + top * a_stride,
                a_stride,
                sums,
                top == 0,
                top + rows == height,
                widened,
            )
            if finish == ROTATE or finish >= GATED:
                for i in range(rows):
                    row = address(scales) + (top + i) * scales.strides[0]
                    target = out_address + (top + i) * out_stride
                    where = sums + i * PANEL_BYTES
                    left = _dequantize(matrix.panels, where, offset, scale, row, weights, outliers)
                    left = left + load(bias)
                    right = _dequantize(
                        matrix.panels,
                        where + VECTOR_BYTES,
                        offset + VECTOR_BYTES,
                        scale + VECTOR_BYTES,
                        row,
                        weights + VECTOR_BYTES,
                        outliers,
                    )
                    right = right + load(bias + VECTOR_BYTES)
                    pair_up(out, target, column, finish, rotation, top + i, left, right)
                continue
            for i in range(rows):
                row = address(scales) + (top + i) * scales.strides[0]
                target = out_address + (top + i) * out_stride + column * PANEL * out.itemsize
                for half in range(2):
                    shift = half * VECTOR_BYTES
                    y = _dequantize(
                        matrix.panels,
                        sums + i * PANEL_BYTES + shift,
                        offset + shift,
                        scale + shift,
                        row,
                        weights + shift,
                        outliers,
                    )
                    y = y + load(bias + shift)
                    where = target + half * (PANEL // 2) * out.itemsize
                    if finish == RESIDUAL:
                        y = y + load(where)
                    elif finish != LINEAR:
                        y = activate(finish, y)
                    store_as(out, where, y)
        bias += PANEL_BYTES
        scale += PANEL_BYTES
        offset += PANEL_BYTES
        weights += weights_bytes
    matrices_end(matrix.panels)


@step
def pair_up(out, row, column, finish, rotation, place, left, right):
    """Finish the two vectors of a panel that belong together: a pair to turn, or a product and its gate."""
    width = LANES * out.itemsize
    if finish != ROTATE:
        store_as(out, row + column * width, activate(finish - GATED, left) * right)
        return
    angles = rotation.angles
    sines = address(angles) + rotation.positions[place] * angles.strides[0]
    sines += column % rotation.panels * VECTOR_BYTES
    sine, cosine = load(sines), load(sines + angles.strides[1])
    store_as(out, row + column * 2 * width, left * cosine - right * sine)
    store_as(out, row + (column * 2 + 1) * width, right * cosine + left * sine)
