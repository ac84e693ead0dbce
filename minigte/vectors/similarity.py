"""How alike two vectors are, and the best matches of a query among many vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.errors import InputError
from minigte.vectors.pooling import normalize


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
