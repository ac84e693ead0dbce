"""Rung 6: vector instructions, named one by one, and a tile of C that never leaves the registers.

``load``, ``fma`` and ``store`` are single instructions on LANES float32 each: engine/simd/ makes them out
of LLVM's. The tile is 4 rows high and two vectors (PANEL columns) wide, so eight sums grow side by side.
"""

import numpy as np

from minigte.engine.jit import kernel
from minigte.engine.simd import PANEL, VECTOR_BYTES, address, fma, load, splat, store

ZERO = np.float32(0)


@kernel
def tile(a, i, b, b_stride, c, c_stride):
    """C's four rows from ``i`` on, PANEL columns; b, c are addresses, the strides bytes to the next row."""
    c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = splat(ZERO)
    for k in range(a.shape[1]):
        b0, b1 = load(b), load(b + VECTOR_BYTES)
        c00, c01 = fma(a[i, k], b0, c00), fma(a[i, k], b1, c01)
        c10, c11 = fma(a[i + 1, k], b0, c10), fma(a[i + 1, k], b1, c11)
        c20, c21 = fma(a[i + 2, k], b0, c20), fma(a[i + 2, k], b1, c21)
        c30, c31 = fma(a[i + 3, k], b0, c30), fma(a[i + 3, k], b1, c31)
        b += b_stride
    store(c, c00), store(c + VECTOR_BYTES, c01)
    store(c + c_stride, c10), store(c + c_stride + VECTOR_BYTES, c11)
    store(c + 2 * c_stride, c20), store(c + 2 * c_stride + VECTOR_BYTES, c21)
    store(c + 3 * c_stride, c30), store(c + 3 * c_stride + VECTOR_BYTES, c31)


@kernel
def multiply(a, b, c):
    """C = A B: (M, K), (K, N) -> (M, N), float32; M is a multiple of 4, N of PANEL."""
    for j in range(0, b.shape[1], PANEL):
        for i in range(0, a.shape[0], 4):
            target = address(c) + i * c.strides[0] + 4 * j
            tile(a, i, address(b) + 4 * j, b.strides[0], target, c.strides[0])
