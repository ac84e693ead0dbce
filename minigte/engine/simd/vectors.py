"""Vectors in compiled code: LANES float32 values in one register, and what can be done with them.

In a kernel a vector is an ordinary value with the operators ``+ - * /``. Memory is given by plain byte
addresses: ``address(array)`` is the first.

No operation here may be reordered or contracted by the compiler (no fast-math flag is ever set), so a result
depends on nothing but its inputs: not on its place in an array, not on what is computed beside it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from minigte.engine.simd.llvm import (
    F32,
    FLOATS,
    I16,
    I32,
    I64,
    INTS,
    LANES,
    constant,
    function_named,
    in_every_lane,
    load_at,
    multiply_add,
    store_at,
)


class Vector(types.Type):
    """Numba's name for LANES float32 values in a register."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, FLOATS)


def _floats(context: Any, builder: Any, value: Any, of: Any) -> Any:
    """A vector as it is; a Python or NumPy float in every lane."""
    if of == vector:
        return value
    return in_every_lane(builder, context.cast(builder, value, of, types.float32))


def _is_number(kind: Any) -> bool:
    return kind == vector or isinstance(kind, types.Float)


def _operator(operation: Any, instruction: str) -> None:
    """Teach Numba ``operation`` on two vectors, or on a vector and a float."""

    @type_callable(operation)
    def type_of(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return vector if vector in (a, b) and _is_number(a) and _is_number(b) else None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_floats(context, builder, value, of) for value, of in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(a, b)

    for pair in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(operation, *pair)(lower)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _elementwise(emit: Callable[..., Any], *arguments: Any) -> Any:
    """An intrinsic of vectors or floats: its type, and ``emit(builder, *vectors)`` as its code."""

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        vectors = [_floats(context, builder, v, of) for v, of in zip(values, sig.args, strict=True)]
        return emit(builder, *vectors)

    return (vector(*arguments), codegen) if all(map(_is_number, arguments)) else None


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c."""
    return _elementwise(multiply_add, a, b, c)


def _greater(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


# One instruction on every processor; the price is that NaN is kept in b alone.
@intrinsic
def maximum(typingctx, a, b):
    """The larger of a and b, lane by lane; b where either is NaN."""
    return _elementwise(_greater, a, b)


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of a and b, lane by lane; b where either is NaN."""
    return _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b), a, b)


@intrinsic
def where_less(typingctx, a, b, x, y):
    """x where a < b, else y, lane by lane; y where a or b is NaN."""
    return _elementwise(
        lambda builder, a, b, x, y: builder.select(builder.fcmp_ordered("<", a, b), x, y), a, b, x, y
    )


@intrinsic
def magnitude(typingctx, a):
    """|a|."""

    def emit(builder, a):
        bits = builder.and_(builder.bitcast(a, INTS), constant(0x7FFFFFFF))
        return builder.bitcast(bits, FLOATS)

    return _elementwise(emit, a)


def _greater_bits(builder, a, b):
    a, b = (builder.bitcast(value, ir.VectorType(I32, value.type.count)) for value in (a, b))
    greater = builder.select(builder.icmp_signed(">", a, b), a, b)
    return builder.bitcast(greater, ir.VectorType(F32, greater.type.count))


@intrinsic
def maximum_or_nan(typingctx, a, b):
    """The larger of a and b, neither of them negative, lane by lane; NaN where either is NaN.

    Floats that are not negative are ordered as their bits are: NaN above infinity above all numbers.
    """
    return _elementwise(_greater_bits, a, b)


# Adding this number to a float of less than 2^22 pushes its fraction out of the mantissa: what remains is
# the nearest integer, in the low bits.
ROUNDER = np.float32(1.5 * 2**23)


@intrinsic
def times_power_of_two(typingctx, a, rounded):
    """a * 2^n, where ``rounded`` is n + ROUNDER; n goes straight into the exponent's bits.

    NaN stays NaN where both are NaN as processors make it: the bits that are shifted out of it are its only
    ones.
    """

    def emit(builder, a, rounded):
        exponent = builder.shl(builder.bitcast(rounded, INTS), constant(23))
        return builder.bitcast(builder.add(builder.bitcast(a, INTS), exponent), FLOATS)

    return _elementwise(emit, a, rounded)


@intrinsic
def square_root(typingctx, a):
    """The square root of a float32 by the processor's instruction: math.sqrt may call the C library."""

    def codegen(context, builder, sig, args):
        return builder.call(function_named(builder, "llvm.sqrt.f32", F32, [F32]), args)

    return types.float32(types.float32), codegen


@intrinsic
def splat(typingctx, a):
    """The float a in every lane."""
    return _elementwise(lambda builder, a: a, a)


@intrinsic
def lanes_between(typingctx, a, first, last, fill):
    """a in the lanes from ``first`` up to, not with, ``last``; ``fill`` in the others."""

    def codegen(context, builder, sig, args):
        lane = ir.Constant(INTS, list(range(LANES)))
        first, last = (in_every_lane(builder, builder.trunc(limit, I32)) for limit in args[1:3])
        inside = builder.and_(builder.icmp_signed(">=", lane, first), builder.icmp_signed("<", lane, last))
        return builder.select(inside, args[0], _floats(context, builder, args[3], sig.args[3]))

    return vector(vector, types.int64, types.int64, types.float32), codegen


def _reduce(emit):
    """A scalar from all lanes: the upper half onto the lower half until one lane is left."""

    def codegen(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(I32, width), list(range(start, start + width)))
                )
                for start in (0, width)
            ]
            value = emit(builder, *halves)
        return builder.extract_element(value, I32(0))

    return types.float32(vector), codegen


@intrinsic
def lane_sum(typingctx, a):
    """The sum of all lanes, a float32."""
    return _reduce(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def lane_maximum(typingctx, a):
    """The largest lane, a float32; any lane where some are NaN."""
    return _reduce(_greater)


@intrinsic
def lane_maximum_or_nan(typingctx, a):
    """The largest lane, a float32, where none is negative; NaN where one is NaN."""
    return _reduce(_greater_bits)


# --- Memory ----------------------------------------------------------------------------------------------


@intrinsic
def address(typingctx, array):
    """The byte address of an array's first element, an int64."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, I64)

    return types.int64(array), codegen


@intrinsic
def load(typingctx, where):
    """The LANES float32 at an address."""

    def codegen(context, builder, sig, args):
        return load_at(builder, args[0], FLOATS, 4)

    return vector(types.int64), codegen


@intrinsic
def load_float(typingctx, where):
    """The float32 at an address."""

    def codegen(context, builder, sig, args):
        return load_at(builder, args[0], F32, 4)

    return types.float32(types.int64), codegen


@intrinsic
def load_difference(typingctx, where, subtrahends):
    """LANES int32 minus LANES int32, exactly, then as float32."""

    def codegen(context, builder, sig, args):
        a, b = (load_at(builder, where, INTS, 4) for where in args)
        return builder.sitofp(builder.sub(a, b), FLOATS)

    return vector(types.int64, types.int64), codegen


@intrinsic
def store(typingctx, where, value):
    """Write LANES float32 to an address."""

    def codegen(context, builder, sig, args):
        store_at(builder, args[0], args[1], 4)
        return context.get_dummy_value()

    return types.void(types.int64, vector), codegen


def _round_to_bfloat16(builder, value):
    """The upper halves of the float32 lanes, rounded to nearest, ties to even."""
    bits = builder.bitcast(value, INTS)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    rounded = builder.add(bits, builder.add(odd, constant(0x7FFF)))
    return builder.trunc(builder.lshr(rounded, constant(16)), ir.VectorType(I16, LANES))


@intrinsic
def store_as(typingctx, like, where, value):
    """Write LANES values of the type of ``like`` (float32, or uint16 for bfloat16) to an address."""
    narrow = like.dtype == types.uint16

    def codegen(context, builder, sig, args):
        value = _round_to_bfloat16(builder, args[2]) if narrow else args[2]
        store_at(builder, args[1], value, 2 if narrow else 4)
        return context.get_dummy_value()

    return types.void(like, types.int64, vector), codegen


@intrinsic
def store_integers(typingctx, like, where, value):
    """Write the lowest bits of every lane: LANES integers of the type of ``like`` to an address."""
    size = like.dtype.bitwidth

    def codegen(context, builder, sig, args):
        low = builder.trunc(builder.bitcast(args[2], INTS), ir.VectorType(ir.IntType(size), LANES))
        store_at(builder, args[1], low, size // 8)
        return context.get_dummy_value()

    return types.void(like, types.int64, vector), codegen


@intrinsic
def transpose(typingctx, source, source_stride, target, target_stride):
    """Turn LANES rows of LANES 32-bit words into columns; the strides are bytes from row to row."""

    def codegen(context, builder, sig, args):
        source, source_stride, target, target_stride = args
        rows = [
            load_at(builder, builder.add(source, builder.mul(source_stride, I64(i))), INTS, 4)
            for i in range(LANES)
        ]
        # Swap the off-diagonal blocks of every 2w x 2w square, for w = LANES / 2 down to 1.
        width = LANES // 2
        while width:
            upper = [i + LANES * (i // width % 2) - width * (i // width % 2) for i in range(LANES)]
            lower = [index + width for index in upper]
            for i in range(LANES):
                if i // width % 2 == 0:
                    a, b = rows[i], rows[i + width]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(INTS, upper))
                    rows[i + width] = builder.shuffle_vector(a, b, ir.Constant(INTS, lower))
            width //= 2
        for i, row in enumerate(rows):
            store_at(builder, builder.add(target, builder.mul(target_stride, I64(i))), row, 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def interleave(typingctx, first, second, target):
    """From two rows a, b of a panel's 16-bit values write a0 b0 a1 b1 ...: the layout of a bfloat16 panel."""

    def codegen(context, builder, sig, args):
        row = ir.VectorType(I16, 2 * LANES)
        a, b = (load_at(builder, where, row, 2) for where in args[:2])
        order = [i // 2 + 2 * LANES * (i % 2) for i in range(4 * LANES)]
        mixed = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, 4 * LANES), order))
        store_at(builder, args[2], mixed, 2)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen
