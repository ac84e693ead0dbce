"""Answers to page 6."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minigte import Embedder

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def mean_pool(hidden: Float32, offsets: Ids) -> Float32:
    """Cut between the texts, and take each part's mean."""
    return np.stack([text.mean(axis=0) for text in np.split(hidden, offsets[1:-1])])


def cosine(a: Float32, b: Float32) -> float:
    """The product over the lengths."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def pairs(a: Float32, b: Float32) -> Float32:
    """Each pair's product over what the sum is divided by."""
    lengths = np.linalg.norm(a.mean(axis=0)) * np.linalg.norm(b.mean(axis=0))
    return a @ b.T / (len(a) * len(b) * lengths)


def best_match(embedder: Embedder, question: str, texts: list[str]) -> int:
    """The vectors have length 1, so the product is the cosine."""
    return int((embedder.encode(texts) @ embedder.encode(question)).argmax())
