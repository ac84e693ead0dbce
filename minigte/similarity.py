"""How alike two vectors are, and the best matches of a query among many vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from minigte.errors import InputError
from minigte.pooling import normalize

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class Hit(TypedDict):
    """One match, in the form sentence-transformers' ``semantic_search`` returns."""

    corpus_id: int  # position in the corpus
    score: float


def cosine(a: Float32, b: Float32) -> Float32:
    """a · b / (‖a‖ ‖b‖) for every pair: (A, D), (B, D) -> (A, B)."""
    return normalize(a) @ normalize(b).T


def dot(a: Float32, b: Float32) -> Float32:
    """a · b for every pair: (A, D), (B, D) -> (A, B)."""
    return a @ b.T


def euclidean(a: Float32, b: Float32) -> Float32:
    """-‖a - b‖₂ for every pair, so that larger is more alike: (A, D), (B, D) -> (A, B)."""
    return -np.stack([np.sqrt(np.square(row - b).sum(axis=1)) for row in a])


def manhattan(a: Float32, b: Float32) -> Float32:
    """-‖a - b‖₁ for every pair: (A, D), (B, D) -> (A, B)."""
    return -np.stack([np.abs(row - b).sum(axis=1) for row in a])


SIMILARITY_FUNCTIONS: dict[str, Callable[[Float32, Float32], Float32]] = {
    "cosine": cosine,
    "dot": dot,
    "euclidean": euclidean,
    "manhattan": manhattan,
}


def similarity_function(name: str) -> Callable[[Float32, Float32], Float32]:
    """The named similarity of every pair. Raises InputError for a name that none has."""
    if name not in SIMILARITY_FUNCTIONS:
        raise InputError(f"unknown similarity {name!r} (known: {', '.join(SIMILARITY_FUNCTIONS)})")
    return SIMILARITY_FUNCTIONS[name]


def as_rows(embeddings: npt.ArrayLike) -> Float32:
    """Vectors as a matrix: (B, D) or (D,) -> (B, D). Raises InputError for what is no vectors."""
    try:
        rows = np.atleast_2d(np.asarray(embeddings, np.float32))
    except (TypeError, ValueError):
        raise InputError("similarity is of vectors, not of texts or objects: encode texts first") from None
    if rows.ndim > 2:
        raise InputError(f"similarity is of (B, D) vectors, not of an array {rows.shape}")
    return rows


def comparable(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Float32, Float32]:
    """Both ``as_rows``. Raises InputError where their vectors differ in length."""
    a, b = as_rows(a), as_rows(b)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"vectors of {a.shape[1]} and of {b.shape[1]} components cannot be compared: "
            "encode both with the same model and truncate_dim"
        )
    return a, b


def pairwise(name: str, a: npt.ArrayLike, b: npt.ArrayLike) -> Float32:
    """The named similarity of a's row i with b's row i alone: (B, D), (B, D) -> (B,)."""
    a, b = as_rows(a), as_rows(b)
    if a.shape != b.shape:
        raise InputError(f"similarity_pairwise needs equal shapes, not {a.shape} and {b.shape}")
    if name == "cosine":
        a, b = normalize(a), normalize(b)
    if name in ("cosine", "dot"):
        return np.einsum("bd,bd->b", a, b)
    if name == "euclidean":
        return -np.sqrt(np.square(a - b).sum(axis=1))
    return -np.abs(a - b).sum(axis=1)


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


def _largest(scores: Float32, ids: Ids, top_k: int) -> tuple[Float32, Ids]:
    """The ``top_k`` largest of each row, best first, equal ones by id: (q, n) -> (q, min(top_k, n))."""
    if scores.shape[1] > top_k:
        kept = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
        scores, ids = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(ids, kept, axis=1)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
