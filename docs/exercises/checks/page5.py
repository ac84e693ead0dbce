"""What the answers to page 5 must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from expect import same

from minigte.reference import ops

Answer = Callable[..., Any]
RNG = np.random.default_rng(5)


def layer_norm(answer: Answer) -> None:
    """Short rows, where dividing by D - 1 would show, a large eps, and equal numbers."""
    for shape, eps in (((3, 4), 1e-12), ((2, 384), 1e-5), ((3, 4), 2.0)):
        x, weight, bias = 5 + _random(*shape), _random(shape[1]), _random(shape[1])
        same(answer(x.copy(), weight, bias, eps), ops.layer_norm(x, weight, bias, eps), tolerance=1e-4)
    same(answer(np.ones((1, 4), np.float32), weight, bias, 1e-12), bias[None])


def encoder_layer(answer: Answer) -> None:
    """Four steps that do not commute."""
    x = _random(3, 4)
    steps = np.sin, np.exp, np.tanh, np.cos
    want = np.cos(np.tanh(x + np.sin(x)) + np.exp(np.tanh(x + np.sin(x))))
    same(answer(x.copy(), *steps), want)


def undo(answer: Answer) -> None:
    """There and back."""
    x, weight, bias = 3 + _random(5, 8), 1 + abs(_random(8)), _random(8)
    y = ops.layer_norm(x, weight, bias, 0.0)
    same(answer(y, weight, bias, x.mean(axis=1), x.std(axis=1)), x, tolerance=1e-4)


def rows_become_one(answer: Answer) -> None:
    """Rows of one direction, rows at right angles, and others."""
    same(answer(np.array([[1, 2], [2, 4], [0.5, 1]], np.float32)), 1)
    same(answer(2 * np.eye(4, dtype=np.float32)), 0)
    same(answer(np.array([[1, 0], [0, 3], [1, 1]], np.float32)), np.sqrt(2) / 3)


def _random(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)
