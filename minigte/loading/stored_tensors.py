"""A tensor still in its file: its name and shape are known, its numbers are read on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.errors import CheckpointError
from minigte.models.weights import StoredDtype
from minigte.runtime.memory import zeros

HUGE = 64 << 20  # bytes: malloc keeps none of so much that is freed


class StoredTensor(NamedTuple):
    """A tensor in a file."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]
    dtype: StoredDtype = "float32"  # a type that holds each of its numbers


def read_tensor(path: Path, tensor: StoredTensor) -> Float32:
    """The numbers in float32, read-only. Raises CheckpointError where one of them is not finite."""
    name, shape = tensor.name, tensor.shape
    stored = tensor.read()
    if stored.dtype == np.float32 and stored.nbytes >= HUGE and stored.flags.c_contiguous:
        array: Float32 = stored  # a second copy might find no room
    else:
        array = zeros(shape, np.float32)
        with np.errstate(over="ignore"):  # of float64; what is infinite then is refused
            array[...] = stored
        del stored
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: tensor {name} holds NaN or infinity: download the file again")
    array.flags.writeable = False
    return array


def widen_bfloat16(upper: npt.NDArray[np.uint16]) -> Float32:
    """float32 of bfloat16, which NumPy does not have: its bits are the upper half of a float32's."""
    wide: npt.NDArray[np.uint32] = np.left_shift(upper, 16, dtype=np.uint32)  # a block at a time, of any size
    return wide.view(np.float32)
