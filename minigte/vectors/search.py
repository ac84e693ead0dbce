"""The best matches of a query among many vectors, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.errors import InputError
from minigte.vectors.similarity import as_rows, comparable, similarity_function


class Hit(TypedDict):
    """One match, in the form sentence-transformers' ``semantic_search`` returns."""

    corpus_id: int  # position in the corpus
    score: float


def semantic_search(
    query_embeddings: npt.ArrayLike,
    corpus_embeddings: Float32 | Iterable[npt.ArrayLike],
    top_k: int = 10,
    similarity_fn_name: str = "cosine",
    query_chunk_size: int = 128,
    corpus_chunk_size: int = 16_384,
) -> list[list[Hit]]:
    """For each query the ``top_k`` most similar rows of the corpus, best first.

    ``query_embeddings`` is (Q, D), or (D,) for one. ``corpus_embeddings`` is (C, D), which may be a memory
    map, or an iterable of such arrays or of single vectors, so that a corpus of any size passes through in
    bounded memory: the scores of ``query_chunk_size`` queries with ``corpus_chunk_size`` rows, and (Q, top_k)
    results, are held at a time.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1, not {top_k}")
    function = similarity_function(similarity_fn_name)
    query_embeddings = as_rows(query_embeddings)
    parts = [corpus_embeddings] if isinstance(corpus_embeddings, np.ndarray) else corpus_embeddings
    chunks = (
        part[i : i + corpus_chunk_size]
        for part in map(np.atleast_2d, parts)
        for i in range(0, len(part), corpus_chunk_size)
    )
    queries = [
        query_embeddings[i : i + query_chunk_size] for i in range(0, len(query_embeddings), query_chunk_size)
    ]
    best = [(np.empty((len(q), 0), np.float32), np.empty((len(q), 0), np.int64)) for q in queries]
    seen = 0
    for chunk in chunks:
        corpus_ids = np.arange(seen, seen + len(chunk))
        seen += len(chunk)
        for i, query in enumerate(queries):
            scores, ids = best[i]  # (q, at most top_k), best first
            scores = np.hstack([scores, function(*comparable(query, chunk))])
            ids = np.hstack([ids, np.broadcast_to(corpus_ids, (len(query), len(chunk)))])
            best[i] = _largest(scores, ids, top_k)
    return [
        [Hit(corpus_id=int(corpus_id), score=float(score)) for corpus_id, score in zip(*row, strict=True)]
        for scores, ids in best
        for row in zip(ids, scores, strict=True)
    ]


def _largest(scores: Float32, ids: Int64, top_k: int) -> tuple[Float32, Int64]:
    """The ``top_k`` largest of each row, best first, equal ones by id: (q, n) -> (q, min(top_k, n))."""
    if scores.shape[1] > top_k:
        kept = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
        scores, ids = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(ids, kept, axis=1)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
