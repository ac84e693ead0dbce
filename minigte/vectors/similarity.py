"""How alike two vectors are, for every pair of rows or for each row and its counterpart.

The names are those of sentence-transformers. Sums are made in float64 and rounded once, so that two equal
vectors get equal scores, whatever else is compared in the same call.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float64, Matrix, Vector
from minigte.errors import InputError


def cos_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Matrix:
    """a · b / (‖a‖ ‖b‖) for every pair: (A, D), (B, D) -> (A, B)."""
    x, y = comparable(a, b)
    return _rounded(x @ y.T / (_lengths(x)[:, None] * _lengths(y)))


def pairwise_cos_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Vector:
    """a · b / (‖a‖ ‖b‖) of each row with its counterpart: (B, D), (B, D) -> (B,)."""
    x, y = counterparts(a, b)
    return _rounded(np.einsum("bd,bd->b", x, y) / (_lengths(x) * _lengths(y)))


def dot_score(a: npt.ArrayLike, b: npt.ArrayLike) -> Matrix:
    """a · b for every pair: (A, D), (B, D) -> (A, B)."""
    x, y = comparable(a, b)
    return _rounded(x @ y.T)


def pairwise_dot_score(a: npt.ArrayLike, b: npt.ArrayLike) -> Vector:
    """a · b of each row with its counterpart: (B, D), (B, D) -> (B,)."""
    x, y = counterparts(a, b)
    return _rounded(np.einsum("bd,bd->b", x, y))


def euclidean_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Matrix:
    """-‖a - b‖₂ for every pair, so that larger is more alike: (A, D), (B, D) -> (A, B)."""
    x, y = comparable(a, b)
    return _by_rows(lambda row: np.sqrt(np.square(row - y).sum(axis=1)), x, y)


def pairwise_euclidean_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Vector:
    """-‖a - b‖₂ of each row and its counterpart: (B, D), (B, D) -> (B,)."""
    x, y = counterparts(a, b)
    return _rounded(-np.sqrt(np.square(x - y).sum(axis=1)))


def manhattan_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Matrix:
    """-‖a - b‖₁ for every pair: (A, D), (B, D) -> (A, B)."""
    x, y = comparable(a, b)
    return _by_rows(lambda row: np.abs(row - y).sum(axis=1), x, y)


def pairwise_manhattan_sim(a: npt.ArrayLike, b: npt.ArrayLike) -> Vector:
    """-‖a - b‖₁ of each row and its counterpart: (B, D), (B, D) -> (B,)."""
    x, y = counterparts(a, b)
    return _rounded(-np.abs(x - y).sum(axis=1))


class SimilarityFunction(Enum):
    """The names of the similarities, as programs for sentence-transformers spell them."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @staticmethod
    def possible_values() -> list[str]:
        """All names."""
        return [function.value for function in SimilarityFunction]

    @staticmethod
    def to_similarity_fn(similarity_function: object) -> Callable[[npt.ArrayLike, npt.ArrayLike], Matrix]:
        """The function of this name, or member, for every pair. Raises InputError."""
        return SIMILARITY_FUNCTIONS[similarity_name(similarity_function)].matrix

    @staticmethod
    def to_similarity_pairwise_fn(
        similarity_function: object,
    ) -> Callable[[npt.ArrayLike, npt.ArrayLike], Vector]:
        """The function of this name, or member, for each row and its counterpart. Raises InputError."""
        return SIMILARITY_FUNCTIONS[similarity_name(similarity_function)].pairwise


@dataclass(frozen=True)
class Similarity:
    """One similarity in its two forms; larger is always more alike."""

    matrix: Callable[[npt.ArrayLike, npt.ArrayLike], Matrix]  # (A, D), (B, D) -> (A, B)
    pairwise: Callable[[npt.ArrayLike, npt.ArrayLike], Vector]  # (B, D), (B, D) -> (B,)


SIMILARITY_FUNCTIONS = {
    "cosine": Similarity(cos_sim, pairwise_cos_sim),
    "dot": Similarity(dot_score, pairwise_dot_score),
    "euclidean": Similarity(euclidean_sim, pairwise_euclidean_sim),
    "manhattan": Similarity(manhattan_sim, pairwise_manhattan_sim),
}


def similarity_name(name: object) -> str:
    """A key of SIMILARITY_FUNCTIONS, also from a member of an Enum, ours or sentence-transformers'.

    Raises InputError for a name that none has.
    """
    if isinstance(name, Enum):
        name = name.value
    if not isinstance(name, str) or name not in SIMILARITY_FUNCTIONS:
        raise InputError(f"unknown similarity_fn_name {name!r} (known: {', '.join(SIMILARITY_FUNCTIONS)})")
    return name


def as_rows(embeddings: npt.ArrayLike) -> Float64:
    """Vectors as a matrix in float64: (B, D) or (D,) -> (B, D). Raises InputError for anything else."""
    if isinstance(embeddings, np.ma.MaskedArray):
        raise InputError("these vectors are a masked array, which may have gaps: fill them first")
    try:
        array = np.asarray(embeddings)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype == object and all(isinstance(x, numbers.Real) for x in array.flat):
        array = array.astype(np.float64)
    if array.dtype.kind not in "fiub":
        kind = type(embeddings).__name__
        raise InputError(f"similarity takes vectors, not texts or objects ({kind}): encode texts first")
    if array.ndim not in (1, 2):
        raise InputError(f"similarity takes (B, D) vectors, not an array of shape {array.shape}")
    rows = array.astype(np.float64, copy=False)
    if rows.ndim == 1:
        return rows[None] if len(rows) else rows.reshape(0, 0)
    return rows


def comparable(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Both ``as_rows``. Raises InputError where their vectors differ in length."""
    x, y = as_rows(a), as_rows(b)
    if x.shape[1] != y.shape[1] and len(x) and len(y):
        raise InputError(
            f"vectors of {x.shape[1]} and of {y.shape[1]} components cannot be compared: "
            "encode both with the same model and truncate_dim"
        )
    dim = x.shape[1] if len(x) else y.shape[1]
    return x.reshape(len(x), dim), y.reshape(len(y), dim)  # of no vectors the length is any


def counterparts(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Both ``as_rows``. Raises InputError where their shapes differ."""
    x, y = as_rows(a), as_rows(b)
    if x.shape != y.shape:
        raise InputError(f"row by row, similarity needs equal shapes, not {x.shape} and {y.shape}")
    return x, y


def _lengths(rows: Float64) -> Float64:
    """max(‖x‖₂, 1e-12) of each row: (B, D) -> (B,)."""
    return np.maximum(np.sqrt(np.einsum("bd,bd->b", rows, rows)), 1e-12)


def _by_rows(distances: Callable[[Float64], Float64], x: Float64, y: Float64) -> Matrix:
    """Less the distances of each row of x from all of y, one row of x at a time: -> (A, B)."""
    scores = np.empty((len(x), len(y)), np.float32)
    for i, row in enumerate(x):
        scores[i] = _rounded(-distances(row))
    return scores


def _rounded(scores: Float64) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        return scores.astype(np.float32)
