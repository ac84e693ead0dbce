"""Linear layers: weights packed once, products tile by tile in registers, fused with what follows.

A weight (outputs, inputs) is cut into panels of PANEL outputs, each [steps][PANEL][group]: the order in which
the micro-kernel reads it. Outputs are padded with zeros to whole panels. A product walks over the panels,
and for each over the rows, TILE_ROWS at a time; a tile's inner dimension is summed from first to last, in
chunks of CHUNK_STEPS whatever the rows, so a row's result depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import overload

from minigte.engine import simd
from minigte.engine.jit import kernel
from minigte.engine.rowwise import LINEAR, RESIDUAL, activate
from minigte.engine.simd import (
    MIDDLE_ROWS,
    PANEL,
    PANEL_BYTES,
    SMALL_ROWS,
    TILE_ROWS,
    VECTOR_BYTES,
    address,
    load,
    load_difference,
    load_float,
    store_as,
    tile,
    tile_middle,
    tile_small,
)

Float32 = npt.NDArray[np.float32]

GROUPS = {"float32": 1, "bfloat16": 2, "int8": simd.INT8_GROUP}
# Steps summed in registers before the sum goes to memory. Short chunks round less (each sum starts at zero),
# and a chunk of a tile's rows fits the first cache.
CHUNK_STEPS = 384
PANEL_TYPES = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}


class Matrix(NamedTuple):
    """One linear layer of each of the L encoder layers, packed: W (outputs, inputs) and b (outputs,)."""

    panels: npt.NDArray[Any]  # (L, panels, steps, PANEL, group) float32, uint16 (bfloat16) or int8
    bias: Float32  # (L, panels * PANEL)
    scale: Float32  # (L, panels * PANEL), int8 only: w = q * scale
    offset: npt.NDArray[np.int32]  # (L, panels * PANEL), int8 only: 128 * the sum of an output's q


def padded(size: int) -> int:
    """``size`` rounded up to whole panels: the width of every array that a product reads or writes."""
    return -(-size // PANEL) * PANEL


def to_bfloat16(a: Float32) -> npt.NDArray[np.uint16]:
    """float32 to the nearest bfloat16, ties to even, as its bits."""
    bits = a.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def pack(
    layers: int, outputs: int, inputs: int, parameters: Iterable[tuple[Float32, Float32]], dtype: str
) -> Matrix:
    """Pack one (outputs, inputs) weight and (outputs,) bias per encoder layer; both sizes whole panels."""
    group, panels = GROUPS[dtype], outputs // PANEL
    quantized = dtype == "int8"
    matrix = Matrix(
        simd.empty((layers, panels, inputs // group, PANEL, group), PANEL_TYPES[dtype]),
        simd.empty((layers, outputs), np.float32),
        simd.empty((layers, outputs if quantized else 0), np.float32),
        simd.empty((layers, outputs if quantized else 0), np.int32),
    )
    for layer, (weight, bias) in enumerate(parameters):
        values: npt.NDArray[Any] = weight
        if dtype == "bfloat16":
            values = to_bfloat16(weight)
        elif quantized:
            scale = np.abs(weight).max(axis=1) / np.float32(127)  # (outputs,)
            values = np.rint(weight / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
            matrix.scale[layer] = scale
            matrix.offset[layer] = 128 * values.sum(axis=1, dtype=np.int32)
        # (panels, PANEL, steps, group) to (panels, steps, PANEL, group)
        matrix.panels[layer] = values.reshape(panels, PANEL, inputs // group, group).swapaxes(1, 2)
        matrix.bias[layer] = bias
    for array in matrix:
        array.flags.writeable = False
    return matrix


@kernel
def multiply(panels, height, a, a_stride, b, steps, c, c_stride):
    """C = A B for ``height`` <= TILE_ROWS rows of A and one panel B, all by address.

    The smallest tile that holds the rows is computed in full, so A and C must have that many rows in memory.
    """
    for first in range(0, steps, CHUNK_STEPS):
        last = min(steps, first + CHUNK_STEPS)
        if height > MIDDLE_ROWS:
            tile(panels, a, a_stride, b, first, last, c, c_stride)
        elif height > SMALL_ROWS:
            tile_middle(panels, a, a_stride, b, first, last, c, c_stride)
        else:
            tile_small(panels, a, a_stride, b, first, last, c, c_stride)


def _dequantize(panels, total, offset, scale, row_scale):
    """A tile's vector as float32; for int8, (total - offset) · scale of the output · scale of the row."""
    raise NotImplementedError


@overload(_dequantize)
def _(panels, total, offset, scale, row_scale):
    if panels.dtype == types.int8:
        return lambda panels, total, offset, scale, row_scale: (
            load_difference(total, offset) * (load(scale) * load_float(row_scale))
        )
    return lambda panels, total, offset, scale, row_scale: load(total)


@kernel
def linear(a, scales, matrix, layer, first, last, finish, out, start, scratch):
    """out = finish(a Wᵀ + b) for the output panels ``first`` to ``last``: (M, inputs) -> (M, outputs).

    a is what ``rowwise.convert`` makes, scales (M,) its scales (int8). ``finish`` is LINEAR, RESIDUAL
    (out +=) or an activation; ``start`` is the column of ``out`` where the outputs begin. M must be the rows
    of a view into an array with TILE_ROWS more.
    """
    height, steps = a.shape[0], matrix.panels.shape[2]
    panel_bytes = matrix.panels.strides[1]
    a_stride, out_stride = a.strides[0], out.strides[0]
    tile_address, a_address, out_address = address(scratch), address(a), address(out) + start * out.itemsize
    panel = address(matrix.panels) + layer * matrix.panels.strides[0] + first * panel_bytes
    bias = address(matrix.bias) + layer * matrix.bias.strides[0] + first * PANEL_BYTES
    scale = address(matrix.scale) + layer * matrix.scale.strides[0] + first * PANEL_BYTES
    offset = address(matrix.offset) + layer * matrix.offset.strides[0] + first * PANEL_BYTES
    for column in range(first, last):
        for top in range(0, height, TILE_ROWS):
            rows = min(TILE_ROWS, height - top)
            multiply(
                matrix.panels,
                rows,
                a_address + top * a_stride,
                a_stride,
                panel,
                steps,
                tile_address,
                PANEL_BYTES,
            )
            for i in range(rows):
                row_scale = address(scales) + 4 * (top + i)
                target = out_address + (top + i) * out_stride + column * PANEL * out.itemsize
                for half in range(2):
                    shift = half * VECTOR_BYTES
                    y = _dequantize(
                        matrix.panels,
                        tile_address + i * PANEL_BYTES + shift,
                        offset + shift,
                        scale + shift,
                        row_scale,
                    )
                    y = y + load(bias + shift)
                    where = target + half * (PANEL // 2) * out.itemsize
                    if finish == RESIDUAL:
                        y = y + load(where)
                    elif finish != LINEAR:
                        y = activate(finish, y)
                    store_as(out, where, y)
        panel += panel_bytes
        bias += PANEL_BYTES
        scale += PANEL_BYTES
        offset += PANEL_BYTES
