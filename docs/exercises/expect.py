"""What the checks of all pages share: comparing an answer with the right one, and gte-small."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from minigte import Embedder
from minigte.loading.weights import load_weights
from minigte.models.weights import Weights


class WrongError(Exception):
    """Says what is wrong with an answer, in one line that does not give the right one away."""


def same(got: Any, want: Any, *, tolerance: float = 1e-5) -> None:
    """Raise WrongError unless an answer has the right shape and, within the tolerance, the right values."""
    if got is None:
        raise WrongError("it returns None")
    if isinstance(want, (str, list)):
        if not isinstance(got, type(want)):
            raise WrongError(f"it is a {type(got).__name__}, not a {type(want).__name__}")
        if got != want:
            raise WrongError(f"{got!r} is not it")
        return
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise WrongError(f"its shape is {got.shape}, not {want.shape}")
    if got.dtype.kind not in "iufb":
        raise WrongError(f"its dtype is {got.dtype}, not numbers")
    if not np.isfinite(got).all():
        raise WrongError("it holds NaN or infinity")
    difference = abs(got.astype(np.float64) - want).max(initial=0)
    if difference > tolerance:
        raise WrongError(f"{got} is not it" if got.ndim == 0 else f"it is off by up to {difference:.3g}")


@cache
def model() -> tuple[Embedder, Weights]:
    """gte-small on the reference, and its arrays, loaded once."""
    embedder = Embedder("thenlper/gte-small", backend="numpy")
    return embedder, load_weights(embedder.source.folder, embedder.config)
