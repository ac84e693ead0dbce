"""Which code runs the forward pass: built kernels, the same kernels compiled here by Numba, or NumPy.

This is the one door to ``minigte.engine``, and it is imported only when it is used.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from minigte.arrays import Float32
from minigte.calls.arguments import one_of, whole_number
from minigte.engine.formats import DTYPES as DTYPES
from minigte.errors import InputError, MissingDependencyError, OutputError
from minigte.loading.config import ModelConfig
from minigte.loading.packed_folders import PackedFolders
from minigte.loading.sources import Source, model_directory
from minigte.loading.weights import load_weights, stored_weights, weights_like
from minigte.models.batch import Batch
from minigte.models.weights import FLOAT32, StoredAs, Weights
from minigte.runtime.replacing import replacing
from minigte.runtime.resources import require_memory

if TYPE_CHECKING:
    from minigte.engine.kernels import Kernels
    from minigte.engine.packed_file import Packed, Plan
    from minigte.engine.web import WebModel

BACKENDS = ("auto", "built", "jit", "numpy")

logger = logging.getLogger(__name__)


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

    @property
    def weights_are(self) -> str:
        """Where the weights are, in words."""

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
    weights_are = "in memory, as they are"

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        """Keep the weights as they are."""
        from minigte.reference import TEXTBOOKS

        self._forward = TEXTBOOKS[config.architecture.name].forward
        self._config = config.encoder
        self._weights = weights

    def last_hidden_states(
        self, batches: Iterable[Batch], *, alone: bool = False
    ) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its last hidden state, (N, D) float32; BLAS has its threads in any case."""
        for batch in batches:
            with np.errstate(all="ignore"):  # the Embedder looks for infinities and NaN in the end
                types = {} if batch.token_type_ids is None else {"token_type_ids": batch.token_type_ids}
                hidden = self._forward(self._config, self._weights, batch.input_ids, batch.offsets, **types)
            yield batch, hidden


def choose_backend(backend: str, dtype: str, threads: int | None = None) -> str:
    """The backend that will run: "auto" is the first of "built", "jit" and "numpy" that works here.

    Raises InputError for an unknown name and for a dtype the backend does not compute in, and
    MissingDependencyError where what is asked for, by name or by dtype, does not work.
    """
    one_of("backend", backend, BACKENDS)
    one_of("dtype", dtype, DTYPES)
    if threads is not None:
        whole_number("threads", threads, 1)
    if backend == "numpy":
        if dtype != "float32":
            raise InputError(f"the numpy backend computes in float32 only: for {dtype} use backend='auto'")
        return "numpy"
    missing = {"built": built_missing, "jit": jit_missing}
    reasons = {}
    for name in ("built", "jit") if backend == "auto" else (backend,):
        reason = missing[name]()
        if reason is None:
            return name
        reasons[name] = reason
    if backend != "auto" or dtype != "float32":
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise MissingDependencyError(f"backend {backend!r} with dtype {dtype!r} does not work here ({why})")
    return "numpy"


def built_missing() -> str | None:
    """Why built kernels cannot be used here, or None. Raises InputError for a MINIGTE_CPU that cannot be."""
    from minigte.engine.library import built

    try:
        built()
    except MissingDependencyError as error:
        return str(error)
    return None


def jit_missing() -> str | None:
    """Why kernels cannot be compiled here, or None."""
    if _in_sub_interpreter():
        return (
            "Numba hangs in a sub-interpreter "
            "(mod_wsgi: set WSGIApplicationGroup %{GLOBAL} to use the main one)"
        )
    try:
        import numba
    except (ImportError, OSError) as error:  # not installed, not for this NumPy, its library is refused
        return f"Numba cannot be imported ({error})"
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


def offers() -> dict[str, str]:
    """What the backends "built" and "jit" have to offer here, or why they do not work, in words."""
    from minigte.engine.kernels import JustInTime
    from minigte.engine.library import describe

    jit = jit_missing()
    if jit is None:
        prepared = filter(JustInTime().is_prepared, DTYPES)
        jit = f"Numba, kernels compiled for this processor: {', '.join(prepared) or 'none yet'}"
    try:
        return {"built": describe(), "jit": jit}
    except (InputError, MissingDependencyError) as error:
        return {"built": str(error), "jit": jit}


def require_memory_for(
    model: str, backend: str, config: ModelConfig, dtype: str, stored_as: StoredAs
) -> None:
    """Raise OutOfMemoryError where this process may not use as much memory as a model in memory needs."""
    smaller = "use a smaller model" if dtype == "int8" else "use dtype='int8' or a smaller model"
    require_memory(memory_needed(backend, config, dtype, stored_as), f"{model} in {dtype}", smaller)


def memory_needed(backend: str, config: ModelConfig, dtype: str, stored_as: StoredAs) -> int:
    """Bytes of a model's arrays while it is loaded: all of them, and the largest in float32 beside."""
    counted = config.architecture.counted(config.encoder)
    arrays = [(4 * math.prod(tensor.shape), count) for tensor, count in counted]
    largest = max(size for size, _ in arrays)
    if backend == "numpy":
        return sum(size * count for size, count in arrays) + largest
    from minigte.engine.packed_file import Plan

    plan = Plan(config.spec, weights_like(config, stored_as), dtype, kernels(backend).level, {})
    return plan.size + largest


def load_backend(
    backend: str,
    config: ModelConfig,
    weights: Weights,
    *,
    dtype: str,
    threads: int | None = None,
    packed: Packed | None = None,
) -> Backend:
    """Build a backend that ``choose_backend`` has named.

    ``threads`` and ``packed``, what ``load_packed`` gave, are for compiled ones alone.
    """
    if backend == "numpy":
        return NumPyBackend(config, weights)
    from minigte.engine.scheduler import Engine

    return Engine(
        config.spec,
        weights,
        kernels(backend),
        dtype=dtype,
        threads=threads,
        packed=packed,
    )


def load_model(
    backend: str,
    source: Source,
    config: ModelConfig,
    *,
    dtype: str,
    threads: int | None,
    cache_folder: str | os.PathLike[str] | None,
) -> tuple[Backend, Weights | None]:
    """A backend that ``choose_backend`` has named, with the weights of a model's folder.

    They are mapped where they are packed, or can be; those that NumPy computes with are given too.
    """
    if backend == "numpy":
        require_memory_for(source.name, backend, config, dtype, FLOAT32)
        weights = load_weights(source.folder, config)
        return load_backend(backend, config, weights, dtype=dtype, threads=threads), weights
    weights = stored_weights(source.folder, config)
    folders = PackedFolders(source.folder, config, model_directory(cache_folder))
    packed = load_packed(backend, config, weights, dtype, folders)
    if packed.model is None:
        require_memory_for(source.name, backend, config, dtype, weights.stored_as)
    engine = load_backend(backend, config, weights, dtype=dtype, threads=threads, packed=packed)
    return engine, None


def load_packed(
    backend: str, config: ModelConfig, weights: Weights, dtype: str, folders: PackedFolders
) -> Packed:
    """The weights as a file has them, which is written to the cache where there is none yet.

    Where no file can be had, they are to be packed in memory, and what is given says why.
    """
    from minigte.engine.packed_file import Packed, UnusableError

    reasons = []
    try:
        plan = _plan(backend, config, weights, dtype, folders)
        for path in folders.candidates(plan.name):
            try:
                return plan.map(path)
            except UnusableError as error:
                reasons.append(f"{path} {error}")
        path = folders.make_room(plan.name, plan.size)
        with folders.alone():
            if path.exists():  # another process has packed meanwhile, or it was damaged all along
                with contextlib.suppress(UnusableError):
                    return plan.map(path)
            # After a power cut it may be damaged, which whoever maps it finds out.
            with replacing(path, durable=False) as file:
                plan.write(file, weights)
        return plan.map(path)
    except (InputError, OutputError, OSError, UnusableError) as error:
        reasons.append(str(error))
    reason = "; ".join(reasons)
    logger.info("weights are packed in memory: %s", reason)
    return Packed(None, f"packed in memory ({reason})")


def pack_weights(
    backend: str, config: ModelConfig, weights: Weights, dtype: str, folders: PackedFolders, path: Path
) -> None:
    """Write the weights to ``path``, packed as ``load_packed`` maps them. Raises OutputError."""
    plan = _plan(backend, config, weights, dtype, folders)
    with replacing(path) as file:
        plan.write(file, weights)


def _plan(backend: str, config: ModelConfig, weights: Weights, dtype: str, folders: PackedFolders) -> Plan:
    from minigte.engine import sources
    from minigte.engine.packed_file import Plan

    identity = {**folders.identity(), "minigte": sources.version("loading", "models")}
    like = weights_like(config, weights.stored_as)
    return Plan(config.spec, like, dtype, kernels(backend).level, identity)


def kernels(backend: str) -> Kernels:
    """The compiled kernels of the backend "built" or "jit"."""
    if backend == "jit":
        from minigte.engine.kernels import JustInTime

        return JustInTime()
    from minigte.engine.library import built

    return built()


def web_model(config: ModelConfig, weights: Weights, dtype: str) -> WebModel:
    """A model and the WebAssembly kernels, as a browser computes with them.

    Raises MissingDependencyError where those kernels were not built.
    """
    from minigte.engine import web

    return web.web_model(config.spec, weights, dtype, config.max_seq_length)


def kernel_directory() -> Path | None:
    """The directory that kernels compiled here go to; None if there is no safe and writable one."""
    from minigte.engine import jit

    return jit.kernel_directory()
