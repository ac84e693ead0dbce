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


def pairwise(name: str, a: Float32, b: Float32) -> Float32:
    """The named similarity of a's row i with b's row i alone: (B, D), (B, D) -> (B,)."""
    if name == "cosine":
        a, b = normalize(a), normalize(b)
    if name in ("cosine", "dot"):
        return np.einsum("bd,bd->b", a, b)
    if name == "euclidean":
        return -np.sqrt(np.square(a - b).sum(axis=1))
    return -np.abs(a - b).sum(axis=1)


def semantic_search(
    query_embeddings: Float32,
    corpus_embeddings: Float32 | Iterable[Float32],
    top_k: int = 10,
    similarity_fn_name: str = "cosine",
    query_chunk_size: int = 128,
    corpus_chunk_size: int = 16_384,
) -> list[list[Hit]]:
    """For each query the ``top_k`` most similar rows of the corpus, best first.

    ``query_embeddings`` is (Q, D). ``corpus_embeddings`` is (C, D), which may be a memory map, or an
    iterable of such arrays, so that a corpus of any size passes through in bounded memory: the scores of
    ``query_chunk_size`` queries with ``corpus_chunk_size`` rows, and (Q, top_k) results, are held at a time.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1, not {top_k}")
    function = SIMILARITY_FUNCTIONS[similarity_fn_name]
    parts = [corpus_embeddings] if isinstance(corpus_embeddings, np.ndarray) else corpus_embeddings
    chunks = (
        part[i : i + corpus_chunk_size] for part in parts for i in range(0, len(part), corpus_chunk_size)
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
            scores = np.hstack([scores, function(query, np.asarray(chunk))])
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
