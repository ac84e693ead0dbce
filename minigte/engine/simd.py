"""Vectors, micro-kernels and atomics for compiled code: the only file that knows LLVM.

A vector holds LANES float32 values in one register; in a kernel it is an ordinary value with the operators
``+ - * /``. A *tile* is TILE_ROWS x PANEL numbers that stay in registers while a matrix product runs over
its inner dimension. Both sizes follow the processor Numba compiles for (``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` included). Everything takes plain byte addresses: ``address(array)`` gives the first.

No operation here may be reordered or contracted by the compiler (no fast-math flag is ever set), so a result
depends on nothing but its inputs: not on its place in an array, not on what is computed beside it.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
FEATURES = frozenset(name[1:] for name in _FEATURES.split(",") if name.startswith("+"))

LANES = 16 if "avx512f" in FEATURES else 8 if "avx" in FEATURES else 4
VECTOR_BYTES = 4 * LANES
PANEL = 2 * LANES  # columns of a tile
PANEL_BYTES = 2 * VECTOR_BYTES
# Rows of a tile: as many accumulators as the registers hold beside two columns and one broadcast, and two
# smaller heights for what is left over. Each row is summed in the same order whatever the height.
TILE_ROWS, MIDDLE_ROWS, SMALL_ROWS = (12, 8, 4) if FEATURES & {"avx512f", "neon"} else (6, 4, 2)
ALIGNMENT = 64  # bytes, a cache line

# bfloat16 pairs and int8 quadruples are multiplied by one instruction where the processor has it.
BFLOAT16_DOT = {"avx512f", "avx512bf16"} <= FEATURES
INT8_DOT = {"avx512f", "avx512vnni"} <= FEATURES or (LANES == 8 and "avxvnni" in FEATURES)
INT8_GROUP = 4 if INT8_DOT else 2  # neighbours along the inner dimension that lie side by side in a panel


def describe(dtype: str) -> str:
    """The instructions that multiply matrices of ``dtype`` here, for example "avx512 + vnni"."""
    x86 = {16: "avx512", 8: "avx2" if "avx2" in FEATURES else "avx", 4: "sse2"}[LANES]
    vectors = x86 if _TRIPLE.startswith(("x86_64", "i686")) else "neon" if "neon" in FEATURES else "generic"
    if dtype == "bfloat16":
        return f"{vectors} + bf16" if BFLOAT16_DOT else f"{vectors}, bfloat16 widened to float32"
    if dtype == "int8":
        return f"{vectors} + vnni" if INT8_DOT else f"{vectors}, int8 widened to int16"
    return vectors


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An uninitialised C-contiguous array that begins on a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


# --- LLVM types ------------------------------------------------------------------------------------------


_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), *(ir.IntType(bits) for bits in (8, 16, 32, 64))
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)


class Vector(types.Type):
    """Numba's name for LANES float32 values in a register."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


# --- Building blocks of the code generators --------------------------------------------------------------


def _load(builder: Any, where: Any, of: Any, align: int) -> Any:
    value = builder.load(builder.inttoptr(where, of.as_pointer()))
    value.align = align
    return value


def _store(builder: Any, where: Any, value: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(where, value.type.as_pointer())).align = align


def _splat(builder: Any, scalar: Any) -> Any:
    """The scalar in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * LANES))


def _constant(value: int) -> Any:
    """The integer in every lane."""
    return ir.Constant(_INTS, [value] * LANES)


def _floats(context: Any, builder: Any, value: Any, of: Any) -> Any:
    """A vector as it is; a Python or NumPy float in every lane."""
    if of == vector:
        return value
    return _splat(builder, context.cast(builder, value, of, types.float32))


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once on every processor that can, twice on those that cannot."""
    function = _function(builder, f"llvm.fmuladd.v{LANES}f32", _FLOATS, [_FLOATS] * 3)
    return builder.call(function, [a, b, c])


def _is_number(kind: Any) -> bool:
    return kind == vector or isinstance(kind, types.Float)


# --- Vectors ---------------------------------------------------------------------------------------------


def _operator(operation: Any, instruction: str) -> None:
    """Teach Numba ``operation`` on two vectors, or on a vector and a float."""

    @infer_global(operation)
    class Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and vector in args and all(map(_is_number, args)):
                return signature(vector, *args)
            return None

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
    return _elementwise(_multiply_add, a, b, c)


@intrinsic
def maximum(typingctx, a, b):
    """The larger of a and b, lane by lane."""
    return _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b), a, b)


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of a and b, lane by lane."""
    return _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b), a, b)


@intrinsic
def magnitude(typingctx, a):
    """|a|."""

    def emit(builder, a):
        bits = builder.and_(builder.bitcast(a, _INTS), _constant(0x7FFFFFFF))
        return builder.bitcast(bits, _FLOATS)

    return _elementwise(emit, a)


# Adding this number to a float of less than 2^22 pushes its fraction out of the mantissa: what remains is
# the nearest integer, in the low bits.
ROUNDER = np.float32(1.5 * 2**23)


@intrinsic
def times_power_of_two(typingctx, a, rounded):
    """a * 2^n, where ``rounded`` is n + ROUNDER; n goes straight into the exponent's bits."""

    def emit(builder, a, rounded):
        exponent = builder.shl(builder.bitcast(rounded, _INTS), _constant(23))
        return builder.bitcast(builder.add(builder.bitcast(a, _INTS), exponent), _FLOATS)

    return _elementwise(emit, a, rounded)


@intrinsic
def splat(typingctx, a):
    """The float a in every lane."""
    return _elementwise(lambda builder, a: a, a)


@intrinsic
def first_lanes(typingctx, a, count, fill):
    """a in the first ``count`` lanes, ``fill`` in the others."""

    def codegen(context, builder, sig, args):
        limit = _splat(builder, builder.trunc(args[1], _I32))
        inside = builder.icmp_signed("<", ir.Constant(_INTS, list(range(LANES))), limit)
        return builder.select(inside, args[0], _floats(context, builder, args[2], sig.args[2]))

    return vector(vector, types.int64, types.float32), codegen


def _reduce(emit):
    """A scalar from all lanes: the upper half onto the lower half until one lane is left."""

    def codegen(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(_I32, width), list(range(start, start + width)))
                )
                for start in (0, width)
            ]
            value = emit(builder, *halves)
        return builder.extract_element(value, _I32(0))

    return types.float32(vector), codegen


@intrinsic
def lane_sum(typingctx, a):
    """The sum of all lanes, a float32."""
    return _reduce(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def lane_maximum(typingctx, a):
    """The largest lane, a float32."""
    return _reduce(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


# --- Memory ----------------------------------------------------------------------------------------------


@intrinsic
def address(typingctx, array):
    """The byte address of an array's first element, an int64."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _I64)

    return types.int64(array), codegen


@intrinsic
def load(typingctx, where):
    """The LANES float32 at an address."""

    def codegen(context, builder, sig, args):
        return _load(builder, args[0], _FLOATS, 4)

    return vector(types.int64), codegen


@intrinsic
def load_float(typingctx, where):
    """The float32 at an address."""

    def codegen(context, builder, sig, args):
        return _load(builder, args[0], _F32, 4)

    return types.float32(types.int64), codegen


@intrinsic
def store_float(typingctx, where, value):
    """Write one float32 to an address."""

    def codegen(context, builder, sig, args):
        _store(builder, args[0], args[1], 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def load_int(typingctx, where):
    """The int32 at an address, as int64."""

    def codegen(context, builder, sig, args):
        return builder.sext(_load(builder, args[0], _I32, 4), _I64)

    return types.int64(types.int64), codegen


@intrinsic
def load_difference(typingctx, where, subtrahends):
    """LANES int32 minus LANES int32, exactly, then as float32."""

    def codegen(context, builder, sig, args):
        a, b = (_load(builder, where, _INTS, 4) for where in args)
        return builder.sitofp(builder.sub(a, b), _FLOATS)

    return vector(types.int64, types.int64), codegen


@intrinsic
def store(typingctx, where, value):
    """Write LANES float32 to an address."""

    def codegen(context, builder, sig, args):
        _store(builder, args[0], args[1], 4)
        return context.get_dummy_value()

    return types.void(types.int64, vector), codegen


def _round_to_bfloat16(builder, value):
    """The upper halves of the float32 lanes, rounded to nearest, ties to even."""
    bits = builder.bitcast(value, _INTS)
    odd = builder.and_(builder.lshr(bits, _constant(16)), _constant(1))
    rounded = builder.add(bits, builder.add(odd, _constant(0x7FFF)))
    return builder.trunc(builder.lshr(rounded, _constant(16)), ir.VectorType(_I16, LANES))


@intrinsic
def store_as(typingctx, array, where, value):
    """Write LANES values of the type of ``array`` (float32, or uint16 for bfloat16) to an address."""
    narrow = array.dtype == types.uint16

    def codegen(context, builder, sig, args):
        value = _round_to_bfloat16(builder, args[2]) if narrow else args[2]
        _store(builder, args[1], value, 2 if narrow else 4)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), codegen


@intrinsic
def store_low_bytes(typingctx, where, value):
    """Write the lowest byte of every lane: LANES uint8 to an address."""

    def codegen(context, builder, sig, args):
        low = builder.trunc(builder.bitcast(args[1], _INTS), ir.VectorType(_I8, LANES))
        _store(builder, args[0], low, 1)
        return context.get_dummy_value()

    return types.void(types.int64, vector), codegen


@intrinsic
def transpose(typingctx, source, source_stride, target, target_stride):
    """Turn LANES rows of LANES 32-bit words into columns; the strides are bytes from row to row."""

    def codegen(context, builder, sig, args):
        source, source_stride, target, target_stride = args
        rows = [
            _load(builder, builder.add(source, builder.mul(source_stride, _I64(i))), _INTS, 4)
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
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(_INTS, upper))
                    rows[i + width] = builder.shuffle_vector(a, b, ir.Constant(_INTS, lower))
            width //= 2
        for i, row in enumerate(rows):
            _store(builder, builder.add(target, builder.mul(target_stride, _I64(i))), row, 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def interleave(typingctx, first, second, target):
    """From two rows a, b of PANEL 16-bit values write a0 b0 a1 b1 ...: the layout of a bfloat16 panel."""

    def codegen(context, builder, sig, args):
        row = ir.VectorType(_I16, PANEL)
        a, b = (_load(builder, where, row, 2) for where in args[:2])
        order = [i // 2 + PANEL * (i % 2) for i in range(2 * PANEL)]
        mixed = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, 2 * PANEL), order))
        _store(builder, args[2], mixed, 2)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


# --- Micro-kernels ---------------------------------------------------------------------------------------
# Each kind multiplies rows of A by one panel of B, B's values packed as [steps][PANEL][group]: one step takes
# `group` neighbours along the inner dimension. A step is described by
#   spread(builder, address) -> what one row of A contributes to a step, ready in all lanes
#   columns(builder, address) -> the two vectors of a step of the panel
#   accumulate(builder, sum, spread, columns) -> the new sum
# and by the bytes one step advances A and B. The dot instructions take operands of 32-bit words here, the
# older of their two forms, which every LLVM knows.


def _spread_word(builder, where):
    """32 bits of A (a float32, two bfloat16 or four uint8) in every lane."""
    return _splat(builder, _load(builder, where, _I32, 1))


def _two_vectors(of):
    """Loader of a step's two vectors of the LLVM type ``of``."""

    def columns(builder, where):
        size = PANEL_BYTES // 2 if of.element.width == 32 else of.count
        return [_load(builder, builder.add(where, _I64(half * size)), of, 1) for half in (0, 1)]

    return columns


def _accumulate_float32(builder, total, a, b):
    return _multiply_add(builder, builder.bitcast(a, _FLOATS), builder.bitcast(b, _FLOATS), total)


def _accumulate_bfloat16_dot(builder, total, a, b):
    """Both products of a pair by one instruction."""
    dot = _function(builder, "llvm.x86.avx512bf16.dpbf16ps.512", _FLOATS, [_FLOATS, _INTS, _INTS])
    return builder.call(dot, [total, a, b])


def _accumulate_int8_dot(builder, total, a, b):
    """Four products of uint8 by int8, summed into int32 by one instruction."""
    dot = _function(builder, f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", _INTS, [_INTS, _INTS, _INTS])
    return builder.call(dot, [total, a, b])


def _spread_float32_pair(builder, where):
    return [_splat(builder, _load(builder, builder.add(where, _I64(4 * i)), _F32, 4)) for i in (0, 1)]


def _accumulate_bfloat16_wide(builder, total, a, b):
    """A in float32; each bfloat16 of B widens to float32 by moving to the upper half of its word."""
    even = builder.shl(b, _constant(16))
    odd = builder.and_(b, _constant(0xFFFF0000))
    total = _multiply_add(builder, a[0], builder.bitcast(even, _FLOATS), total)
    return _multiply_add(builder, a[1], builder.bitcast(odd, _FLOATS), total)


def _spread_byte_pair(builder, where):
    """Two uint8 of A as two int16 in every lane."""
    low, high = (builder.zext(_load(builder, builder.add(where, _I64(i)), _I8, 1), _I32) for i in (0, 1))
    return _splat(builder, builder.or_(low, builder.shl(high, _I32(16))))


def _accumulate_int8_wide(builder, total, a, b):
    """Two products of int16 by int16, summed into int32: x86's pmaddwd, which LLVM finds in this pattern."""
    shorts, ints = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, 2 * LANES)
    products = builder.mul(
        builder.sext(builder.bitcast(a, shorts), ints), builder.sext(builder.sext(b, shorts), ints)
    )
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(_INTS, list(range(start, 2 * LANES, 2))))
        for start in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def _kind(dtype):
    """(spread, columns, accumulate, type of the sums, bytes a step of A, of B) for panels of this type."""
    words, pairs = _two_vectors(_INTS), _two_vectors(ir.VectorType(_I8, 2 * LANES))
    if dtype == types.float32:
        return _spread_word, words, _accumulate_float32, _FLOATS, 4, PANEL_BYTES
    if dtype == types.uint16 and BFLOAT16_DOT:
        return _spread_word, words, _accumulate_bfloat16_dot, _FLOATS, 4, PANEL_BYTES
    if dtype == types.uint16:
        return _spread_float32_pair, words, _accumulate_bfloat16_wide, _FLOATS, 8, PANEL_BYTES
    if INT8_DOT:
        return _spread_word, words, _accumulate_int8_dot, _INTS, 4, PANEL_BYTES
    return _spread_byte_pair, pairs, _accumulate_int8_wide, _INTS, 2, PANEL_BYTES // 2


def _tile(height):
    """The micro-kernel of ``height`` rows: C = A B over the steps from ``first`` to ``last``, all by address.

    The sum starts at zero; if ``first`` is not 0 it is added to what stands in C, else C is overwritten. The
    type of the array ``panels`` says what is multiplied.
    """

    @intrinsic
    def tile(typingctx, panels, a, a_stride, b, first, last, c, c_stride):
        spread, columns, accumulate, total, a_step, b_step = _kind(panels.dtype)

        def codegen(context, builder, sig, args):
            _, a, a_stride, b, first, last, c, c_stride = args
            entry = builder.block
            loop = builder.append_basic_block("steps")
            done, add, write, end = (builder.append_basic_block(n) for n in ("done", "add", "write", "end"))
            rows = [builder.add(a, builder.mul(a_stride, _I64(i))) for i in range(height)]
            builder.branch(loop)

            builder.position_at_end(loop)
            step = builder.phi(_I64)
            step.add_incoming(first, entry)
            totals = [builder.phi(total) for _ in range(2 * height)]
            for phi in totals:
                phi.add_incoming(ir.Constant(total, None), entry)
            panel = columns(builder, builder.add(b, builder.mul(step, _I64(b_step))))
            results: list[Any] = []
            for row in rows:
                value = spread(builder, builder.add(row, builder.mul(step, _I64(a_step))))
                for column in panel:
                    results.append(accumulate(builder, totals[len(results)], value, column))
            following = builder.add(step, _I64(1))
            step.add_incoming(following, loop)
            for phi, result in zip(totals, results, strict=True):
                phi.add_incoming(result, loop)
            builder.cbranch(builder.icmp_signed("<", following, last), loop, done)

            builder.position_at_end(done)
            targets = [
                builder.add(builder.add(c, builder.mul(c_stride, _I64(i // 2))), _I64(i % 2 * VECTOR_BYTES))
                for i in range(len(results))
            ]
            builder.cbranch(builder.icmp_signed("==", first, _I64(0)), write, add)
            builder.position_at_end(add)
            plus = builder.fadd if total is _FLOATS else builder.add
            for target, result in zip(targets, results, strict=True):
                _store(builder, target, plus(_load(builder, target, total, 4), result), 4)
            builder.branch(end)
            builder.position_at_end(write)
            for target, result in zip(targets, results, strict=True):
                _store(builder, target, result, 4)
            builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(panels, *[types.int64] * 7), codegen

    return tile


tile = _tile(TILE_ROWS)
tile_middle = _tile(MIDDLE_ROWS)
tile_small = _tile(SMALL_ROWS)


# --- Threads ---------------------------------------------------------------------------------------------


@intrinsic
def atomic_add(typingctx, where, value):
    """Add to the int64 at an address; returns what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, where):
    """The int64 at an address, and all that was written before it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def relax(typingctx):
    """Tell the processor that this is a waiting loop, so that its other thread gets more of the core."""

    def codegen(context, builder, sig, args):
        if _TRIPLE.startswith(("x86_64", "i686")):
            builder.call(_function(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif _TRIPLE.startswith(("aarch64", "arm64")):
            builder.call(_function(builder, "llvm.aarch64.hint", ir.VoidType(), [_I32]), [_I32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def nap(typingctx):
    """Sleep as shortly as the system can, some tens of microseconds."""

    def codegen(context, builder, sig, args):
        name, duration = ("Sleep", 1) if sys.platform == "win32" else ("usleep", 1)
        builder.call(_function(builder, name, _I32, [_I32]), [_I32(duration)])
        return context.get_dummy_value()

    return types.void(), codegen


def _futex(builder, where, operation, value):
    """Linux's system call to sleep on a word in memory, and to wake who sleeps on it."""
    known = builder.module.globals.get("syscall")
    call = known or ir.Function(builder.module, ir.FunctionType(_I64, [_I64], var_arg=True), "syscall")
    number = 202 if _TRIPLE.startswith("x86_64") else 98  # 98: the number on all newer architectures
    builder.call(call, [_I64(number), where, _I64(operation | 128), value, _I64(0)])  # 128: within a process


@intrinsic
def sleep_on(typingctx, where, old):
    """Sleep while the int64 at an address is ``old``, or for a short time; it may also end at once."""

    def codegen(context, builder, sig, args):
        if sys.platform == "linux":
            _futex(builder, args[0], 0, args[1])
        else:
            builder.call(_function(builder, "usleep", _I32, [_I32]), [_I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def wake_all(typingctx, where):
    """Wake all threads that sleep on an address."""

    def codegen(context, builder, sig, args):
        if sys.platform == "linux":
            _futex(builder, args[0], 1, _I64(2**31 - 1))
        return context.get_dummy_value()

    return types.void(types.int64), codegen
