"""A tensor still in its file: its name and shape are known, its numbers are read on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from minigte.errors import CheckpointError

# A tensor's name and shape, and what reads it from its file.
StoredTensor = tuple[str, tuple[int, ...], Callable[[], npt.NDArray[Any]]]


def check_regular(path: Path) -> None:
    """Refuse what is no file: a named pipe would be waited for, a device never ends."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a regular file")
    except OSError as error:  # its name is too long
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
