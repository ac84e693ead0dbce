"""What the answers to page 4 must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from expect import WrongError, model, same

from minigte.reference import ops

Answer = Callable[..., Any]
RNG = np.random.default_rng(4)


def gelu(answer: Answer) -> None:
    """Near enough to tell it from its tanh approximation."""
    for x in (-6.0, -3.0, -0.75, 0.0, 0.5, 1.0, 3.0, 9.0):
        same(answer(x), float(ops.gelu(np.array([x], np.float32))[0]), tolerance=1e-6)


def feed_forward(answer: Answer) -> None:
    """With two activations, and with gte-small's first layer."""
    x, w1, b1, w2, b2 = (_random(*shape) for shape in ((3, 4), (6, 4), (6,), (4, 6), (4,)))
    for act in (ops.gelu, ops.relu):
        same(answer(x, w1, b1, w2, b2, act), ops.linear(act(ops.linear(x, w1, b1)), w2, b2))
    embedder, weights = model()
    stages, layer = embedder.explain("Beijing").layers[0], weights.layers[0]
    got = answer(
        stages.attention.output.LayerNorm,
        layer.intermediate_weight,
        layer.intermediate_bias,
        layer.output_weight,
        layer.output_bias,
        ops.gelu,
    )
    same(got, stages.output.dense, tolerance=1e-4)


def merge(answer: Answer) -> None:
    """One layer gives what two give."""
    x, w1, b1, w2, b2 = (_random(*shape) for shape in ((3, 4), (6, 4), (6,), (4, 6), (4,)))
    weight, bias = answer(w1, b1, w2, b2)
    same(np.shape(weight), (4, 4))
    same(np.shape(bias), (4,))
    same(ops.linear(x, weight, bias), ops.linear(ops.linear(x, w1, b1), w2, b2), tolerance=1e-4)


def lowest_point(answer: Answer) -> None:
    """Its neighbours on either side, a hundredth away, are higher."""
    x = np.float32(answer())
    before, here, after = ops.gelu(np.array([x - 0.01, x, x + 0.01], np.float32))
    if not (here < before and here < after) or abs(x * 100 - round(float(x * 100))) > 1e-3:
        raise WrongError(f"{x} is not it")


def _random(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)
