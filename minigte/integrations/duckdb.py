"""Embeddings in SQL, with DuckDB: ``pip install duckdb pyarrow``.

connection = duckdb.connect("notes.duckdb")
register(connection, Embedder("thenlper/gte-small"))
connection.sql("CREATE TABLE vectors AS SELECT id, embed(body) AS embedding FROM notes")
connection.sql("FROM vectors ORDER BY similarity(embedding, embed('opening hours')) DESC LIMIT 10")
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigte.arrays import Matrix
from minigte.embedder import Embedder
from minigte.errors import MissingDependencyError

try:
    import duckdb
    import pyarrow as pa

    from minigte.integrations import pyarrow
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.duckdb needs duckdb and pyarrow ({error}): pip install duckdb pyarrow"
    ) from error


def register(connection: duckdb.DuckDBPyConnection, embedder: Embedder | None = None) -> None:
    """Give a connection the functions ``embed(text)``, a FLOAT[D], and ``similarity(a, b)`` of two such.

    Whole columns are computed at a time. Of NULL both give NULL. Without an ``embedder`` it is
    ``Embedder()``.
    """
    model = Embedder() if embedder is None else embedder
    vector = f"FLOAT[{model.embedding_dimension}]"

    def embed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
        return pyarrow.embed(texts, model, show_progress_bar=False)  # DuckDB leaves rows of NULL out

    def similarity(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.Array:
        return pa.array(model.similarity_pairwise(_rows(a), _rows(b)))

    connection.create_function("embed", embed, ["VARCHAR"], vector, type="arrow")
    connection.create_function("similarity", similarity, [vector, vector], "FLOAT", type="arrow")


def _rows(column: Any) -> Matrix:
    """A column of lists of fixed length as (B, D)."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return lists.flatten().to_numpy().astype(np.float32, copy=False).reshape(len(lists), -1)
