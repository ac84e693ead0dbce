"""Page 5, Residuals and LayerNorm. Put your answers in place of the lines that raise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Step = Callable[[Float32], Float32]


def layer_norm(x: Float32, weight: Float32, bias: Float32, eps: float) -> Float32:
    """LayerNorm of every row: (T, D), (D,), (D,) -> (T, D)."""
    raise NotImplementedError


def encoder_layer(
    x: Float32, attention: Step, feed_forward: Step, attention_norm: Step, output_norm: Step
) -> Float32:
    """A whole layer from its four steps, each a function (T, D) -> (T, D)."""
    raise NotImplementedError


def undo(y: Float32, weight: Float32, bias: Float32, mean: Float32, deviation: Float32) -> Float32:
    """x from y = LayerNorm(x): y (T, D), weight and bias (D,), x's mean and deviation (T,); eps is 0."""
    raise NotImplementedError


def rows_become_one(x: Float32) -> float:
    """The mean cosine of all pairs of different rows: (T, D) -> a number, 1 where all point the same way."""
    raise NotImplementedError
