"""The LLVM types of vectors, and the instructions that all generators of code share."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from minigte.engine.target import LEVEL

LANES, PANEL = LEVEL.lanes, LEVEL.panel
PANEL_BYTES = 4 * PANEL
VECTOR_BYTES = 4 * LANES

F32, F16, I8, I16, I32, I64 = ir.FloatType(), ir.HalfType(), *(ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


def load_at(builder: Any, where: Any, of: Any, align: int, offset: int = 0) -> Any:
    """The value of the LLVM type ``of`` at an address, or so many bytes behind it."""
    pointer = builder.inttoptr(where, I8.as_pointer())
    if offset:  # not added to the address: WebAssembly's instructions hold an offset that cannot overflow
        pointer = builder.gep(pointer, [I64(offset)], inbounds=True)
    value = builder.load(builder.bitcast(pointer, of.as_pointer()))
    value.align = align
    return value


def store_at(builder: Any, where: Any, value: Any, align: int) -> None:
    """Write a value to an address."""
    builder.store(value, builder.inttoptr(where, value.type.as_pointer())).align = align


def prefetch_at(builder: Any, where: Any) -> None:
    """Ask for the cache line of an address, into the second cache; any address may be asked for."""
    pointer = I8.as_pointer()
    function = function_named(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, I32, I32, I32])
    builder.call(function, [builder.inttoptr(where, pointer), I32(0), I32(2), I32(1)])


def in_every_lane(builder: Any, scalar: Any) -> Any:
    """The scalar in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INTS, [0] * LANES))


def constant(value: int) -> Any:
    """The integer in every lane."""
    return ir.Constant(INTS, [value] * LANES)


def function_named(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """The module's declaration of a function, made when it is first asked for."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once on every processor that can, twice on those that cannot."""
    function = function_named(builder, f"llvm.fmuladd.v{LANES}f32", FLOATS, [FLOATS] * 3)
    return builder.call(function, [a, b, c])
