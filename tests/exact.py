"""How exactness is measured: stage by stage, against bounds; and the largest differences of a run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from minigte.models import bert

Float32 = npt.NDArray[np.float32]

HIDDEN_BOUND = 1e-5  # on hidden states, which are of order 1
VECTOR_BOUND = 1e-6  # on vectors of length 1
ULP = 2.0**-23  # float32's unit in the last place, of a value of order 1

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

    ``scores``: for a stage of attention probabilities, the largest score before softmax (see below).
    """
    assert list(got) == list(want), "the stages themselves differ"
    first = None
    for stage in want:
        bound = VECTOR_BOUND if stage == "normalized" else HIDDEN_BOUND
        bound += ULP * (scores or {}).get(stage, 0)
        distance = difference(got[stage], want[stage])
        key = comparison, re.sub(r"layer\.\d+", "layer.*", stage)
        largest[key] = max(largest.get(key, 0.0), distance)
        if distance > bound and first is None:
            first = f"{stage} differs by {distance:.2e}, more than {bound:.1e}, and is the first that does"
    assert first is None, first


def largest_scores(stages: Mapping[str, Float32], config: bert.Config) -> dict[str, float]:
    """For every stage of attention probabilities the largest |Q Kᵀ| / sqrt(K) that they come from.

    Softmax hands on the absolute rounding of its scores: dp = p (1 - p) ds, at most ds / 4. In gte-small's
    last layer scores reach 216, where four units in the last place, the rounding of two projections and
    a product, move a probability by 2.6e-5. So one such unit, 2⁻²³ of the largest score, is allowed.
    """
    scores = {}
    for i in range(config.num_hidden_layers):
        own = bert.ENCODER_LAYER.format(i) + "attention.self."
        query, key = (
            stages[own + name].reshape(-1, config.num_attention_heads, config.head_size).swapaxes(0, 1)
            for name in ("query", "key")
        )  # (H, T, K) each
        product = np.matmul(query, key.swapaxes(1, 2))
        scores[own + "probs"] = float(np.abs(product).max()) / config.head_size**0.5
    return scores


def tensors_sha256(tensors: Mapping[str, Float32]) -> str:
    """One hash over the float32 values of all tensors, whatever kind of file they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], np.float32)
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array)
    return digest.hexdigest()
