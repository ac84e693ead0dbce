"""Products in matrix registers (Intel's AMX), for the types and processors that have them.

There are eight registers of 16 rows of 64 bytes. One instruction multiplies 16 rows of A by 16 columns of B
and adds the products to 16 x 16 sums: of bfloat16 32 neighbours along the inner dimension at a time, of int8
64. Rows of A lie as they are, and B as ``tiles`` wants its panels. A tile is one or two registers high and
two wide.

Every row that is computed depends on its own row of A alone, so the rows that a register has beyond those of
a text are computed too, from whatever stands there, and ignored. Before products the registers are declared,
each with all that it can hold, and after them given back, so that changing threads costs no more than before.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from minigte.engine.level import MATRIX_BYTES, MATRIX_ROWS
from minigte.engine.simd.llvm import I8, I64, PANEL_BYTES, VECTOR_BYTES, function_named, prefetch_at
from minigte.engine.simd.tiles import CACHE_LINE, PREFETCH_BYTES
from minigte.engine.target import LEVEL

STEPS = MATRIX_BYTES // 4  # of 32 bits, which a register takes at once
SUMS, OF_A, OF_B = (0, 1, 2, 3), (4, 5), (6, 7)  # the registers


def _is_narrow(like):
    """Whether this array is of a type that has matrix registers; int16 is float16, which has none."""
    return like.dtype not in (types.float32, types.int16)


def _in_matrices(like):
    """Whether the type of this array is multiplied in matrix registers."""
    return LEVEL.matrices and _is_narrow(like)


def rows_at_once(like):
    """How many rows ``linear`` and ``attention`` multiply at a time, for panels of the type of ``like``."""
    raise NotImplementedError


@overload(rows_at_once)
def _(like):
    rows = LEVEL.rows(narrow=_is_narrow(like))
    return lambda like: rows


def whole_matrices(like, steps):
    """How many of these steps matrix registers take; those after them are for ``tile``."""
    raise NotImplementedError


@overload(whole_matrices)
def _(like, steps):
    if _in_matrices(like):
        return lambda like, steps: steps // STEPS * STEPS
    return lambda like, steps: 0


def steps_read(like, steps):
    """So many steps are read where there are this many; those beyond must multiply zeros by numbers."""
    raise NotImplementedError


@overload(steps_read)
def _(like, steps):
    if _in_matrices(like):
        return lambda like, steps: (steps + STEPS - 1) // STEPS * STEPS
    return lambda like, steps: steps


def _instruction(builder, name, *arguments):
    """One of AMX's instructions; those that name a register take its number."""
    kinds = [argument.type for argument in arguments]
    builder.call(function_named(builder, f"llvm.x86.{name}", ir.VoidType(), kinds), arguments)


def _pointer(builder, where):
    return builder.inttoptr(where, I8.as_pointer())


@intrinsic
def matrices_begin(typingctx, like):
    """Declare the registers, before products with panels of the type of ``like``."""
    uses = _in_matrices(like)

    def codegen(context, builder, sig, args):
        if uses:
            # Palette 1, then from byte 16 on the bytes of each register's rows, from byte 48 on its rows.
            columns = [MATRIX_BYTES, 0] * 8 + [0] * 16
            declared = [1, *[0] * 15, *columns, *[MATRIX_ROWS] * 8, *[0] * 8]
            kind = ir.ArrayType(I8, len(declared))
            name = "matrix.registers"
            constant = builder.module.globals.get(name)
            if constant is None:
                constant = ir.GlobalVariable(builder.module, kind, name)
                constant.linkage, constant.global_constant = "internal", True
                constant.initializer = ir.Constant(kind, declared)
            _instruction(builder, "ldtilecfg", builder.bitcast(constant, I8.as_pointer()))
        return context.get_dummy_value()

    return types.void(like), codegen


@intrinsic
def matrices_end(typingctx, like):
    """Give the registers back."""
    uses = _in_matrices(like)

    def codegen(context, builder, sig, args):
        if uses:
            _instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(like), codegen


def _sum_matrices(builder, registers, product, a, a_stride, b, steps, c, c_stride):
    """C = A B for 16 rows of A for each of ``registers``, over whole matrices, at least one."""
    entry = builder.block
    loop, done = builder.append_basic_block("matrices"), builder.append_basic_block("matrices.done")
    below = [builder.mul(I64(MATRIX_ROWS * i), a_stride) for i in range(registers)]
    sums = SUMS[: 2 * registers]
    for register in sums:
        _instruction(builder, "tilezero", I8(register))
    builder.branch(loop)

    builder.position_at_end(loop)
    step = builder.phi(I64)
    step.add_incoming(I64(0), entry)
    here = builder.add(b, builder.mul(step, I64(PANEL_BYTES)))
    if registers == 1:  # with few rows the weights are what is waited for
        for line in range(0, STEPS * PANEL_BYTES, CACHE_LINE):
            prefetch_at(builder, builder.add(here, I64(PREFETCH_BYTES + line)))
    for half, register in enumerate(OF_B):
        column = _pointer(builder, builder.add(here, I64(half * VECTOR_BYTES)))
        _instruction(builder, "tileloadd64", I8(register), column, I64(PANEL_BYTES))
    across = builder.add(a, builder.mul(step, I64(4)))
    for i, register in enumerate(OF_A[:registers]):
        row = _pointer(builder, builder.add(across, below[i]))
        _instruction(builder, "tileloadd64", I8(register), row, a_stride)
        for half, column in enumerate(OF_B):
            _instruction(builder, product, I8(sums[2 * i + half]), I8(register), I8(column))
    following = builder.add(step, I64(STEPS))
    step.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

    builder.position_at_end(done)
    for i in range(registers):
        row = builder.add(c, builder.mul(I64(MATRIX_ROWS * i), c_stride))
        for half in range(2):
            where = _pointer(builder, builder.add(row, I64(half * VECTOR_BYTES)))
            _instruction(builder, "tilestored64", I8(sums[2 * i + half]), where, c_stride)


@intrinsic
def matrix_tile(typingctx, like, height, a, a_stride, b, steps, c, c_stride):
    """C = A B over ``steps``, a multiple of what a register takes, for ``height`` <= 32 rows, by address.

    The type of the array ``like`` says what is multiplied. Whole registers are read and written: 16 rows, or
    32 where there are more.
    """
    uses = _in_matrices(like)
    product = "tdpbf16ps" if like.dtype == types.uint16 else "tdpbusd"  # uint8 of A by int8 of B

    def codegen(context, builder, sig, args):
        if not uses:
            return context.get_dummy_value()
        _, height, *rest = args
        one, two, end = (builder.append_basic_block(f"matrices.{name}") for name in ("one", "two", "end"))
        builder.cbranch(builder.icmp_signed("<=", height, I64(MATRIX_ROWS)), one, two)
        for registers, block in ((1, one), (2, two)):
            builder.position_at_end(block)
            _sum_matrices(builder, registers, product, *rest)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 7), codegen
