"""The pairs and the groups of vectors that are alike, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.calls.arguments import whole_number
from minigte.errors import InputError
from minigte.vectors.search import Best, checked_scores
from minigte.vectors.similarity import as_rows, cos_sim


class Encodes(Protocol):
    """What turns texts into vectors, as an ``Embedder`` does."""

    @property
    def encode(self) -> Callable[..., npt.ArrayLike]:
        """One vector for each text."""


def paraphrase_mining(
    model: Encodes,
    sentences: Iterable[str],
    show_progress_bar: bool | None = None,
    batch_size: int = 256,
    query_chunk_size: int = 128,
    corpus_chunk_size: int = 8192,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Callable[..., npt.ArrayLike] | None = None,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """The pairs of texts that are most alike, best first: ``[score, i, j]`` with i < j.

    The texts are embedded with ``model``, such as an ``Embedder``; ``paraphrase_mining_embeddings`` says what
    is compared.
    """
    embeddings = model.encode(
        list(sentences),
        prompt_name=prompt_name,
        prompt=prompt,
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
        truncate_dim=truncate_dim,
    )
    return paraphrase_mining_embeddings(
        embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: npt.ArrayLike,
    query_chunk_size: int = 128,
    corpus_chunk_size: int = 8192,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: Callable[..., npt.ArrayLike] | None = None,
) -> list[list[float | int]]:
    """The pairs of rows (B, D) that are most alike, best first: ``[score, i, j]`` with i < j.

    Each row brings the ``top_k`` others that are most like it, and the best ``max_pairs`` of all are kept;
    equal scores stand by position. Memory is bounded: only the scores of ``query_chunk_size`` rows with
    ``corpus_chunk_size`` others, and some (max_pairs,) and (query_chunk_size, top_k) results, are held at a
    time. ``score_function`` replaces the cosine: it takes (q, D) and (c, D) and returns (q, c), larger for
    more alike, and the same whichever of two rows comes first.

    Raises InputError for anything but vectors, and where a score is not a number.
    """
    query_chunk_size = whole_number("query_chunk_size", query_chunk_size, 1)
    corpus_chunk_size = whole_number("corpus_chunk_size", corpus_chunk_size, 1)
    max_pairs = whole_number("max_pairs", max_pairs, 1)
    top_k = whole_number("top_k", top_k, 1)
    rows = as_rows(embeddings)  # (B, D)
    count = len(rows)
    pairs, scores = np.empty(0, np.int64), np.empty(0, np.float32)  # (P,) i * B + j, and how alike they are
    for start in range(0, count, query_chunk_size):
        queries = rows[start : start + query_chunk_size]
        best = Best(len(queries), top_k + 1)  # itself, too
        for corpus_start in range(0, count, corpus_chunk_size):
            corpus = rows[corpus_start : corpus_start + corpus_chunk_size]
            found = (score_function or cos_sim)(queries, corpus)
            shape = len(queries), len(corpus)
            best.add(0, corpus_start, checked_scores(found, shape, start, corpus_start))
        parts = [_others(start + i, best.ids[i], best.scores[i], top_k, count) for i in range(len(queries))]
        pairs = np.concatenate([pairs, *(part for part, _ in parts)])
        scores = np.concatenate([scores, *(part for _, part in parts)])
        pairs, first = np.unique(pairs, return_index=True)
        scores = scores[first]
        kept = np.argsort(-scores, kind="stable")[:max_pairs]
        pairs, scores = pairs[kept], scores[kept]
    places = zip(
        scores.tolist(), (pairs // max(1, count)).tolist(), (pairs % max(1, count)).tolist(), strict=True
    )
    return [[score, i, j] for score, i, j in places]


def _others(row: int, ids: Int64, scores: Float32, top_k: int, count: int) -> tuple[Int64, Float32]:
    """A row's pairs, as one number each, and their scores."""
    others = np.flatnonzero(ids != row)[:top_k]
    ids = ids[others]
    return np.minimum(ids, row) * count + np.maximum(ids, row), scores[others]


def community_detection(
    embeddings: npt.ArrayLike,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
) -> list[list[int]]:
    """Groups of rows (B, D) whose cosine to one of them, their centre, is at least ``threshold``.

    The largest group comes first, then the largest of the rows that are left, and so on; each has at least
    ``min_community_size`` rows, its centre first and then the others, nearest first. Rows that are in no
    group are in no list. Memory is bounded: the cosines of ``batch_size`` rows are held at a time.

    Raises InputError for anything but vectors, and where a cosine is not a number.
    """
    least = whole_number("min_community_size", min_community_size, 1)
    batch_size = whole_number("batch_size", batch_size, 1)
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold is a cosine, between -1 and 1, not {threshold!r}")
    rows = as_rows(embeddings)  # (B, D)

    def cosines(start: int, stop: int) -> Float32:
        """Of some rows with all: (stop - start, B)."""
        part = rows[start:stop]
        return checked_scores(cos_sim(part, rows), (len(part), len(rows)), start, 0)

    sizes = [
        (cosines(start, start + batch_size) >= threshold).sum(axis=1)
        for start in range(0, len(rows), batch_size)
    ]
    size = np.concatenate([np.empty(0, np.int64), *sizes])  # (B,)
    free = np.ones(len(rows), bool)
    communities = []
    for centre in np.argsort(-size, kind="stable").tolist():
        if size[centre] < least:
            break
        if not free[centre]:
            continue
        [scores] = cosines(centre, centre + 1)
        members = np.flatnonzero((scores >= threshold) & free)
        if len(members) < least:
            continue
        nearest = members[np.argsort(-scores[members], kind="stable")].tolist()
        free[members] = False
        communities.append([centre, *(row for row in nearest if row != centre)])
    return sorted(communities, key=len, reverse=True)
