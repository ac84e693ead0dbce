"""Embeddings in SQL, with Python's own SQLite: nothing to install.

connection = sqlite3.connect("notes.db")
register(connection, Embedder("thenlper/gte-small"))
connection.execute("UPDATE notes SET embedding = embed(body)")
connection.execute("SELECT body FROM notes ORDER BY similarity(embedding, embed('when?')) DESC LIMIT 10")
"""

from __future__ import annotations

import functools
import sqlite3
from typing import Any

import numpy as np

from minigte.arrays import Vector
from minigte.embedder import Embedder
from minigte.errors import InputError

KEPT = 256  # texts whose vectors are remembered: SQLite may ask for a query's once a row


def register(connection: sqlite3.Connection, embedder: Embedder | None = None) -> None:
    """Give a connection the functions ``embed(text)`` and ``similarity(a, b)``.

    ``embed`` gives the vector as a BLOB of float32 numbers, little end first, which sqlite-vec reads too.
    ``similarity`` is the model's, of two such BLOBs. Of NULL both give NULL. Without an ``embedder`` it is
    ``Embedder()``. SQLite shows what they refuse as "user-defined function raised exception"; the reason is
    logged, and shown after ``sqlite3.enable_callback_tracebacks(True)``.
    """
    model = Embedder() if embedder is None else embedder
    remember = functools.lru_cache(KEPT)(lambda text: model.encode(text).astype("<f4").tobytes())

    def embed(text: Any) -> bytes | None:
        if text is None:
            return None
        if not isinstance(text, str):
            raise InputError(f"embed takes a text, not {type(text).__name__}: {text!r:.60}")
        return remember(text)

    def similarity(a: Any, b: Any) -> float | None:
        if a is None or b is None:
            return None
        pair = [_vector(value, model.embedding_dimension) for value in (a, b)]  # two of (D,)
        return float(model.similarity_pairwise(*pair)[0])

    connection.create_function("embed", 1, embed, deterministic=True)
    connection.create_function("similarity", 2, similarity, deterministic=True)


def _vector(value: Any, dim: int) -> Vector:
    """The (D,) vector in a BLOB."""
    if not isinstance(value, bytes):
        raise InputError(f"similarity takes vectors, not {type(value).__name__}: write embed(...) around it")
    if len(value) != 4 * dim:
        raise InputError(f"a vector of this model has {4 * dim} bytes, and this BLOB has {len(value)}")
    return np.frombuffer(value, "<f4").astype(np.float32)
