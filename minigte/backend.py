"""Which code runs the forward pass: the Numba engine, or the NumPy reference where Numba is missing.

This is the one door to ``minigte.engine``, and it is imported only when it is used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from minigte.arguments import one_of, whole_number
from minigte.arrays import Float32
from minigte.engine.formats import BYTES
from minigte.errors import InputError, MissingDependencyError
from minigte.loading.config import ModelConfig
from minigte.models import ARCHITECTURES, bert
from minigte.models.batch import Batch
from minigte.reference import FORWARD

BACKENDS = ("auto", "numpy", "numba")
DTYPES = tuple(BYTES)


class Backend(Protocol):
    """A loaded model that turns packed batches into hidden states; safe to call from several threads."""

    @property
    def dtype(self) -> str:
        """What the matrix products are computed in."""

    @property
    def threads(self) -> int | None:
        """How many threads share the work; None where NumPy's BLAS decides."""

    @property
    def instructions(self) -> str:
        """What multiplies the matrices, in words."""

    def last_hidden_states(
        self, batches: Iterable[Batch], *, alone: bool = False
    ) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its last hidden state, (N, D) float32.

        ``alone``: in the calling thread alone, where the backend has threads of its own.
        """


class NumPyBackend:
    """The reference, as an engine: float32, matrix products by NumPy's BLAS."""

    dtype = "float32"
    threads = None
    instructions = "NumPy's BLAS"

    def __init__(self, config: ModelConfig, weights: bert.Weights) -> None:
        """Keep the weights as they are."""
        self._forward = FORWARD[config.model_type]
        self._config = config.encoder
        self._weights = weights

    def last_hidden_states(
        self, batches: Iterable[Batch], *, alone: bool = False
    ) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its last hidden state, (N, D) float32; BLAS has its threads in any case."""
        for batch in batches:
            with np.errstate(all="ignore"):  # the Embedder looks for infinities and NaN in the end
                hidden = self._forward(self._config, self._weights, batch.input_ids, batch.offsets)
            yield batch, hidden


def choose_backend(backend: str, dtype: str, threads: int | None = None) -> str:
    """The backend that will run, "numpy" or "numba": "auto" is Numba where it works, else NumPy.

    Raises InputError for an unknown name and for a dtype the backend does not compute in, and
    MissingDependencyError where Numba is asked for, by name or by dtype, and does not work.
    """
    one_of("backend", backend, BACKENDS)
    one_of("dtype", dtype, DTYPES)
    if threads is not None:
        whole_number("threads", threads, 1)
    if backend == "numpy":
        if dtype != "float32":
            raise InputError(f"the numpy backend computes in float32 alone: for {dtype} use backend='numba'")
        return "numpy"
    missing = numba_missing()
    if missing is None:
        return "numba"
    if backend == "numba" or dtype != "float32":
        raise MissingDependencyError(f"backend 'numba' with dtype {dtype!r} needs Numba, but {missing}")
    return "numpy"


def numba_missing() -> str | None:
    """Why Numba cannot be used here, or None."""
    if _in_sub_interpreter():
        return (
            "it hangs in a sub-interpreter (mod_wsgi: set WSGIApplicationGroup %{GLOBAL} to use the main one)"
        )
    try:
        import numba
    except (ImportError, OSError) as error:  # not installed, not for this NumPy, its library is refused
        return f"it cannot be imported ({error})"
    return "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else None


def _in_sub_interpreter() -> bool:
    """Whether this is not the process's main interpreter."""
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:  # a Python that has none
        return False
    return bool(interpreters.get_current() != interpreters.get_main())


def memory_needed(backend: str, config: ModelConfig, dtype: str) -> int:
    """Bytes of a model's arrays while it is loaded: all in float32, and an engine's packed copies."""
    architecture, encoder = ARCHITECTURES[config.model_type], config.encoder

    def count(parameters: Iterable[bert.Parameter]) -> int:
        return sum(math.prod(getattr(encoder, axis) for axis in row.shape) for row in parameters)

    linear = (row for row in architecture.LAYER_PARAMETERS if len(row.shape) == 2)
    packed = 0 if backend == "numpy" else BYTES[dtype] * count(linear)
    layer = 4 * count(architecture.LAYER_PARAMETERS) + packed
    return 4 * count(architecture.EMBEDDING_PARAMETERS) + encoder.num_hidden_layers * layer


def load_backend(
    backend: str, config: ModelConfig, weights: bert.Weights, *, dtype: str, threads: int | None = None
) -> Backend:
    """Build a backend that ``choose_backend`` has named; ``threads`` is for "numba" alone."""
    if backend == "numpy":
        return NumPyBackend(config, weights)
    from minigte.engine.scheduler import Engine

    return Engine(config.encoder, weights, dtype=dtype, threads=threads)
