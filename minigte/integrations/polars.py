"""A column of texts in polars to one of vectors: ``pip install polars``.

from minigte.integrations.polars import embed

frame = frame.with_columns(embedding=embed(frame["text"], embedder))
"""

from __future__ import annotations

from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.integrations.columns import encode_column

try:
    import polars as pl
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.polars needs polars ({error}): pip install polars"
    ) from error


def embed(column: pl.Series, embedder: Embedder, *, nulls: str = "error", **options: Any) -> pl.Series:
    """A Series of texts to one of their vectors, ``Array(Float32, D)``.

    ``nulls``: "error" raises InputError, which names the row; "keep" keeps them null. ``options`` go to
    ``Embedder.encode``. In a lazy query: ``pl.col("text").map_batches(lambda column: embed(column, embedder),
    return_dtype=pl.Array(pl.Float32, embedder.embedding_dimension))``.
    """
    if not isinstance(column, pl.Series):
        raise InputError(f"the column must be a Series of texts, not {type(column).__name__}")
    is_null = column.is_null().to_numpy()
    vectors = encode_column(embedder, column.to_list(), is_null, nulls, **options)  # (B, D)
    kind = pl.Array(pl.Float32, vectors.shape[1])
    found = pl.Series(column.name, vectors, dtype=kind)
    if is_null.any():
        places = pl.Series(range(len(column)), dtype=pl.UInt32).set(pl.Series(is_null), None)
        found = found.gather(places)
    return found
