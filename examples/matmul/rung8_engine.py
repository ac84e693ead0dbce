"""Rung 8: the engine's ``linear``: a higher tile, any number of rows, the bias added on the way out."""

import numba
import numpy as np
import numpy.typing as npt

from minigte.engine.finishes import LINEAR
from minigte.engine.linear import BLOCK_ROWS, Rotation, linear
from minigte.engine.simd import PANEL
from minigte.engine.target import LEVEL
from minigte.engine.weights import Matrix, pack_matrix

Float32 = npt.NDArray[np.float32]


def pack(b: Float32) -> Matrix:
    """B as the engine packs a weight, W = Bᵀ, with a bias of zeros."""
    inputs, outputs = b.shape
    return pack_matrix(1, outputs, inputs, [(b.T, np.zeros(outputs, np.float32))], "float32", LEVEL)


@numba.njit(nogil=True)
def multiply(a, matrix, c):
    """C = A B: (M, K), packed B -> (M, N)."""
    products = np.empty(BLOCK_ROWS * PANEL, np.float32)  # of a block of rows
    scales = widened = np.empty(0, np.float32)
    unturned = Rotation(np.empty((0, 2, 0), np.float32), np.empty(0, np.int64), 0)
    linear(a, scales, matrix, 0, 0, matrix.panels.shape[1], LINEAR, unturned, c, 0, products, widened)
