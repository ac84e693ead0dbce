"""The memory that one pass writes to, and its sizes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.engine.formats import format_of
from minigte.engine.level import BLOCK_TILES, Level
from minigte.engine.outliers import MOST
from minigte.models.spec import Spec
from minigte.runtime import memory

CACHE_LINE = 64  # bytes


class Workspace(NamedTuple):
    """The arrays one pass writes to; an array and its ``_input``, what a product reads of it, may be one.

    Those with N rows have ``Level.pad_rows`` more than are used. M is
    ``BLOCK_TILES`` tiles, R ``Format.rows``, T the longest text.
    """

    positions: Int64  # (N,) each token's place in its text
    x: Float32  # (N, D) the residual sums
    normed: Float32  # (N, D) their norms; x itself where the norms stand after the sums
    x_input: npt.NDArray[Any]  # (N, D)
    x_value: npt.NDArray[Any]  # (N, D) what the value's product reads
    scales: Float32  # (N, 1 + MOST) int8 scales of x_input, context_input, and their outliers
    qkv: npt.NDArray[Any]  # (N, 3 H K)
    context: npt.NDArray[Any]  # (N, H K)
    context_input: npt.NDArray[Any]  # (N, H K)
    # and one of each for every member of the team:
    intermediate: npt.NDArray[Any]  # (members, M, F)
    intermediate_input: npt.NDArray[Any]  # (members, M, F)
    intermediate_scales: Float32  # (members, M, 1 + MOST)
    keys: npt.NDArray[Any]  # (members, T K)
    values: npt.NDArray[Any]  # (members, T K)
    scores: Float32  # (members, R, T)
    probs: npt.NDArray[Any]  # (members, R, T)
    sums: Float32  # (members, R), padded to cache lines
    products: Float32  # (members, ``Level.block_rows`` * panel) of a block of rows and one panel
    panel: Float32  # (members, panel * the most inputs) one of float16 weights, widened


def meeting_point() -> Int64:
    """The words that a team meets at, see ``team``; one array per pass, never used again."""
    return np.zeros(4 * CACHE_LINE // 8, np.int64)


def allocate(spec: Spec, dtype: str, tokens: int, members: int, level: Level) -> Workspace:
    """A workspace for passes of at most ``tokens`` tokens by teams of at most ``members``, all zeros."""
    form, padded = format_of(dtype, level), level.padded
    stored, read, attended = form.stored, form.read, form.attended
    rows, block, length = tokens + level.pad_rows, BLOCK_TILES * form.rows, padded(tokens)
    hidden_width, head_width = padded(spec.hidden_size), padded(spec.head_size)
    context_width, wide = spec.num_attention_heads * head_width, padded(spec.intermediate_size)
    widest = max(hidden_width, context_width, wide)

    def zeros(dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
        return memory.zeros(shape, dtype)

    def pair(
        first: npt.DTypeLike, second: npt.DTypeLike, *shape: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        array = zeros(first, *shape)
        return array, array if first == second else zeros(second, *shape)

    normed, x_input = pair(np.float32, read, rows, hidden_width)
    x_value = next((a for a in (normed, x_input) if a.dtype == attended), None)
    context, context_input = pair(stored, read, rows, context_width)
    intermediate, intermediate_input = pair(stored, read, members, block, wide)
    scores, probs = pair(np.float32, attended, members, form.rows, length)
    return Workspace(
        positions=zeros(np.int64, rows),
        x=zeros(np.float32, rows, hidden_width) if spec.norm_first else normed,
        normed=normed,
        x_input=x_input,
        x_value=zeros(attended, rows, hidden_width) if x_value is None else x_value,
        scales=zeros(np.float32, rows, 1 + MOST),
        qkv=zeros(attended, rows, 3 * context_width),
        context=context,
        context_input=context_input,
        intermediate=intermediate,
        intermediate_input=intermediate_input,
        intermediate_scales=zeros(np.float32, members, block, 1 + MOST),
        keys=zeros(attended, members, length * head_width),
        values=zeros(attended, members, (length + 1) * head_width),
        scores=scores,
        probs=probs,
        sums=zeros(np.float32, members, padded(form.rows)),
        products=zeros(np.float32, members, level.block_rows * level.panel),
        panel=zeros(np.float32, members, widest * level.panel if form.float16 else 0),
    )
