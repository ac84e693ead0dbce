"""A corpus embedded by Dask: ``pip install 'dask[dataframe]' distributed``.

from minigte.integrations.dask import with_embeddings

with_embeddings(frame, "thenlper/gte-small").to_parquet("vectors/")
"""

from __future__ import annotations

from typing import Any

from minigte.errors import MissingDependencyError
from minigte.integrations.columns import check_column
from minigte.integrations.pandas import embed
from minigte.integrations.workers import loaded
from minigte.loading.sources import DEFAULT_MODEL

try:
    import dask.dataframe as dd
    import pandas as pd
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.dask needs dask[dataframe] ({error}): "
        "pip install 'dask[dataframe]' distributed"
    ) from error


def with_embeddings(
    frame: dd.DataFrame,
    model: str = DEFAULT_MODEL,
    column: str = "text",
    output_column: str = "embedding",
    *,
    dimension: int | None = None,
    nulls: str = "error",
    embedder_options: dict[str, Any] | None = None,
    **encode_options: Any,
) -> dd.DataFrame:
    """The frame with a column of vectors, by ``map_partitions``.

    A worker loads the model once, from its own disk. Dask gives a task one thread, and runs as many tasks
    at a time as a worker has threads; so each computes in one. ``dimension`` is that of the vectors, where it
    is known: without it the model is loaded here to ask. ``nulls`` is "error" or "keep".
    ``embedder_options`` go to ``Embedder``, ``encode_options`` to ``encode``.
    """
    check_column(column, frame.columns)
    given = dict(embedder_options or {})
    size = dimension or loaded(model, given, 1).embedding_dimension
    vector = pd.ArrowDtype(pa.list_(pa.float32(), size))
    meta = frame._meta.assign(**{output_column: pd.Series(dtype=vector)})
    return frame.map_partitions(
        _embed_partition, model, column, output_column, nulls, given, encode_options, meta=meta
    )


def _embed_partition(
    part: pd.DataFrame,
    model: str,
    column: str,
    output_column: str,
    nulls: str,
    embedder_options: dict[str, Any],
    encode_options: dict[str, Any],
) -> pd.DataFrame:
    """One partition, in a worker."""
    embedder = loaded(model, embedder_options, 1)
    options = {"show_progress_bar": False, **encode_options}
    return part.assign(**{output_column: embed(part[column], embedder, nulls=nulls, **options)})
