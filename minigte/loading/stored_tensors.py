"""A tensor still in its file: its name and shape are known, its numbers are read on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

# A tensor's name and shape, and what reads it from its file.
StoredTensor = tuple[str, tuple[int, ...], Callable[[], npt.NDArray[Any]]]
