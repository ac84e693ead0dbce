"""Self-attention within one text and one head: context = softmax(Q Kᵀ · scale + bias) V.

The keys are turned into panels (their transpose), the values copied into panels, then a tile's queries at a
time go through scores, softmax and context while their rows stay in the processor's first cache. Q, K and V
are float32, or bfloat16 where the processor multiplies it.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from minigte.engine.jit import kernel
from minigte.engine.linear import multiply
from minigte.engine.rows import softmax
from minigte.engine.simd import (
    LANES,
    PANEL,
    PANEL_BYTES,
    VECTOR_BYTES,
    address,
    interleave,
    load,
    matrices_begin,
    matrices_end,
    rows_at_once,
    splat,
    steps_read,
    store,
    store_as,
    transpose,
)

f32 = np.float32


@kernel
def pack_keys(keys, row_bytes, length, words, target):
    """K (T, words) of 32-bit words to panels [T / PANEL][words][PANEL], T rounded up over what follows."""
    for first in range(0, length, LANES):
        panel = target + first // PANEL * words * PANEL_BYTES + first % PANEL * 4
        for word in range(0, words, LANES):
            transpose(keys + first * row_bytes + word * 4, row_bytes, panel + word * PANEL_BYTES, PANEL_BYTES)


def pack_values(like, values, row_bytes, length, width, steps, target):
    """V (T, width), of the type of the array ``like``, to panels [width / PANEL][steps][PANEL][group].

    Steps after the last of the text are zeros.
    """
    raise NotImplementedError


@overload(pack_values)
def _(like, values, row_bytes, length, width, steps, target):
    def singles(like, values, row_bytes, length, width, steps, target):
        for column in range(0, width * 4, PANEL_BYTES):
            for row in range(length):
                source = values + row * row_bytes + column
                store(target, load(source))
                store(target + VECTOR_BYTES, load(source + VECTOR_BYTES))
                target += PANEL_BYTES

    def pairs(like, values, row_bytes, length, width, steps, target):
        for column in range(0, width * 2, PANEL * 2):
            for row in range(0, length, 2):
                source = values + row * row_bytes + column
                # An odd text's last row has no neighbour; its own values stand in, with a probability of 0.
                following = source + row_bytes if row + 1 < length else source
                interleave(source, following, target)
                target += PANEL_BYTES
            for _ in range((length + 1) // 2, steps):
                store(target, splat(f32(0)))
                store(target + VECTOR_BYTES, splat(f32(0)))
                target += PANEL_BYTES

    return singles if like.dtype == types.float32 else pairs


@kernel
def attention(
    qkv, width, heads, head, scale, bias, before, after, keys, values, scores, probs, sums, tile, context
):
    """One head of one text: qkv (T, 3 · heads · width) -> its columns of context (T, heads · width).

    Token i attends to the tokens i - ``before`` to i + ``after``. ``bias`` is 0, or the address of what is
    added to the score of a token and itself, between what is added for those before and after it. width is
    the padded head size; keys, values (types of qkv), scores and probs (R, T padded), sums (R,)
    and tile are scratch for R = ``rows_at_once`` rows.
    """
    length, item, row_bytes, at_once = qkv.shape[0], qkv.itemsize, qkv.strides[0], rows_at_once(qkv)
    # A step multiplies 32 bits of Q or of probs.
    words, steps = width * item // 4, steps_read(qkv, (length * item + 3) // 4)
    query = address(qkv) + head * width * item
    pack_keys(query + heads * width * item, row_bytes, length, words, address(keys))
    pack_values(qkv, query + 2 * heads * width * item, row_bytes, length, width, steps, address(values))
    score, score_bytes = address(scores), scores.strides[0]
    prob, prob_bytes = address(probs), probs.strides[0]
    matrices_begin(qkv)
    for top in range(0, length, at_once):
        rows = min(at_once, length - top)
        # The columns that any of these rows attends to, from the panel that holds the first of them.
        begin = max(0, top - before) // PANEL * PANEL
        end = min(length, top + rows + after)
        padded = begin + (end - begin + PANEL - 1) // PANEL * PANEL
        for first in range(begin, end, PANEL):
            panel = address(keys) + first * width * item
            multiply(
                qkv,
                rows,
                query + top * row_bytes,
                row_bytes,
                panel,
                words,
                score + first * 4,
                score_bytes,
            )
        for i in range(rows):
            row = top + i
            sums[i] = softmax(
                score + i * score_bytes,
                max(0, row - before),
                min(length, row + after + 1),
                begin,
                padded,
                scale,
                bias - 4 * row if bias != 0 else 0,
                probs,
                prob + i * prob_bytes,
            )
        for first in range(0, width, PANEL):
            panel = address(values) + first * steps * 4 + begin * item * PANEL
            multiply(
                qkv,
                rows,
                prob + begin * item,
                prob_bytes,
                panel,
                steps_read(qkv, ((end - begin) * item + 3) // 4),
                address(tile),
                PANEL_BYTES,
            )
            for i in range(rows):
                target = (
                    address(context)
                    + (top + i) * context.strides[0]
                    + (head * width + first) * context.itemsize
                )
                for half in range(2):
                    y = load(address(tile) + i * PANEL_BYTES + half * VECTOR_BYTES) / sums[i]
                    store_as(context, target + half * (PANEL // 2) * context.itemsize, y)
    matrices_end(qkv)
