"""Rung 9: two threads, each with rung 8 on its own half of the rows. No row needs another: neither waits."""

from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from rung8_engine import multiply as multiply_rows

from minigte.engine.simd import TILE_ROWS
from minigte.engine.weights import Matrix

Float32 = npt.NDArray[np.float32]


def multiply(a: Float32, matrix: Matrix, c: Float32, pool: Executor) -> None:
    """C = A B by this thread and one of the pool: (M, K), packed B -> (M, N)."""
    half = len(a) // 2 // TILE_ROWS * TILE_ROWS  # whole tiles
    other = pool.submit(multiply_rows, a[half:], matrix, c[half:])
    multiply_rows(a[:half], matrix, c[:half])
    other.result()
