"""The array types that signatures speak of, each with what it holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]  # all that a model computes with
Float64 = npt.NDArray[np.float64]  # sums that are shown to a reader
Int64 = npt.NDArray[np.int64]  # offsets into a packed batch, places in a list
Ids = npt.NDArray[np.integer]  # rows of an embedding table

# With their number of axes, for what a caller gets: a type checker then knows what ``shape`` holds.
Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
