"""Which code runs the forward pass: the Numba engine, or the NumPy reference where Numba is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from minigte.batching import Batch
from minigte.config import Config
from minigte.errors import InputError
from minigte.models import bert

Float32 = npt.NDArray[np.float32]

BACKENDS = ("auto", "numpy")
DTYPES = ("float32",)


class Backend(Protocol):
    """A loaded model that turns packed batches into hidden states; safe to call from several threads."""

    name: str  # "numpy"
    dtype: str  # what the matrix products are computed in

    def last_hidden_states(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its last hidden state, (N, D) float32."""


class NumPyBackend:
    """The reference, as an engine: float32, matrix products by NumPy's BLAS."""

    name = "numpy"
    dtype = "float32"

    def __init__(self, config: Config, weights: bert.Weights) -> None:
        """Keep the weights as they are."""
        self._forward = importlib.import_module(f"minigte.reference.{config.model_type}").forward
        self._config = config.encoder
        self._weights = weights

    def last_hidden_states(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its last hidden state, (N, D) float32."""
        for batch in batches:
            yield batch, self._forward(self._config, self._weights, batch.input_ids, batch.offsets)


def load_backend(config: Config, weights: bert.Weights, *, backend: str, dtype: str) -> Backend:
    """Build the backend that was asked for; "auto" takes the fastest that is there."""
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r} (known: {', '.join(BACKENDS)})")
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r} (known: {', '.join(DTYPES)})")
    return NumPyBackend(config, weights)
