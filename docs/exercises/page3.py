"""Page 3, Attention. Put your answers in place of the lines that raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def softmax(scores: Float32) -> Float32:
    """The shares of the last axis, also where a score is 1000: (..., T) -> (..., T)."""
    raise NotImplementedError


def split_heads(a: Float32, num_heads: int) -> Float32:
    """(T, D) -> (H, T, K), head h from the components h K to (h + 1) K - 1."""
    raise NotImplementedError


def attention(query: Float32, key: Float32, value: Float32) -> Float32:
    """The context of one head: three times (T, K) -> (T, K)."""
    raise NotImplementedError


def looks_ahead(attentions: Float32) -> int:
    """The head of layer 3 that gives most attention, on average, to the token after the one that asks.

    ``attentions`` is what a trace has, (L, H, T, T). The last token has none after it and does not count.
    """
    raise NotImplementedError
