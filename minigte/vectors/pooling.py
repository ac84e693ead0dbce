"""From one vector per token to one vector per text: pooling over each text's own tokens, and L2 norm.

The modes and their names are those of sentence-transformers' Pooling module.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigte.arrays import Float32, Int64


def cls(hidden: Float32, offsets: Int64) -> Float32:
    """The first token's vector, [CLS]: (N, D), (B + 1,) -> (B, D)."""
    return hidden[offsets[:-1]]


def lasttoken(hidden: Float32, offsets: Int64) -> Float32:
    """The last token's vector: (N, D), (B + 1,) -> (B, D)."""
    return hidden[offsets[1:] - 1]


def mean(hidden: Float32, offsets: Int64) -> Float32:
    """The mean over a text's tokens: (N, D), (B + 1,) -> (B, D)."""
    total: Float32 = np.add.reduceat(hidden, offsets[:-1], axis=0)  # (B, D)
    return total / _lengths(offsets)


def mean_sqrt_len_tokens(hidden: Float32, offsets: Int64) -> Float32:
    """The sum over a text's T tokens divided by sqrt(T): (N, D), (B + 1,) -> (B, D)."""
    total: Float32 = np.add.reduceat(hidden, offsets[:-1], axis=0)  # (B, D)
    root: Float32 = np.sqrt(_lengths(offsets))  # (B, 1)
    return total / root


def weightedmean(hidden: Float32, offsets: Int64) -> Float32:
    """The mean in which token t = 1..T weighs t (Muennighoff 2022, SGPT): (N, D), (B + 1,) -> (B, D)."""
    lengths = np.diff(offsets)
    position = np.arange(1, len(hidden) + 1) - np.repeat(offsets[:-1], lengths)  # (N,)
    weight = position.astype(np.float32)[:, None]  # (N, 1)
    total: Float32 = np.add.reduceat(hidden * weight, offsets[:-1], axis=0)  # (B, D)
    weights: Float32 = np.add.reduceat(weight, offsets[:-1], axis=0)  # (B, 1)
    return total / weights


def maximum(hidden: Float32, offsets: Int64) -> Float32:
    """The largest value of each component over a text's tokens: (N, D), (B + 1,) -> (B, D)."""
    return np.maximum.reduceat(hidden, offsets[:-1], axis=0)


POOLING_MODES: dict[str, Callable[[Float32, Int64], Float32]] = {
    "cls": cls,
    "lasttoken": lasttoken,
    "max": maximum,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_sqrt_len_tokens,
    "weightedmean": weightedmean,
}


def pool(hidden: Float32, offsets: Int64, modes: tuple[str, ...]) -> Float32:
    """Pool each text by every mode, side by side: (N, D), (B + 1,) -> (B, D * len(modes)).

    Every text has at least one token: tokenizers without special tokens are refused when loaded.
    """
    pooled = [POOLING_MODES[mode](hidden, offsets) for mode in modes]
    return pooled[0] if len(pooled) == 1 else np.concatenate(pooled, axis=1)


def normalize(vectors: Float32) -> Float32:
    """x / max(‖x‖₂, 1e-12) for every row: (B, D) -> (B, D), each of length 1."""
    length = np.sqrt(np.einsum("bd,bd->b", vectors, vectors))[:, None]  # (B, 1)
    return vectors / np.maximum(length, np.float32(1e-12))


def _lengths(offsets: Int64) -> Float32:
    """(B + 1,) -> (B, 1), float32 so that a quotient by it stays float32."""
    return np.diff(offsets).astype(np.float32)[:, None]
