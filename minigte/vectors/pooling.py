"""From one vector per token to one vector per text: pooling over each text's own tokens, and L2 norm.

The modes and their names are those of sentence-transformers' Pooling module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Float64, Int64
from minigte.errors import InputError


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


def _largest(hidden: Float64) -> Float64:
    """Of each component the value of the one token it comes from, the first that has the maximum."""
    return np.where(np.arange(len(hidden))[:, None] == hidden.argmax(axis=0), hidden, 0)


def _weighed(weigh: Callable[[Int64, int], npt.ArrayLike]) -> Callable[[Float64], Float64]:
    """The shares of a weighted sum; ``weigh`` says what the tokens at positions 1..T of T weigh."""

    def shares(hidden: Float64) -> Float64:
        count = len(hidden)
        weights = np.asarray(weigh(np.arange(1, count + 1), count))  # (T,), or () where all weigh the same
        return hidden * weights[..., None]

    return shares


@dataclass(frozen=True)
class PoolingMode:
    """One way to pool, in two forms: every text's vector, and what each token of one text gives to it."""

    vectors: Callable[[Float32, Int64], Float32]  # (N, D), (B + 1,) -> (B, D)
    shares: Callable[[Float64], Float64]  # (T, D) -> (T, D), rows that add up to the vector


POOLING_MODES = {
    "cls": PoolingMode(cls, _weighed(lambda position, count: position == 1)),
    "lasttoken": PoolingMode(lasttoken, _weighed(lambda position, count: position == count)),
    "max": PoolingMode(maximum, _largest),
    "mean": PoolingMode(mean, _weighed(lambda position, count: 1 / count)),
    "mean_sqrt_len_tokens": PoolingMode(mean_sqrt_len_tokens, _weighed(lambda position, count: count**-0.5)),
    "weightedmean": PoolingMode(weightedmean, _weighed(lambda position, count: position / position.sum())),
}


def pool(hidden: Float32, offsets: Int64, modes: tuple[str, ...]) -> Float32:
    """Pool each text by every mode, side by side: (N, D), (B + 1,) -> (B, D * len(modes)).

    Every text has at least one token: a text without any is refused when it is tokenized.
    """
    pooled = [POOLING_MODES[mode].vectors(hidden, offsets) for mode in modes]
    return pooled[0] if len(pooled) == 1 else np.concatenate(pooled, axis=1)


def without_prompt(hidden: Float32, offsets: Int64, length: int) -> tuple[Float32, Int64]:
    """Leave out the first ``length`` tokens of each text: (N, D), (B + 1,) -> (N - B length, D), (B + 1,).

    Raises InputError where that leaves nothing of a text.
    """
    lengths = np.diff(offsets)  # (B,)
    if not length:
        return hidden, offsets
    if len(lengths) and lengths.min() <= length:
        raise InputError(
            f"a text has {lengths.min()} tokens with its prompt, {length} of them the prompt's, which "
            "this model does not pool, so none are left: use a shorter prompt"
        )
    position = np.arange(len(hidden)) - np.repeat(offsets[:-1], lengths)  # (N,)
    return hidden[position >= length], offsets - length * np.arange(len(offsets))


def pooled_shares(hidden: Float64, modes: tuple[str, ...]) -> Float64:
    """What each token of one text gives to its pooled vector: (T, D) -> (T, D * len(modes))."""
    return np.concatenate([POOLING_MODES[mode].shares(hidden) for mode in modes], axis=1)


def normalize(vectors: Float32) -> Float32:
    """x / max(‖x‖₂, 1e-12) for every row: (B, D) -> (B, D), each of length 1."""
    length = np.sqrt(np.einsum("bd,bd->b", vectors, vectors))[:, None]  # (B, 1)
    return vectors / np.maximum(length, np.float32(1e-12))


def _lengths(offsets: Int64) -> Float32:
    """(B + 1,) -> (B, 1), float32 so that a quotient by it stays float32."""
    return np.diff(offsets).astype(np.float32)[:, None]
