"""A tensor still in its file: its name and shape are known, its numbers are read on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32

# A tensor's name and shape, and what reads it from its file.
StoredTensor = tuple[str, tuple[int, ...], Callable[[], npt.NDArray[Any]]]


def widen_bfloat16(upper: npt.NDArray[np.uint16]) -> Float32:
    """float32 of bfloat16, which NumPy does not have: its bits are the upper half of a float32's."""
    wide: npt.NDArray[np.uint32] = np.left_shift(upper, 16, dtype=np.uint32)  # a block at a time, of any size
    return wide.view(np.float32)
