"""The nearest of many vectors that are stored, in the time that reading them takes.

float32 vectors are compared in float32 first, and only those that could be among the best, whatever was
rounded, in float64 as ``semantic_search`` does: the result is the same. Codes are compared as codes; they
choose some that are then compared by their float32 vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.errors import InputError
from minigte.vectors.quantization import quantize_embeddings
from minigte.vectors.search import Best, Hit, semantic_search
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS

Rows = npt.NDArray[Any]
BLOCK = 512  # rows that are compared while they are in the cache
OVERSAMPLING = 10  # so many times top_k are chosen by their codes, to be compared by their vectors


def nearest(
    queries: Float32,
    parts: Iterable[Rows],
    top_k: int,
    *,
    precision: str = "float32",
    similarity_fn_name: str = "cosine",
) -> list[list[Hit]]:
    """For each query (Q, D) the ``top_k`` most similar rows of ``parts``, best first, equal ones by position.

    ``parts`` are (n, D) float32, float16 or "int8" rows (``scale_to_int8``), or (n, D / 8) "binary" or
    "ubinary" ones, as ``precision`` says. Codes keep the angle between vectors alone, and score its cosine.

    Raises InputError where a row holds NaN or infinity.
    """
    best = Best(len(queries), top_k)
    start = 0
    if precision in ("binary", "ubinary"):
        codes = quantize_embeddings(queries, "ubinary")  # (Q, D / 8)
        for part in parts:
            bits = part.view(np.uint8) + np.uint8(128) if precision == "binary" else part
            best.add(0, start, _bit_cosine(codes, np.ascontiguousarray(bits)))
            start += len(part)
        return best.hits()
    if precision == "int8":
        similarity_fn_name = "cosine"
    if similarity_fn_name not in ("cosine", "dot"):
        return semantic_search(queries, parts, top_k, similarity_fn_name)
    matrix = SIMILARITY_FUNCTIONS[similarity_fn_name].matrix
    lengths = np.maximum(np.linalg.norm(queries, axis=1), 1e-12)  # (Q,)
    for part in parts:
        products, squares = _products(queries, part)  # (Q, n), (n,)
        if not np.isfinite(squares).all():
            row = start + int(np.flatnonzero(~np.isfinite(squares))[0])
            raise InputError(f"row {row} holds NaN or infinity, or numbers too large to compare")
        norms = np.maximum(np.sqrt(squares), 1e-12)
        for query, product in enumerate(products):
            # Of a sum of D products no rounding moves more than D eps |q| |x|, in any order.
            error = 4 * part.shape[1] * np.finfo(np.float32).eps
            if similarity_fn_name == "cosine":
                scores, slack = product / (norms * lengths[query]), error
            else:
                scores, slack = product, error * lengths[query] * float(norms.max(initial=0))
            likely = _likely(scores, best.worst(query), top_k, slack)
            if len(likely):
                exact = matrix(queries[query : query + 1].astype(np.float64), part[likely].astype(np.float64))
                best.take(query, likely + start, exact[0])
        start += len(part)
    return best.hits()


def _products(queries: Float32, part: Rows) -> tuple[Float32, Float32]:
    """Of rows (n, D) the products with the queries (Q, D) and with themselves: (Q, n), (n,).

    Each block of rows comes from memory once, and is converted, and read again, from the cache.
    """
    products = np.empty((len(queries), len(part)), np.float32)
    squares = np.empty(len(part), np.float32)
    for start in range(0, len(part), BLOCK):
        rows: Float32 = part[start : start + BLOCK].astype(np.float32, copy=False)
        squares[start : start + BLOCK] = _squares(rows)
        products[:, start : start + BLOCK] = queries @ rows.T
    return products, squares


def rescored(
    queries: Float32, hits: Sequence[Sequence[Hit]], vectors: Rows, top_k: int, similarity_fn_name: str
) -> list[list[Hit]]:
    """The ``top_k`` best of what codes have chosen for each query, by their rows of ``vectors`` (N, D)."""
    found = []
    for query, chosen in zip(queries, hits, strict=True):
        places = np.sort(np.array([hit["corpus_id"] for hit in chosen], np.int64))
        [best] = semantic_search(query, np.asarray(vectors[places]), top_k, similarity_fn_name)
        found.append([Hit(corpus_id=int(places[hit["corpus_id"]]), score=hit["score"]) for hit in best])
    return found


def _likely(scores: Float32, worst: float, top_k: int, slack: float) -> Int64:
    """The places of the scores (n,) that may be among the best, where each is off by at most ``slack``."""
    if len(scores) > top_k:
        worst = max(worst, float(np.partition(scores, -top_k)[-top_k]))
    return np.flatnonzero(scores >= worst - 2 * slack)


def _bit_cosine(queries: Rows, rows: Rows) -> Float32:
    """The cosine of vectors of +1 and -1, of which these are the bits: (Q, W), (n, W) bytes -> (Q, n)."""
    bits = 8 * rows.shape[1]
    word = np.uint64 if rows.shape[1] % 8 == 0 else np.uint8
    wide = rows.view(word)
    scores = np.empty((len(queries), len(rows)), np.float32)
    for i, query in enumerate(np.ascontiguousarray(queries).view(word)):
        different = _count_bits(wide ^ query).sum(axis=1, dtype=np.int64)  # (n,)
        scores[i] = 1 - 2 * different / bits
    return scores


def _by_table(words: Rows) -> Rows:
    table = np.array([value.bit_count() for value in range(256)], np.uint8)
    return table[words.view(np.uint8)]


def _squares_by_einsum(rows: Float32) -> Float32:
    return np.einsum("nd,nd->n", rows, rows)


def _squares_by_blas(rows: Float32) -> Float32:
    return np.vecdot(rows, rows)


# NumPy has products of rows from 2.0 on.
_squares = _squares_by_blas if hasattr(np, "vecdot") else _squares_by_einsum

# NumPy counts bits itself from 2.0 on.
_count_bits: Callable[[Rows], Rows] = getattr(np, "bitwise_count", _by_table)
