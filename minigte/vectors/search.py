"""The best matches of a query among many vectors, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Float64, Int64
from minigte.calls.arguments import whole_number
from minigte.errors import InputError
from minigte.vectors.similarity import (
    SIMILARITY_FUNCTIONS,
    SimilarityFunction,
    as_rows,
    comparable,
    similarity_name,
)


class Hit(TypedDict):
    """One match, in the form sentence-transformers' ``semantic_search`` returns."""

    corpus_id: int  # position in the corpus
    score: float


def semantic_search(
    query_embeddings: npt.ArrayLike,
    corpus_embeddings: npt.ArrayLike | Iterable[npt.ArrayLike],
    top_k: int = 10,
    similarity_fn_name: str | SimilarityFunction = "cosine",
    query_chunk_size: int = 128,
    corpus_chunk_size: int = 8192,
    score_function: Callable[..., npt.ArrayLike] | None = None,
) -> list[list[Hit]]:
    """For each query the ``top_k`` most similar rows of the corpus, best first, equal ones by position.

    ``query_embeddings`` is (Q, D), or (D,) for one. ``corpus_embeddings`` is (C, D), which may be a memory
    map, or an iterable of such arrays or of single vectors.

    Memory is bounded, so the corpus can have any size: only the scores of ``query_chunk_size`` queries with
    ``corpus_chunk_size`` rows, and (Q, top_k) results, are held at a time. ``score_function`` replaces the
    named similarity by one of your own: it takes (q, D) and (c, D) and returns (q, c), larger for more
    alike, as ``minigte.dot_score`` does.

    Raises InputError for anything but vectors, for vectors of two lengths, and where a score is not a number.
    """
    top_k = whole_number("top_k", top_k, 1)
    query_chunk_size = whole_number("query_chunk_size", query_chunk_size, 1)
    corpus_chunk_size = whole_number("corpus_chunk_size", corpus_chunk_size, 1)
    function = score_function or SIMILARITY_FUNCTIONS[similarity_name(similarity_fn_name)].matrix
    dtype = np.float32 if score_function else np.float64  # ours sum in float64, and so need not convert
    queries = as_rows(query_embeddings)  # (Q, D)
    best = Best(len(queries), top_k)
    for corpus_start, chunk in _chunks(corpus_embeddings, corpus_chunk_size):  # (c, D)
        for start in range(0, len(queries), query_chunk_size):
            query, rows = comparable(queries[start : start + query_chunk_size], chunk)
            with np.errstate(invalid="ignore"):  # what is not a number is looked for below
                scores = function(query.astype(dtype, copy=False), rows.astype(dtype, copy=False))  # (q, c)
            best.add(
                start, corpus_start, checked_scores(scores, (len(query), len(rows)), start, corpus_start)
            )
    return best.hits()


class Best:
    """The best scores so far of each query, with their positions: best first, equal ones by position."""

    def __init__(self, num_queries: int, top_k: int) -> None:
        self.top_k = top_k
        self.scores = [np.empty(0, np.float32)] * num_queries  # (at most top_k,) of each
        self.ids = [np.empty(0, np.int64)] * num_queries

    def add(self, start: int, corpus_start: int, scores: Float32) -> None:
        """Take in the scores (q, c) of the queries from ``start`` on with the corpus from there on."""
        for query, row in enumerate(scores, start):
            columns = _largest(row, self.top_k)
            self.take(query, columns + corpus_start, row[columns])

    def take(self, query: int, ids: Int64, scores: Float32) -> None:
        """Take in some positions (n,), which are behind all before, with their scores for one query."""
        both = np.concatenate([self.scores[query], scores])
        all_ids = np.concatenate([self.ids[query], ids])
        kept = _largest(both, self.top_k)  # what came before stands before: equal scores stay by position
        self.scores[query], self.ids[query] = both[kept], all_ids[kept]

    def worst(self, query: int) -> float:
        """The score that one must reach to be among the best of a query; anyone can where there are fewer."""
        scores = self.scores[query]
        return float(scores[-1]) if len(scores) == self.top_k else -np.inf

    def hits(self) -> list[list[Hit]]:
        """The result, as sentence-transformers has it."""
        return [
            [Hit(corpus_id=corpus_id, score=score) for corpus_id, score in zip(*row, strict=True)]
            for row in (
                (ids.tolist(), scores.tolist()) for ids, scores in zip(self.ids, self.scores, strict=True)
            )
        ]


def _largest(row: Float32, count: int) -> Int64:
    """The places of the ``count`` largest, largest first, equal ones in their order: (n,) -> (count,)."""
    places = np.arange(len(row))
    if len(row) > count:
        smallest = np.partition(row, -count)[-count]
        places = np.flatnonzero(row >= smallest)  # more than count where several equal the smallest
    return places[np.argsort(-row[places], kind="stable")[:count]]


def checked_scores(scores: npt.ArrayLike, shape: tuple[int, int], start: int, corpus_start: int) -> Float32:
    """The scores (q, c) as an array, where they are numbers and as many as there must be."""
    scores = np.asarray(scores, np.float32)
    if scores.shape != shape:
        raise InputError(f"score_function gave {scores.shape} for {shape[0]} queries and {shape[1]} vectors")
    if np.isnan(scores).any():
        query, row = np.argwhere(np.isnan(scores))[0]
        raise InputError(
            f"the score of query {start + query} with corpus row {corpus_start + row} is not a number: "
            "one of the two holds NaN or infinity"
        )
    return scores


def _chunks(corpus: Any, size: int) -> Iterator[tuple[int, Float64]]:
    """The corpus in matrices of at most ``size`` rows, each with the position of its first row."""
    if isinstance(corpus, (str, bytes, Mapping)) or not isinstance(corpus, Iterable):
        kind = type(corpus).__name__
        raise InputError(f"corpus_embeddings must be vectors, or an iterable of them, not {kind}")
    start = count = 0
    waiting: list[Float64] = []
    for part in _parts(corpus, size):
        if waiting and count + len(part) > size:
            yield start, np.concatenate(waiting)
            start, count, waiting = start + count, 0, []
        if waiting:
            comparable(waiting[0], part)  # raises where they differ in length
        waiting.append(part)
        count += len(part)
    if waiting:
        yield start, np.concatenate(waiting)


def _parts(corpus: Any, size: int) -> Iterator[Float64]:
    """Arrays slice by slice, so that a memory map is read as it is needed; lists row by row."""
    if not hasattr(corpus, "shape"):
        for part in corpus:
            yield from _parts(part, size) if hasattr(part, "shape") else (as_rows(part),)
    elif len(corpus.shape) > 1:
        for i in range(0, len(corpus), size):
            yield as_rows(corpus[i : i + size])
    else:
        yield as_rows(corpus)
