"""Micro-kernels: a tile stays in registers while a matrix product runs over its inner dimension."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minigte.engine.simd.llvm import (
    F16,
    FLOATS,
    I8,
    I16,
    I32,
    I64,
    INTS,
    LANES,
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

TILE_ROWS, STEPS_AT_ONCE = LEVEL.tile_rows, LEVEL.steps_at_once

# The first tile of a panel waits for its weights, unless they are asked for this far ahead of their use. With
# the fewest rows there is so little to compute that the processor's own prefetching keeps up.
PREFETCH_BYTES, PREFETCH_ROWS = 12 << 10, TILE_ROWS // 3 + 1
CACHE_LINE = 64  # bytes

SHORTS = ir.VectorType(I16, 2 * LANES)


class Kind(NamedTuple):
    """How rows of A are multiplied by one panel of B, whose values are packed as [steps][PANEL][group].

    One step takes ``group`` neighbours along the inner dimension: in A 32 bits for each part. The dot
    instructions take operands of 32-bit words here, the older of their two forms, which every LLVM knows.
    """

    total: Any  # LLVM's type of the sums
    column: Any  # and of each of the two vectors of a step of the panel
    # (builder, such a vector) -> what of it is multiplied by the first 32 bits of A, by the next, ...
    parts: tuple[Callable[[Any, Any], Any], ...]
    accumulate: Callable[[Any, Any, Any, Any], Any]  # (builder, sum, 32 bits in every lane, part) -> new sum

    @property
    def column_bytes(self) -> int:
        """The bytes of such a vector."""
        size: int = LANES * (4 if self.column == INTS else 2)
        return size


def _as_it_is(builder, b):
    return b


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


# A bfloat16 widens to float32 by moving to the upper half of its word; A has float32 for both of a word.


def _even_bfloat16(builder, b):
    return builder.shl(b, constant(16))


def _odd_bfloat16(builder, b):
    return builder.and_(b, constant(0xFFFF0000))


def _int8_to_int16(builder, b):
    return builder.sext(b, SHORTS)


def _accumulate_int16(builder, total, a, b):
    """Two products of int16 by int16, summed into int32: x86's pmaddwd, which LLVM finds in this pattern."""
    a = builder.bitcast(a, SHORTS)
    if TRIPLE.startswith("wasm32"):  # whose i32x4.dot_i16x8_s it does not find
        dot = function_named(builder, "llvm.wasm.dot", INTS, [SHORTS, SHORTS])
        return builder.add(total, builder.call(dot, [a, b]))
    ints = ir.VectorType(I32, 2 * LANES)
    products = builder.mul(builder.sext(a, ints), builder.sext(b, ints))
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(INTS, list(range(start, 2 * LANES, 2))))
        for start in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def _float16_to_float32(builder, b):
    return builder.bitcast(builder.fpext(b, FLOATS), INTS)


def _kind(dtype):
    """How panels of this type are multiplied; int16 stands for the bits of float16."""
    if dtype == types.int16:
        return Kind(FLOATS, ir.VectorType(F16, LANES), (_float16_to_float32,), _accumulate_float32)
    if dtype == types.float32:
        return Kind(FLOATS, INTS, (_as_it_is,), _accumulate_float32)
    if dtype == types.uint16 and LEVEL.bfloat16_dot:
        return Kind(FLOATS, INTS, (_as_it_is,), _accumulate_bfloat16_dot)
    if dtype == types.uint16:
        return Kind(FLOATS, INTS, (_even_bfloat16, _odd_bfloat16), _accumulate_float32)
    if LEVEL.int8_dot:
        return Kind(INTS, INTS, (_as_it_is,), _accumulate_int8_dot)
    return Kind(INTS, ir.VectorType(I8, 2 * LANES), (_int8_to_int16,), _accumulate_int16)


def _loop(builder, first, last, at_once, totals, body):
    """The totals after ``body(step, totals)``, which takes so many at once, for the steps to ``last``."""
    before = builder.block
    loop, after = builder.append_basic_block("steps"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", first, last), loop, after)

    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(first, before)
    sums = [builder.phi(total.type) for total in totals]
    results = body(step, sums)
    following = builder.add(step, I64(at_once))
    step.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, last), loop, after)

    builder.position_at_end(after)
    found = [builder.phi(total.type) for total in totals]
    for total, sum_, result, phi in zip(totals, sums, results, found, strict=True):
        sum_.add_incoming(total, before)
        sum_.add_incoming(result, loop)
        phi.add_incoming(total, before)
        phi.add_incoming(result, loop)
    return found


def _sum_steps(builder, height, kind, is_far, a, a_stride, b, first, last, c, c_stride, wide=None):
    """C = A B for ``height`` rows, all by address, over the steps from ``first`` to ``last``.

    B is asked for ahead of its use if it ``is_far``. What is multiplied of it is left at ``wide``, if that is
    given.
    """
    add, write, end = (builder.append_basic_block(name) for name in ("add", "write", "end"))
    rows = [builder.add(a, builder.mul(a_stride, I64(i))) for i in range(height)]
    a_step, b_step = 4 * len(kind.parts), 2 * kind.column_bytes

    def multiply(step, totals, at_once):
        """The totals after so many steps."""
        here = builder.add(b, builder.mul(step, I64(b_step)))
        if is_far and height >= PREFETCH_ROWS:
            for line in range(0, b_step * at_once, CACHE_LINE):
                prefetch_at(builder, builder.add(here, I64(PREFETCH_BYTES + line)))
        across = [builder.add(row, builder.mul(step, I64(a_step))) for row in rows]
        for i in range(at_once):
            panel = [
                load_at(builder, here, kind.column, 1, i * b_step + half * kind.column_bytes)
                for half in (0, 1)
            ]
            columns = [[part(builder, column) for part in kind.parts] for column in panel]
            if wide is not None:
                there = builder.add(wide, builder.mul(builder.add(step, I64(i)), I64(2 * VECTOR_BYTES)))
                for half, (column,) in enumerate(columns):
                    store_at(builder, builder.add(there, I64(half * VECTOR_BYTES)), column, 4)
            results: list[Any] = []
            for row in across:
                words = [
                    in_every_lane(builder, load_at(builder, row, I32, 1, i * a_step + 4 * place))
                    for place in range(len(kind.parts))
                ]
                for column in columns:
                    total = totals[len(results)]
                    for word, part in zip(words, column, strict=True):
                        total = kind.accumulate(builder, total, word, part)
                    results.append(total)
            totals = results
        return totals

    totals = [ir.Constant(kind.total, None)] * (2 * height)
    begin = first
    for at_once in sorted({STEPS_AT_ONCE, 1}, reverse=True):
        rest = builder.srem(builder.sub(last, begin), I64(at_once))
        whole = builder.sub(last, rest)
        body = functools.partial(multiply, at_once=at_once)
        totals = _loop(builder, begin, whole, at_once, totals, body)
        begin = whole

    targets = [
        builder.add(builder.add(c, builder.mul(c_stride, I64(i // 2))), I64(i % 2 * VECTOR_BYTES))
        for i in range(len(totals))
    ]
    builder.cbranch(builder.icmp_signed("==", first, I64(0)), write, add)
    builder.position_at_end(add)
    plus = builder.fadd if kind.total is FLOATS else builder.add
    for target, total in zip(targets, totals, strict=True):
        store_at(builder, target, plus(load_at(builder, target, kind.total, 4), total), 4)
    builder.branch(end)
    builder.position_at_end(write)
    for target, total in zip(targets, totals, strict=True):
        store_at(builder, target, total, 4)
    builder.branch(end)
    builder.position_at_end(end)


def _tile(like, is_far):
    """The type and the code of a tile of any height."""
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
            _sum_steps(builder, rows, kind, is_far, *rest)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 8), codegen


@intrinsic
def tile(typingctx, like, height, a, a_stride, b, first, last, c, c_stride):
    """C = A B over the steps from ``first`` to ``last`` for ``height`` <= TILE_ROWS rows, all by address.

    The sum starts at zero; if ``first`` is not 0 it is added to what stands in C, else C is overwritten. The
    type of the array ``like`` says what is multiplied. Each row is summed in the same order whatever the
    height.
    """
    return _tile(like, False)


@intrinsic
def first_tile(typingctx, like, height, a, a_stride, b, first, last, c, c_stride):
    """``tile`` of a panel that no cache holds yet."""
    return _tile(like, True)


@intrinsic
def widening_tile(typingctx, like, a, a_stride, b, first, last, c, c_stride, wide):
    """``first_tile`` of TILE_ROWS rows and a panel in float16, which it leaves at ``wide`` in float32."""
    kind = _kind(like.dtype)

    def codegen(context, builder, sig, args):
        _, *rest = args
        _sum_steps(builder, TILE_ROWS, kind, True, *rest)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 8), codegen
