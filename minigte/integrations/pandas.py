"""A column of texts in pandas to one of vectors: ``pip install pandas pyarrow``.

from minigte.integrations.pandas import embed

frame["embedding"] = embed(frame["text"], embedder)
"""

from __future__ import annotations

from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.integrations.columns import encode_column

try:
    import pandas as pd
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.pandas needs pandas and pyarrow ({error}): pip install pandas pyarrow"
    ) from error


def embed(column: pd.Series, embedder: Embedder, *, nulls: str = "error", **options: Any) -> pd.Series:
    """A Series of texts to one of their float32 vectors, Arrow's list of fixed length; the index stays.

    ``np.stack(result)`` is the (B, D) array. ``nulls``: "error" raises InputError, which names the row,
    counted from 0; "keep" keeps them null. ``options`` go to ``Embedder.encode``.
    """
    if not isinstance(column, pd.Series):
        raise InputError(f"the column must be a Series of texts, not {type(column).__name__}")
    is_null = column.isna().to_numpy(bool)
    vectors = encode_column(embedder, column.tolist(), is_null, nulls, **options)  # (B, D)
    found = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel()), vectors.shape[1], mask=pa.array(is_null) if is_null.any() else None
    )
    return pd.Series(pd.arrays.ArrowExtensionArray(found), index=column.index, name=column.name)
