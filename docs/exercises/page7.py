"""Page 7, From NumPy to the metal. Put your answers in place of the lines that raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def flop(tokens: int, length: int) -> int:
    """FLOP of one of gte-small's layers for ``tokens`` tokens in texts of ``length`` tokens each.

    Count the six linear layers, Q Kᵀ and the product of the probabilities with V. D is 384, F 1536.
    """
    raise NotImplementedError


def cache_lines(stride: int, count: int) -> int:
    """How many 64-byte lines hold ``count`` float32, ``stride`` bytes (a multiple of 4) from one to the next.

    The first one begins a line.
    """
    raise NotImplementedError


def cache_sets(stride: int, count: int) -> int:
    """Into how many of 64 sets these lines fall; line n goes to set n modulo 64."""
    raise NotImplementedError


def loads_per_multiply_add(rows: int, vectors: int) -> float:
    """Loads per vector multiply-add of a tile, ``rows`` high and ``vectors`` wide, kept in registers."""
    raise NotImplementedError


def pack_panels(b: Float32, width: int) -> Float32:
    """Cut B into panels of ``width`` columns: (K, N) -> (N / width, K, width), C-contiguous."""
    raise NotImplementedError


def tile_product(a: Float32, panel: Float32) -> Float32:
    """A B in float32, each sum from its first term to its last: (R, K), (K, P) -> (R, P).

    The bits count: round after every multiplication and every addition, as NumPy does (fma would round once).
    """
    raise NotImplementedError
