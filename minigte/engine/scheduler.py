"""The engine's door: many texts shared out among threads, or one text computed by all of them."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.engine.formats import DTYPES
from minigte.engine.helpers import Helpers, Job
from minigte.engine.kernels import Begin, Kernels
from minigte.engine.packed_file import Packed
from minigte.engine.weights import PackedModel, pack_model, read_only, with_reach
from minigte.engine.workspace import Workspace, allocate, meeting_point
from minigte.errors import InputError
from minigte.models.batch import Batch
from minigte.models.spec import Spec
from minigte.models.weights import Weights
from minigte.runtime.resources import usable_cores

# Tokens of the texts that one thread takes at a time, when there are many. Any value gives the same bits.
UNIT_TOKENS = 256
# A thread's largest part of their mean, up to which threads that take texts alone are faster than a team.
EVEN = 1.25


class Unit(NamedTuple):
    """Some texts of a batch, small enough for one thread's workspace, and the rows they fill."""

    input_ids: npt.NDArray[np.int32]  # (n,)
    token_type_ids: npt.NDArray[np.int32]  # (n,)
    offsets: Int64  # (b + 1,) from 0 to n
    out: Float32  # (n, D)
    completes: tuple[Batch, Float32] | None  # what is finished with this unit


class Engine:
    """An encoder, ready to run: packed weights, workspaces, threads; any number of threads may use it.

    ``dtype`` is what matrix products multiply: "float32", "bfloat16" (products summed in float32) or "int8"
    (weights per output, activations per row, summed exactly; the value's product and attention as for
    "bfloat16"). Embeddings, layer norm, softmax and activation are float32 always.
    ``threads`` defaults to the cores that this process may use.
    """

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        kernels: Kernels,
        *,
        dtype: str = "float32",
        threads: int | None = None,
        packed: Packed | None = None,
    ) -> None:
        """``packed``: the weights as a file has them; without a model in it they are packed here."""
        if dtype not in DTYPES:
            raise InputError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        self.dtype = dtype
        self.threads = usable_cores() if threads is None else threads
        self._spec = spec
        self._kernels = kernels
        kernels.prepare(dtype)
        model, self.weights_are = packed or Packed(None, "packed in memory")
        self._model = pack_model(spec, weights, dtype, kernels.level) if model is None else model
        self._distance_embeddings = weights.distance_embeddings
        self._idle_workspaces: dict[int, list[tuple[Workspace, Begin]]] = {}  # by the size of a team
        self._helpers = Helpers(self.threads - 1)

    @property
    def instructions(self) -> str:
        """Which instructions the matrix products run on, for example "avx512 + vnni"."""
        return self._kernels.level.instructions(self.dtype)

    def last_hidden_states(
        self, batches: Iterable[Batch], *, alone: bool = False
    ) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its (N, D) float32 last hidden state, in the order given.

        Texts are shared out among the threads, this one included; where there are too few, or one of them is
        long beside the others, all threads compute each unit together. With ``alone`` this thread does all of
        it, for a caller who has threads of its own. The bits of a text's rows depend on none of this.
        """
        threads = 1 if alone else self.threads
        stream = (unit for batch in batches for unit in self._units(batch, threads))
        ahead = list(itertools.islice(stream, threads))
        units = itertools.chain(ahead, stream)
        if threads == 1 or len(ahead) < threads:
            for unit in units:
                self._run(unit, threads)
                if unit.completes is not None:
                    yield unit.completes
            return

        begun: deque[tuple[Unit, Job]] = deque()
        try:
            while True:
                for unit in itertools.islice(units, 2 * self.threads - len(begun)):
                    begun.append((unit, Job(self._run, unit, 1)))
                    self._helpers.offer(begun[-1][1])
                if not begun:
                    return
                # Do the oldest unit that no helper has taken; if there is none, wait for the oldest of all.
                if not any(job.take() for _, job in begun):
                    begun[0][1].wait()
                while begun and begun[0][1].finished():
                    unit, job = begun.popleft()
                    job.wait()
                    if unit.completes is not None:
                        yield unit.completes
        finally:
            for _, job in begun:
                job.cancel()

    def _units(self, batch: Batch, threads: int) -> Iterator[Unit]:
        """Cut a batch between texts into units of nearly equal size, about UNIT_TOKENS or one text at most.

        A small one is cut into as many as there are threads, where it can be done evenly.
        """
        input_ids = read_only(batch.input_ids, np.int32)  # (N,)
        offsets = np.ascontiguousarray(batch.offsets, np.int64)  # (B + 1,)
        types = batch.token_type_ids
        token_type_ids = read_only(np.zeros_like(input_ids) if types is None else types, np.int32)  # (N,)
        self._check(input_ids, token_type_ids, offsets)
        out = np.empty((len(input_ids), self._spec.hidden_size), np.float32)
        cuts = _cuts(offsets, math.ceil(len(input_ids) / UNIT_TOKENS))
        if len(cuts) <= threads < len(offsets):
            parts = _cuts(offsets, threads)
            if len(parts) > threads and np.diff(offsets[parts]).max() * threads <= EVEN * len(input_ids):
                cuts = parts
        for first, last in itertools.pairwise(cuts):
            rows = slice(offsets[first], offsets[last])
            completes = (batch, out) if last == cuts[-1] else None
            yield Unit(
                input_ids[rows],
                token_type_ids[rows],
                read_only(offsets[first : last + 1] - offsets[first], np.int64),
                out[rows],
                completes,
            )

    def _check(
        self, input_ids: npt.NDArray[np.int32], token_type_ids: npt.NDArray[np.int32], offsets: Int64
    ) -> None:
        """The kernel reads memory where these numbers point, so they must point into its arrays."""
        lengths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(input_ids) or (lengths < 0).any():
            raise InputError("offsets must rise from 0 to the number of input_ids")
        longest = int(lengths.max(initial=0))
        most = self._spec.max_tokens
        if len(self._model.position_embeddings):
            most = min(most, len(self._model.position_embeddings) - self._spec.first_position)
        if longest > most:
            raise InputError(f"a text has {longest} tokens; the model reads at most {most}")
        for name, ids, rows in (
            ("input_ids", input_ids, len(self._model.word_embeddings) + len(self._model.word_halves)),
            ("token_type_ids", token_type_ids, max(1, len(self._model.token_type_embeddings))),
        ):
            if len(ids) != len(input_ids):
                raise InputError(f"there are {len(ids)} {name} for {len(input_ids)} input_ids")
            if len(ids) and not 0 <= ids.min() <= ids.max() < rows:
                raise InputError(f"{name} must lie between 0 and {rows - 1}, the rows of the model's table")

    def _reaching(self, tokens: int) -> PackedModel:
        """The model, ready for texts of this many tokens."""
        reach, model = min(self._spec.max_tokens, tokens), self._model
        if model.reach < reach:
            model = with_reach(model, self._spec, self._distance_embeddings, reach, self._kernels.level)
            self._model = model  # which another thread may have made smaller by the time this one returns
        return model

    def _run(self, unit: Unit, wanted: int) -> None:
        """Compute a unit in this thread, with up to ``wanted`` - 1 helpers."""
        tokens, level = len(unit.input_ids), self._kernels.level
        workspaces = self._idle_workspaces.setdefault(wanted, [])
        idle = None
        with contextlib.suppress(IndexError):
            idle = workspaces.pop()
        if idle is None or len(idle[0].x) < tokens + level.pad_rows:
            capacity = max(tokens, UNIT_TOKENS)
            workspace = allocate(self._spec, self.dtype, capacity, wanted, level)
            idle = workspace, self._kernels.bind(self.dtype, self._reaching(capacity), workspace)
        call = idle[1](unit.input_ids, unit.token_type_ids, unit.offsets, unit.out, meeting_point())
        try:
            if wanted > 1:
                self._helpers.form_team(call, wanted - 1)
            call(wanted)
        finally:
            workspaces.append(idle)


def _cuts(offsets: Int64, count: int) -> list[int]:
    """Where to cut texts (B + 1 offsets) into ``count`` parts or fewer of nearly equal size, with 0 and B."""
    texts = len(offsets) - 1
    middles = (offsets[:-1] + offsets[1:]) / 2  # a text belongs to the part in which its middle lies
    inner = np.searchsorted(middles, np.arange(1, count) * offsets[-1] / count)
    # Not np.unique: before Python 3.14 it aborts the process if that ends while a daemon thread is in it.
    return [0, *sorted(set(inner.tolist()) - {0, texts}), texts]
