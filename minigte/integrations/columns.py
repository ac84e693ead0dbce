"""One column of texts to one of vectors, with rows that have no text; of no program's own kind yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Matrix
from minigte.embedder import Embedder
from minigte.errors import InputError


def check_column(column: str, columns: Iterable[str]) -> None:
    """Raise InputError where a frame with these columns has none of this name."""
    columns = list(columns)
    if column not in columns:
        raise InputError(f"the frame has no column {column!r} (columns: {', '.join(columns)})")


def encode_column(
    embedder: Embedder, texts: Sequence[Any], is_null: npt.NDArray[np.bool_], nulls: str, **options: Any
) -> Matrix:
    """One vector a row, (B, D), with zeros where ``is_null`` (B,) and ``nulls`` is "keep".

    Raises InputError, which names the row, for anything but a text, and for null unless ``nulls`` is "keep".
    """
    if nulls not in ("error", "keep"):
        raise InputError(f"nulls must be 'error' or 'keep', not {nulls!r}")
    rows = np.flatnonzero(~is_null).tolist()
    if nulls == "error" and len(rows) < len(texts):
        row = int(np.flatnonzero(is_null)[0])
        raise InputError(f"row {row} is null: leave such rows out, fill them with '', or give nulls='keep'")
    for row in rows:
        if not isinstance(texts[row], str):
            raise InputError(f"row {row} is {type(texts[row]).__name__}, not str: {texts[row]!r:.60}")
    found = embedder.encode([texts[row] for row in rows], **options)  # (texts, D)
    if found.dtype != np.float32 or found.ndim != 2:
        raise InputError("a column holds float32 vectors of texts: omit precision and output_value")
    vectors = np.zeros((len(texts), found.shape[1]), np.float32)
    vectors[rows] = found
    return vectors
