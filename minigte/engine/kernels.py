"""Compiled kernels, wherever they come from: built ahead of time (``library``), or by Numba on the spot."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.engine.level import Level
from minigte.engine.weights import PackedModel, pack_model, read_only
from minigte.engine.workspace import Workspace, allocate, meeting_point
from minigte.models.spec import Spec
from minigte.models.weights import LayerWeights, Weights

Ids = npt.NDArray[np.int32]
# Run one member of a team: its leader, with the number of members wanted, or a helper, with 0.
Call = Callable[[int], object]
# The call for (n,) input_ids, (n,) token_type_ids, (b + 1,) offsets, (n, D) out and a meeting point.
Begin = Callable[[Ids, Ids, Int64, Float32, Int64], Call]


class Kernels(Protocol):
    """The compiled forward pass, for every dtype."""

    @property
    def level(self) -> Level:
        """How models and workspaces must be laid out for it."""

    def prepare(self, dtype: str) -> None:
        """Have what ``dtype`` needs ready, so that no call has to wait for it."""

    def bind(self, dtype: str, model: PackedModel, workspace: Workspace) -> Begin:
        """The forward pass of a model in a workspace, which one team uses at a time."""


class JustInTime:
    """Kernels that Numba compiles for exactly this processor."""

    def __init__(self) -> None:
        """Import Numba, and the kernels' sources."""
        from minigte.engine import encoder, jit, target

        self.level: Level = target.LEVEL
        self._forward, self._jit = encoder.forward, jit

    def prepare(self, dtype: str) -> None:
        """Compile, or load what was compiled before: seconds for the first process on a machine."""
        self._jit.prepare(self._forward, (*example(dtype, self.level), 0))

    def is_prepared(self, dtype: str) -> bool:
        """Whether that has been done on this machine before."""
        return self._jit.is_prepared(self._forward, (*example(dtype, self.level), 0))

    def bind(self, dtype: str, model: PackedModel, workspace: Workspace) -> Begin:
        """The forward pass of a model in a workspace."""
        return functools.partial(functools.partial, self._forward, model, workspace)


Arguments = tuple[PackedModel, Workspace, Ids, Ids, Int64, Float32, Int64]


def example(dtype: str, level: Level) -> Arguments:
    """What the forward pass is called with, for one token of a model of almost no size.

    Only the values differ for other models: the kernels are the same.
    """
    spec = Spec(1, 1, 1, 1, 1, 1, 1, "relu", norm_eps=1e-12, attention_scale=1.0)
    one, row = np.ones(1, np.float32), np.ones((1, 1), np.float32)
    norms = {"attention_norm_weight": one, "feed_forward_norm_weight": one}
    layer = LayerWeights(row, row, row, row, row, row, **norms)
    return (
        pack_model(spec, Weights(row, (layer,)), dtype, level),
        allocate(spec, dtype, 1, 1, level),
        read_only(np.zeros(1), np.int32),
        read_only(np.zeros(1), np.int32),
        read_only(np.array([0, 1]), np.int64),
        np.empty((1, 1), np.float32),
        meeting_point(),
    )
