"""Answers to page 5."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Step = Callable[[Float32], Float32]


def layer_norm(x: Float32, weight: Float32, bias: Float32, eps: float) -> Float32:
    """NumPy's var divides by D, as it should."""
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def encoder_layer(
    x: Float32, attention: Step, feed_forward: Step, attention_norm: Step, output_norm: Step
) -> Float32:
    """Add, norm, add, norm."""
    x = attention_norm(x + attention(x))
    return output_norm(x + feed_forward(x))


def undo(y: Float32, weight: Float32, bias: Float32, mean: Float32, deviation: Float32) -> Float32:
    """The last step first."""
    return (y - bias) / weight * deviation[:, None] + mean[:, None]


def rows_become_one(x: Float32) -> float:
    """All cosines, less those of the rows with themselves."""
    directions = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = directions @ directions.T
    return float((cosines.sum() - len(x)) / (len(x) * (len(x) - 1)))
