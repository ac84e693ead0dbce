"""Rung 7: the tile of rung 6, reading B from panels that were packed once: each in the order of its use."""

import numpy as np
import numpy.typing as npt
from rung6_vectors import tile

from minigte.engine.jit import kernel
from minigte.engine.simd import PANEL, PANEL_BYTES, address

Float32 = npt.NDArray[np.float32]


def pack(b: Float32) -> Float32:
    """Cut B into panels of PANEL columns and lay them end to end: (K, N) -> (N / PANEL, K, PANEL)."""
    return np.ascontiguousarray(b.reshape(len(b), -1, PANEL).swapaxes(0, 1))


@kernel
def multiply(a, panels, c):
    """C = A B: (M, K), packed B -> (M, N), float32; M is a multiple of 4."""
    for j in range(panels.shape[0]):
        for i in range(0, a.shape[0], 4):
            target = address(c) + i * c.strides[0] + j * PANEL_BYTES
            tile(a, i, address(panels) + j * panels.strides[0], PANEL_BYTES, target, c.strides[0])
