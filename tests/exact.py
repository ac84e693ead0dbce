"""How exactness is measured: stage by stage, against bounds; and the largest differences of a run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny

from minigte.backend import BACKENDS, built_missing, jit_missing
from minigte.explain.stages import Stage
from minigte.explain.trace import keep_in
from minigte.models.weights import Weights
from minigte.reference import TEXTBOOKS
from minigte.vectors.pooling import normalize, pool

Float32 = npt.NDArray[np.float32]

HIDDEN_BOUND = 1e-5  # on hidden states, which are of order 1
VECTOR_BOUND = 1e-6  # on vectors of length 1
SCORE_BOUND = 2.0**-20  # on scores before softmax, relative: eight units in the last place of float32

MISSING = {"built": built_missing(), "jit": jit_missing()}
COMPUTING_BACKENDS = tuple(name for name in BACKENDS if name != "auto" and MISSING.get(name) is None)

# (what was compared, stage) -> the largest difference of this run; `pytest --differences` prints it.
largest: dict[tuple[str, str], float] = {}


def difference(got: Float32, want: Float32) -> float:
    """max |got - want|, relative to max |want| where that is above 1; NaN counts as infinite."""
    assert got.dtype == np.float32, f"dtype {got.dtype}"
    assert got.shape == want.shape, f"shape {got.shape}, not {want.shape}"
    distance = np.abs(got.astype(np.float64) - want).max(initial=0)
    return float(np.nan_to_num(distance / max(1.0, np.abs(want).max(initial=0)), nan=np.inf))


def assert_stages_equal(
    comparison: str,
    got: Mapping[str, Float32],
    want: Mapping[str, Float32],
    scores: Mapping[str, float] | None = None,
) -> None:
    """Compare every stage of ``want``, in its order; the failure names the first one that differs.

    ``scores``: for a stage that softmax's rounding reaches, its largest score (see ``largest_scores``).
    """
    assert list(got) == list(want), "the stages themselves differ"
    first = None
    for stage in want:
        bound = VECTOR_BOUND if stage == "normalized" else HIDDEN_BOUND
        bound += SCORE_BOUND / 4 * (scores or {}).get(stage, 0)
        distance = difference(got[stage], want[stage])
        key = comparison, re.sub(r"\d+", "*", stage, count=1)  # all layers together
        largest[key] = max(largest.get(key, 0.0), distance)
        if distance > bound and first is None:
            first = f"{stage} differs by {distance:.2e}, more than {bound:.1e}, and is the first that does"
    assert first is None, first


def trace(config: Any, weights: Weights, input_ids: npt.NDArray[np.integer]) -> dict[str, Float32]:
    """Every intermediate of one text, then its mean over the tokens, "pooled", and that one "normalized"."""
    stages: dict[str, Stage] = {}
    forward = TEXTBOOKS[tiny.architecture(config).name].forward
    hidden = forward(config, weights, input_ids, np.array([0, len(input_ids)]), keep_in(stages))
    pooled = pool(hidden, np.array([0, len(hidden)]), ("mean",))  # (1, D)
    arrays = {name: stage.array for name, stage in stages.items()}
    return {**arrays, "pooled": pooled[0], "normalized": normalize(pooled)[0]}


def last_stage(config: Any) -> str:
    """The name of the stage that is the last hidden state."""
    architecture = tiny.architecture(config)
    names = TEXTBOOKS[architecture.name].NAMES
    number = architecture.spec(config).num_hidden_layers - 1
    return names.last or names.layer.format(number) + names.output


def largest_scores(stages: Mapping[str, Float32], config: Any) -> dict[str, float]:
    """max |scores| of every layer, for its two stages that inherit the rounding of these scores.

    Softmax hands on the absolute error of a score: dp = p (1 - p) ds, at most ds / 4; the context is the
    values' mean by these probabilities. gte-small's last layer has scores of 216, where one unit in the
    last place is 1.5e-5 and a score has behind it two projections and a product. Against float64, on
    texts of 186 to 512 tokens, minigte and transformers alike are off by up to 2.3e-5 in both stages,
    and by 5e-6 after the next LayerNorm. So these two stages are allowed a quarter of SCORE_BOUND more.
    """
    scores: dict[str, float] = {}
    architecture = tiny.architecture(config)
    names = TEXTBOOKS[architecture.name].NAMES
    for i in range(architecture.spec(config).num_hidden_layers):
        own = names.layer.format(i) + names.probs.removesuffix("probs")
        reached = stages[own + "probs"] > 0  # what a token does not attend to rounds nothing
        score = float(np.abs(stages[own + "scores"][reached]).max())
        scores |= {own + "probs": score, own + "context": score}
    return scores


def named(config: Any, weights: Weights) -> dict[str, Float32]:
    """The arrays of a loaded model under their names in a checkpoint, put together as there."""
    arrays: dict[str, Float32] = {}
    for tensor in tiny.architecture(config).tensors(config):
        holder = weights if tensor.layer is None else weights.layers[tensor.layer]
        array: Float32 = getattr(holder, tensor.field)
        if tensor.part is None:
            arrays[tensor.name] = array
            continue
        stored = arrays.setdefault(tensor.name, np.empty(tensor.stored_shape, np.float32))
        place = tensor.view(stored)
        place[:] = array.reshape(place.shape)
    return arrays


def tensors_sha256(tensors: Mapping[str, Float32]) -> str:
    """One hash over the float32 values of all tensors, whatever kind of file they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], np.float32)
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
