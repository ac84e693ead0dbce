"""What stands behind pooling: sentence-transformers' modules Dense and Normalize, in the model's order.

A head is a tuple of modules. Each turns the texts' vectors (B, D) into others, (B, E).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minigte.arrays import Float32, Float64
from minigte.errors import UnsupportedError
from minigte.vectors.pooling import normalize

Observe = Callable[[str, Float32], object]


def _ignore(name: str, array: Float32) -> None:
    """The observer of vectors that nobody watches."""


@dataclass(frozen=True)
class Normalize:
    """Every vector scaled to length 1."""

    def apply(self, vectors: Float32, observe: Observe = _ignore) -> Float32:
        """(B, D) -> (B, D)."""
        vectors = normalize(vectors)
        observe("normalized", vectors)
        return vectors

    def shares(self, parts: Float64) -> Float64:
        """The same of one vector that is given as the sum of ``parts``: (T, D) -> (T, D)."""
        return parts / max(float(np.linalg.norm(parts.sum(axis=0))), 1e-12)


@dataclass(frozen=True)
class DenseConfig:
    """One Dense module without its arrays; the fields have the names of its ``config.json``."""

    path: str  # its folder, below the model's
    in_features: int  # D
    out_features: int  # E
    bias: bool = True
    activation_function: str = "Tanh"  # a key of ACTIVATION_FUNCTIONS


@dataclass(frozen=True)
class Dense:
    """y = activation(x Wᵀ + b) of every vector x."""

    config: DenseConfig
    weight: Float32  # (E, D)
    bias: Float32  # (E,), all zeros where there is none

    def apply(self, vectors: Float32, observe: Observe = _ignore) -> Float32:
        """(B, D) -> (B, E). One vector at a time, so that no vector's sums depend on the others."""
        y = np.empty((len(vectors), len(self.weight)), np.float32)
        for row, vector in zip(y, vectors, strict=True):
            row[:] = np.einsum("ed,d->e", self.weight, np.ascontiguousarray(vector)) + self.bias
        observe("linear", y)
        y = activated(self.config.activation_function, y)
        observe("activation_function", y)
        return y

    def shares(self, parts: Float64) -> Float64:
        """Of one vector that is given as the sum of ``parts``: (T, D) -> (T, E).

        Raises UnsupportedError where the result is not a sum over parts.
        """
        if self.config.activation_function != "Identity" or self.config.bias:
            has = "a bias" if self.config.bias else f"the activation {self.config.activation_function}"
            raise UnsupportedError(
                f"{self.config.path} of this model has {has}, so its result is not a sum over tokens: "
                "look at the stages by their names"
            )
        return parts @ self.weight.T.astype(np.float64)


Head = tuple[Dense | Normalize, ...]


def apply_head(head: Head, vectors: Float32, observe: Observe = _ignore) -> Float32:
    """The texts' vectors of what is pooled: (B, D) -> (B, E).

    The last norm is observed as "normalized"; what comes before it under "dense.0.", "dense.1." and so on, a
    norm in front of the Dense that reads it.
    """
    dense = 0
    for i, module in enumerate(head):
        last = i + 1 == len(head)
        vectors = module.apply(
            vectors, observe if last and isinstance(module, Normalize) else _below(dense, observe)
        )
        dense += isinstance(module, Dense)
    return vectors


def _below(dense: int, observe: Observe) -> Observe:
    return lambda name, array: observe(f"dense.{dense}.{name}", array)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: Float64) -> Float64:
    return x * (1 + _erf(x * math.sqrt(0.5))) / 2


def _sigmoid(x: Float64) -> Float64:
    return np.exp(-np.logaddexp(0, -x))


def _elu(x: Float64) -> Float64:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _softplus(x: Float64) -> Float64:
    return np.where(x > 20, x, np.logaddexp(0, x))


def _log_softmax(x: Float64) -> Float64:
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017

# By the names of torch.nn's classes, which Dense makes without arguments.
ACTIVATION_FUNCTIONS: dict[str, Callable[[Float64], Float64]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": _gelu,
    "SiLU": lambda x: x * _sigmoid(x),
    "Sigmoid": _sigmoid,
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "RReLU": lambda x: np.where(
        x > 0, x, (1 / 8 + 1 / 3) / 2 * x
    ),  # the mean slope, which it has after training
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "ELU": _elu,
    "CELU": _elu,
    "SELU": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "Hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "Tanhshrink": lambda x: x - np.tanh(x),
    "Hardtanh": lambda x: np.clip(x, -1, 1),
    "Hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "Hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "LogSigmoid": lambda x: -np.logaddexp(0, -x),
    "Softmax": lambda x: np.exp(_log_softmax(x)),
    "Softmin": lambda x: np.exp(_log_softmax(-x)),
    "LogSoftmax": _log_softmax,
}


def activated(name: str, x: Float32) -> Float32:
    """One of ACTIVATION_FUNCTIONS of (B, E) numbers, rounded to float32 once."""
    return ACTIVATION_FUNCTIONS[name](x.astype(np.float64)).astype(np.float32)
