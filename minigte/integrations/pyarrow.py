"""A column of texts in Arrow to one of vectors: ``pip install pyarrow``.

from minigte.integrations.pyarrow import embed

table = table.append_column("embedding", embed(table["text"], embedder))
"""

from __future__ import annotations

from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.integrations.columns import encode_column

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.pyarrow needs pyarrow ({error}): pip install pyarrow"
    ) from error


def embed(column: Any, embedder: Embedder, *, nulls: str = "error", **options: Any) -> Any:
    """An array of texts to a FixedSizeListArray of their float32 vectors, a ChunkedArray to one.

    ``nulls``: "error" raises InputError, which names the row; "keep" keeps them null. ``options`` go to
    ``Embedder.encode``.
    """
    if not isinstance(column, (pa.Array, pa.ChunkedArray)):
        raise InputError(f"the column must be an Arrow array of texts, not {type(column).__name__}")
    is_null = column.is_null().to_numpy(zero_copy_only=False).astype(bool)
    vectors = encode_column(embedder, column.to_pylist(), is_null, nulls, **options)  # (B, D)
    found = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel()), vectors.shape[1], mask=pa.array(is_null) if is_null.any() else None
    )
    return pa.chunked_array([found]) if isinstance(column, pa.ChunkedArray) else found
