"""What threads share: atomic numbers, and waiting for them."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minigte.engine.simd.llvm import I32, I64, function_named
from minigte.engine.target import TRIPLE


@intrinsic
def atomic_add(typingctx, where, value):
    """Add to the int64 at an address; returns what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, where):
    """The int64 at an address, and all that was written before it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def relax(typingctx):
    """Tell the processor that this is a waiting loop, so that its other thread gets more of the core."""

    def codegen(context, builder, sig, args):
        if TRIPLE.startswith(("x86_64", "i686")):
            builder.call(function_named(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif TRIPLE.startswith(("aarch64", "arm64")):
            builder.call(function_named(builder, "llvm.aarch64.hint", ir.VoidType(), [I32]), [I32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


def _nap(builder):
    if "windows" in TRIPLE:
        builder.call(function_named(builder, "Sleep", ir.VoidType(), [I32]), [I32(1)])
    elif not TRIPLE.startswith("wasm32"):  # which has one thread, and nobody to wait for
        builder.call(function_named(builder, "usleep", I32, [I32]), [I32(1)])


@intrinsic
def nap(typingctx):
    """Sleep as shortly as the system can, some tens of microseconds."""

    def codegen(context, builder, sig, args):
        _nap(builder)
        return context.get_dummy_value()

    return types.void(), codegen


def _futex(builder, where, operation, value):
    """Linux's system call to sleep on a word in memory, and to wake who sleeps on it."""
    known = builder.module.globals.get("syscall")
    call = known or ir.Function(builder.module, ir.FunctionType(I64, [I64], var_arg=True), "syscall")
    number = 202 if TRIPLE.startswith("x86_64") else 98  # 98: the number on all newer architectures
    builder.call(call, [I64(number), where, I64(operation | 128), value, I64(0)])  # 128: within a process


@intrinsic
def sleep_on(typingctx, where, old):
    """Sleep while the int64 at an address is ``old``, or for a short time; it may also end at once."""

    def codegen(context, builder, sig, args):
        if "linux" in TRIPLE:
            _futex(builder, args[0], 0, args[1])
        else:
            _nap(builder)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def wake_all(typingctx, where):
    """Wake all threads that sleep on an address."""

    def codegen(context, builder, sig, args):
        if "linux" in TRIPLE:
            _futex(builder, args[0], 1, I64(2**31 - 1))
        return context.get_dummy_value()

    return types.void(types.int64), codegen
