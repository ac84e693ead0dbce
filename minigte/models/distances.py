"""What architectures make of how far two tokens stand apart, and of where a token stands."""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids


def bucket(distances: Ids, num_buckets: int, max_distance: int) -> Ids:
    """The bucket of each distance j - i: half of the buckets for what comes before, half for what follows.

    Of each half the first half is one distance each; in the others the distances grow in proportion, up to
    ``max_distance`` and beyond. Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", section 2.1; the formula is that of its code.
    """
    half = num_buckets // 2
    exact = half // 2
    far = np.abs(distances)  # and near:
    ratio = np.maximum(far, 1).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    logarithmic = np.minimum(exact + steps.astype(np.int64), half - 1)
    return np.where(distances > 0, half, 0) + np.where(far < exact, far, logarithmic)


def slopes(num_heads: int) -> tuple[float, ...]:
    """What each head adds to a score for every step that a token stands further behind: ALiBi's slopes.

    For H = 2ⁿ heads 2^(-8/H), 2^(-16/H), ..., 2^(-8); for another H those of the next smaller 2ⁿ, then every
    second one of the next larger. Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation", section 3; rounded to float32 where PyTorch rounds.
    """
    below = 1 << (num_heads.bit_length() - 1)
    powers = [(below, k) for k in range(1, below + 1)] + [(2 * below, k) for k in range(1, 2 * below, 2)]
    return tuple(
        float(np.float32(float(np.float32(2 ** (-8 / heads))) ** k)) for heads, k in powers[:num_heads]
    )


def inverse_frequencies(base: float, size: int) -> Float32:
    """How far each of ``size`` / 2 pairs turns from one token to the next, in radians: (size / 2,).

    Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", equation 15. Rounded to
    float32 where PyTorch rounds: at a text's 8,000th token a last bit here is 5e-4 of an angle there.
    """
    exponents = np.arange(0, size, 2).astype(np.float32) / np.float32(size)
    return np.float32(1) / np.power(base, exponents.astype(np.float64)).astype(np.float32)
