"""Large arrays in pages of their own, which go back to the system when the array does.

malloc would keep what is freed: 80 MB of gte-small's weights, once an engine has packed them. Small arrays
are malloc's: it finds a place for them among what it keeps, and a process may have 65,530 maps of pages.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

LARGE = 128 << 10  # bytes: where glibc's malloc, too, begins to take pages
CACHE_LINE = 64  # bytes; the longest vector of any processor

# POSIX shares such pages with forked children unless told not to; Windows has no choice and no fork.
_PRIVATE: Any = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A C-contiguous array of zeros that begins on a cache line. Raises MemoryError."""
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size < LARGE:
        room = np.zeros(size + CACHE_LINE, np.uint8)
        first = -room.ctypes.data % CACHE_LINE
        return room[first : first + size].view(dtype).reshape(shape)
    try:
        pages = mmap.mmap(-1, size, **_PRIVATE)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {size} bytes ({error.strerror})") from error
    return np.frombuffer(pages, dtype, count).reshape(shape)
