"""Micro-kernels: a tile stays in registers while a matrix product runs over its inner dimension."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minigte.engine.simd.llvm import (
    F32,
    FLOATS,
    I8,
    I16,
    I32,
    I64,
    INTS,
    LANES,
    PANEL_BYTES,
    VECTOR_BYTES,
    constant,
    function_named,
    in_every_lane,
    load_at,
    multiply_add,
    prefetch_at,
    store_at,
)
from minigte.engine.target import LEVEL, TRIPLE

TILE_ROWS = LEVEL.tile_rows

# A text of a few rows waits for its weights, unless they are asked for this far ahead of their use. With the
# fewest rows there is so little to compute that the processor's own prefetching keeps up.
PREFETCH_BYTES, PREFETCH_ROWS = 12 << 10, TILE_ROWS // 3 + 1
CACHE_LINE = 64  # bytes

# Each kind multiplies rows of A by one panel of B, B's values packed as [steps][PANEL][group]: one step takes
# `group` neighbours along the inner dimension. A step is described by
#   spread(builder, address) -> what one row of A contributes to a step, ready in all lanes
#   columns(builder, address) -> the two vectors of a step of the panel
#   accumulate(builder, sum, spread, columns) -> the new sum
# and by the bytes one step advances A and B. The dot instructions take operands of 32-bit words here, the
# older of their two forms, which every LLVM knows.


def _spread_word(builder, where):
    """32 bits of A (a float32, two bfloat16 or four uint8) in every lane."""
    return in_every_lane(builder, load_at(builder, where, I32, 1))


def _two_vectors(of):
    """Loader of a step's two vectors of the LLVM type ``of``."""

    def columns(builder, where):
        size = PANEL_BYTES // 2 if of.element.width == 32 else of.count
        return [load_at(builder, builder.add(where, I64(half * size)), of, 1) for half in (0, 1)]

    return columns


def _accumulate_float32(builder, total, a, b):
    return multiply_add(builder, builder.bitcast(a, FLOATS), builder.bitcast(b, FLOATS), total)


def _accumulate_bfloat16_dot(builder, total, a, b):
    """Both products of a pair by one instruction."""
    dot = function_named(builder, "llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, [FLOATS, INTS, INTS])
    return builder.call(dot, [total, a, b])


def _accumulate_int8_dot(builder, total, a, b):
    """Four products of uint8 by int8, summed into int32 by one instruction."""
    dot = function_named(builder, f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", INTS, [INTS, INTS, INTS])
    return builder.call(dot, [total, a, b])


def _spread_float32_pair(builder, where):
    return [in_every_lane(builder, load_at(builder, builder.add(where, I64(4 * i)), F32, 4)) for i in (0, 1)]


def _accumulate_bfloat16_wide(builder, total, a, b):
    """A in float32; each bfloat16 of B widens to float32 by moving to the upper half of its word."""
    even = builder.shl(b, constant(16))
    odd = builder.and_(b, constant(0xFFFF0000))
    total = multiply_add(builder, a[0], builder.bitcast(even, FLOATS), total)
    return multiply_add(builder, a[1], builder.bitcast(odd, FLOATS), total)


def _spread_byte_pair(builder, where):
    """Two uint8 of A as two int16 in every lane."""
    low, high = (builder.zext(load_at(builder, builder.add(where, I64(i)), I8, 1), I32) for i in (0, 1))
    return in_every_lane(builder, builder.or_(low, builder.shl(high, I32(16))))


def _accumulate_int8_wide(builder, total, a, b):
    """Two products of int16 by int16, summed into int32: x86's pmaddwd, which LLVM finds in this pattern."""
    shorts, ints = ir.VectorType(I16, 2 * LANES), ir.VectorType(I32, 2 * LANES)
    if TRIPLE.startswith("wasm32"):  # whose i32x4.dot_i16x8_s it does not find
        dot = function_named(builder, "llvm.wasm.dot", INTS, [shorts, shorts])
        return builder.add(total, builder.call(dot, [builder.bitcast(a, shorts), builder.sext(b, shorts)]))
    products = builder.mul(
        builder.sext(builder.bitcast(a, shorts), ints), builder.sext(builder.sext(b, shorts), ints)
    )
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(INTS, list(range(start, 2 * LANES, 2))))
        for start in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def _kind(dtype):
    """(spread, columns, accumulate, type of the sums, bytes a step of A, of B) for panels of this type."""
    words, pairs = _two_vectors(INTS), _two_vectors(ir.VectorType(I8, 2 * LANES))
    if dtype == types.float32:
        return _spread_word, words, _accumulate_float32, FLOATS, 4, PANEL_BYTES
    if dtype == types.uint16 and LEVEL.bfloat16_dot:
        return _spread_word, words, _accumulate_bfloat16_dot, FLOATS, 4, PANEL_BYTES
    if dtype == types.uint16:
        return _spread_float32_pair, words, _accumulate_bfloat16_wide, FLOATS, 8, PANEL_BYTES
    if LEVEL.int8_dot:
        return _spread_word, words, _accumulate_int8_dot, INTS, 4, PANEL_BYTES
    return _spread_byte_pair, pairs, _accumulate_int8_wide, INTS, 2, PANEL_BYTES // 2


def _sum_steps(builder, height, kind, a, a_stride, b, first, last, c, c_stride):
    """C = A B for ``height`` rows, all by address, over the steps from ``first`` to ``last``."""
    spread, columns, accumulate, total, a_step, b_step = kind
    entry = builder.block
    loop = builder.append_basic_block("steps")
    done, add, write, end = (builder.append_basic_block(n) for n in ("done", "add", "write", "end"))
    rows = [builder.add(a, builder.mul(a_stride, I64(i))) for i in range(height)]
    builder.branch(loop)

    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(first, entry)
    totals = [builder.phi(total) for _ in range(2 * height)]
    for phi in totals:
        phi.add_incoming(ir.Constant(total, None), entry)
    here = builder.add(b, builder.mul(step, I64(b_step)))
    panel = columns(builder, here)
    if height >= PREFETCH_ROWS:
        for line in range(0, b_step, CACHE_LINE):
            prefetch_at(builder, builder.add(here, I64(PREFETCH_BYTES + line)))
    results: list[Any] = []
    for row in rows:
        value = spread(builder, builder.add(row, builder.mul(step, I64(a_step))))
        for column in panel:
            results.append(accumulate(builder, totals[len(results)], value, column))
    following = builder.add(step, I64(1))
    step.add_incoming(following, loop)
    for phi, result in zip(totals, results, strict=True):
        phi.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed("<", following, last), loop, done)

    builder.position_at_end(done)
    targets = [
        builder.add(builder.add(c, builder.mul(c_stride, I64(i // 2))), I64(i % 2 * VECTOR_BYTES))
        for i in range(len(results))
    ]
    builder.cbranch(builder.icmp_signed("==", first, I64(0)), write, add)
    builder.position_at_end(add)
    plus = builder.fadd if total is FLOATS else builder.add
    for target, result in zip(targets, results, strict=True):
        store_at(builder, target, plus(load_at(builder, target, total, 4), result), 4)
    builder.branch(end)
    builder.position_at_end(write)
    for target, result in zip(targets, results, strict=True):
        store_at(builder, target, result, 4)
    builder.branch(end)
    builder.position_at_end(end)


@intrinsic
def tile(typingctx, like, height, a, a_stride, b, first, last, c, c_stride):
    """C = A B over the steps from ``first`` to ``last`` for ``height`` <= TILE_ROWS rows, all by address.

    The sum starts at zero; if ``first`` is not 0 it is added to what stands in C, else C is overwritten. The
    type of the array ``like`` says what is multiplied. Each row is summed in the same order whatever the
    height.
    """
    kind = _kind(like.dtype)

    def codegen(context, builder, sig, args):
        _, height, *rest = args
        end = builder.append_basic_block("tile.end")
        full = builder.append_basic_block(f"tile.{TILE_ROWS}")
        choice = builder.switch(height, full)
        for rows in range(1, TILE_ROWS + 1):
            block = full
            if rows < TILE_ROWS:
                block = builder.append_basic_block(f"tile.{rows}")
                choice.add_case(I64(rows), block)
            builder.position_at_end(block)
            _sum_steps(builder, rows, kind, *rest)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 8), codegen
