"""How close each kernel comes to the processor's peak; every kernel is verified first.

    python bench/ops.py [--json FILE]

A product's GFLOP/s stand beside those of the bare micro-kernel on data in the first cache, measured in turns
with it: that is the most this core can do at this moment. A row-wise kernel's GB/s (read and written) stand
beside those of a copy of the same arrays. Medians of ROUNDS rounds.

Each is measured on one core while the others are idle. Since cores share caches, memory and power, it is then
measured on all of them at once, each with arrays of its own: that figure too is of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import machine
import numba
import numpy as np
import numpy.typing as npt

from minigte.engine import simd
from minigte.engine.activations import LOG2_E, gelu
from minigte.engine.attention import attention
from minigte.engine.finishes import GELU, LINEAR
from minigte.engine.formats import format_of
from minigte.engine.jit import kernel
from minigte.engine.linear import Rotation, linear, multiply
from minigte.engine.outliers import MOST
from minigte.engine.rows import convert, normalize, softmax
from minigte.engine.simd import PANEL, address, load, matrices_begin, matrices_end, store
from minigte.engine.target import LEVEL
from minigte.engine.weights import pack_matrix, to_bfloat16
from minigte.reference import ops
from minigte.runtime import memory

Float32 = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

DTYPES = ("float32", "bfloat16", "int8")
ROUNDS = 15
SECONDS = 0.02  # of one measurement
PAD = LEVEL.pad_rows
NONE = np.full(MOST, -1, np.int32)  # no outliers


class Case(NamedTuple):
    """One kernel on one shape."""

    name: str
    work: float  # floating point operations, or bytes, of one call
    unit: str
    call: Callable[[int], object]  # runs the kernel that many times
    error: float  # largest difference from the reference
    allowed: float
    roof: Case | None  # what it is compared with


# What products take that turn nothing.
UNTURNED = Rotation(np.empty((0, 2, 0), np.float32), np.empty(0, np.int64), 1)


def zeros(dtype: npt.DTypeLike, *shape: int) -> Array:
    """An aligned array of zeros."""
    return memory.zeros(shape, dtype)


@kernel
def repeat_tile(times, panels, a, c):
    """The micro-kernel alone."""
    matrices_begin(panels)
    for _ in range(times):
        multiply(
            panels,
            a.shape[0],
            address(a),
            a.strides[0],
            address(panels),
            panels.shape[0],
            address(c),
            c.strides[0],
        )
    matrices_end(panels)


@kernel
def repeat_linear(times, a, scales, matrix, finish, rotation, out, products, widened):
    """One linear layer."""
    for _ in range(times):
        linear(a, scales, matrix, 0, 0, matrix.panels.shape[1], finish, rotation, out, 0, products, widened)


@kernel
def repeat_attention(times, qkv, width, heads, scale, keys, values, scores, probs, sums, scratch, context):
    """All heads of one text."""
    for _ in range(times):
        for head in range(heads):
            attention(
                qkv,
                width,
                heads,
                head,
                scale,
                0,
                len(qkv),
                len(qkv),
                keys,
                values,
                scores,
                probs,
                sums,
                scratch,
                context,
            )


@kernel
def repeat_layer_norm(times, x, weight, bias):
    """Rows in place; the result is normalised again next time."""
    for _ in range(times):
        for i in range(len(x)):
            row = address(x) + i * x.strides[0]
            normalize(row, row, x.shape[1], address(weight), address(bias), np.float32(1e-12), True)


@kernel
def repeat_gelu(times, x, y):
    """The activation of every element."""
    for _ in range(times):
        for i in range(0, 4 * x.size, simd.VECTOR_BYTES):
            store(address(y) + i, gelu(load(address(x) + i)))


@kernel
def repeat_softmax(times, x, y):
    """Rows of scores."""
    for _ in range(times):
        for i in range(len(x)):
            shift = i * x.strides[0]
            size = x.shape[1]
            softmax(address(x) + shift, 0, size, 0, size, LOG2_E, 0, y, address(y) + shift)


@kernel
def repeat_convert(times, x, y, scales, outliers):
    """Rows to a product's input type."""
    for _ in range(times):
        convert(x, y, scales, outliers)


@kernel
def repeat_copy(times, x, y):
    """What memory allows."""
    for _ in range(times):
        for i in range(0, 4 * x.size, simd.VECTOR_BYTES):
            store(address(y) + i, load(address(x) + i))


def operand(x: Float32, dtype: str) -> tuple[Array, Float32]:
    """x (M, K) as a product of ``dtype`` reads it, and its scales."""
    rows = len(x)
    padded, scales = zeros(np.float32, rows + PAD, x.shape[1]), zeros(np.float32, rows + PAD, 1 + MOST)
    padded[:rows] = x
    narrow = {
        "float32": np.float32,
        "bfloat16": np.uint16 if LEVEL.bfloat16_dot else np.float32,
        "int8": format_of("int8", LEVEL).read,
    }
    if narrow[dtype] == np.float32:
        return padded[:rows], scales[:rows]
    target = zeros(narrow[dtype], *padded.shape)
    repeat_convert(1, padded, target, scales, NONE)
    return target[:rows], scales[:rows]


def peak(dtype: str) -> Case:
    """The micro-kernel on a tile whose operands lie in the first cache."""
    rng = np.random.default_rng(0)
    matrix = pack_matrix(
        1,
        PANEL,
        256,
        [(rng.normal(0, 1, (PANEL, 256)).astype(np.float32), np.zeros(PANEL, np.float32))],
        dtype,
        LEVEL,
    )
    rows = format_of(dtype, LEVEL).rows
    a, _ = operand(rng.normal(0, 1, (rows, 256)).astype(np.float32), dtype)
    c = zeros(np.int32 if dtype == "int8" else np.float32, rows, PANEL)
    panels = matrix.panels[0, 0]
    work = 2 * rows * PANEL * 256
    return Case(f"peak {dtype}", work, "GFLOP/s", lambda times: repeat_tile(times, panels, a, c), 0, 0, None)


def linear_case(rows: int, inputs: int, outputs: int, finish: int, dtype: str, roof: Case) -> Case:
    """One of gte-small's linear layers."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (rows, inputs)).astype(np.float32)
    weight = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float16).astype(np.float32)  # as it has
    bias = rng.normal(0, 1, outputs).astype(np.float32)
    matrix = pack_matrix(1, outputs, inputs, [(weight, bias)], dtype, LEVEL, stored="float16")
    a, scales = operand(x, dtype)
    out, products = zeros(np.float32, rows, outputs), zeros(np.float32, LEVEL.block_rows * PANEL)
    widened = zeros(np.float32, inputs * PANEL)
    repeat_linear(1, a, scales, matrix, finish, UNTURNED, out, products, widened)
    wanted = ops.linear(x, weight, bias)
    if finish == GELU:
        wanted = ops.gelu(wanted)
    return Case(
        f"linear {dtype} ({rows}, {inputs}) -> {outputs}{' gelu' if finish == GELU else ''}",
        2 * rows * inputs * outputs,
        "GFLOP/s",
        lambda times: repeat_linear(times, a, scales, matrix, finish, UNTURNED, out, products, widened),
        float(abs(out - wanted).max()),
        {"float32": 1e-5, "bfloat16": 0.03, "int8": 0.15}[dtype],
        roof,
    )


def attention_case(length: int, head_size: int, kind: type, roof: Case) -> Case:
    """All heads of one text of a model 384 wide."""
    heads = 384 // head_size
    parts = np.random.default_rng(0).normal(0, 1, (3, heads, length, head_size)).astype(np.float32)
    qkv = np.zeros((length + PAD, 3 * 384), np.float32)
    qkv[:length] = parts.transpose(2, 0, 1, 3).reshape(length, -1)
    packed = zeros(kind, *qkv.shape)
    packed[:] = to_bfloat16(qkv) if kind is np.uint16 else qkv
    longest = -(-length // PANEL) * PANEL
    at_once = LEVEL.rows(narrow=kind is not np.float32)
    scores, context = zeros(np.float32, at_once, longest), zeros(np.float32, length, 384)
    probs = scores if kind is np.float32 else zeros(kind, at_once, longest)
    arguments = (
        packed[:length],
        head_size,
        heads,
        LOG2_E / np.float32(math.sqrt(head_size)),
        zeros(kind, longest * head_size),
        zeros(kind, (longest + 1) * head_size),
        scores,
        probs,
        zeros(np.float32, at_once),
        zeros(np.float32, at_once * PANEL),
        context,
    )
    repeat_attention(1, *arguments)
    wanted = np.matmul(ops.softmax(ops.attention_scores(*parts[:2], 1 / math.sqrt(head_size))), parts[2])
    got = context.reshape(length, heads, head_size).transpose(1, 0, 2)
    name = "bfloat16" if kind is np.uint16 else "float32"
    return Case(
        f"attention {name} {length} tokens, {heads} heads of {head_size}",
        4 * length * length * 384,
        "GFLOP/s",
        lambda times: repeat_attention(times, *arguments),
        float(abs(got - wanted).max()),
        2e-6 if kind is np.float32 else 0.03,
        roof,
    )


def rows_cases() -> list[Case]:
    """Row-wise kernels on (64, 384), which the second cache holds."""
    x = zeros(np.float32, 64, 384)
    x[:] = np.random.default_rng(0).normal(0, 1, x.shape)
    y, scales = zeros(np.float32, *x.shape), zeros(np.float32, 64, 1 + MOST)
    q = zeros(format_of("int8", LEVEL).read, *x.shape)
    weight, bias = np.ones(384, np.float32), np.zeros(384, np.float32)
    normalised = x.copy()
    copy = Case("copy", 2 * x.nbytes, "GB/s", lambda times: repeat_copy(times, x, y), 0, 0, None)
    repeat_layer_norm(1, normalised, weight, bias)
    repeat_convert(1, x, q, scales, NONE)

    def after(run: Callable[[int], object], wanted: Float32) -> float:
        run(1)
        return float(abs(y - wanted).max())

    def gelu(times: int) -> None:
        repeat_gelu(times, x, y)

    def exponentials(times: int) -> None:
        repeat_softmax(times, x, y)

    sums = np.exp(x - x.max(axis=1, keepdims=True))  # softmax leaves the division to the product that follows
    moved, moved_int8 = 2 * x.nbytes, x.nbytes + q.nbytes
    return [
        copy,
        Case(
            "layer norm",
            moved,
            "GB/s",
            lambda n: repeat_layer_norm(n, normalised, weight, bias),
            float(abs(normalised - ops.layer_norm(x, weight, bias, 1e-12)).max()),
            2e-6,
            copy,
        ),
        Case("gelu", moved, "GB/s", gelu, after(gelu, ops.gelu(x)), 1e-6, copy),
        Case("softmax", moved, "GB/s", exponentials, after(exponentials, sums), 1e-6, copy),
        Case(
            "quantize rows",
            moved_int8,
            "GB/s",
            lambda n: repeat_convert(n, x, q, scales, NONE),
            float((abs((q.astype(np.float32) - 128) * scales[:, :1] - x) / scales[:, :1]).max()),
            0.501,
            copy,
        ),
    ]


def cases() -> list[Case]:
    """All of them, each roof before what is compared with it."""
    roofs = {dtype: peak(dtype) for dtype in DTYPES}
    found = list(roofs.values())
    for dtype, roof in roofs.items():
        for rows in (252, 10):
            for inputs, outputs, finish in (
                (384, 1152, LINEAR),
                (384, 384, LINEAR),
                (384, 1536, GELU),
                (1536, 384, LINEAR),
            ):
                found.append(linear_case(rows, inputs, outputs, finish, dtype, roof))
    kinds = [(np.float32, roofs["float32"])]
    if LEVEL.bfloat16_dot:
        kinds.append((np.uint16, roofs["bfloat16"]))
    for kind, roof in kinds:
        for length, head_size in ((11, 32), (349, 32), (349, 64)):
            found.append(attention_case(length, head_size, kind, roof))
    return found + rows_cases()


def speed(case: Case, times: int) -> float:
    """Billions of units of work a second."""
    start = time.perf_counter()
    case.call(times)
    return case.work * times / (time.perf_counter() - start) / 1e9


def repetitions(found: list[Case]) -> dict[str, int]:
    """Verify all; how often each is called in a measurement."""
    for case in found:
        if not case.error <= case.allowed:
            raise SystemExit(f"{case.name}: differs from the reference by {case.error:.2g}")
    times = {}
    for case in found:
        speed(case, 1)  # compiles it
        times[case.name] = max(1, int(speed(case, 10) * 1e9 * SECONDS / case.work))
    return times


def measure(found: list[Case]) -> dict[str, list[float]]:
    """The speed of each on one core in ROUNDS rounds, in turns: name -> one figure a round."""
    times = repetitions(found)
    raw: dict[str, list[float]] = {case.name: [] for case in found}
    for _ in range(ROUNDS):
        for case in found:
            raw[case.name].append(speed(case, times[case.name]))
    return raw


def measure_together(copies: list[list[Case]]) -> dict[str, list[float]]:
    """The same of one core while each of the others runs its own copy of the case."""
    times, *_ = map(repetitions, copies)
    raw: dict[str, list[float]] = {name: [] for name in times}
    with ThreadPoolExecutor(len(copies)) as cores:
        for _ in range(ROUNDS):
            for several in zip(*copies, strict=True):
                name = several[0].name
                raw[name].append(statistics.mean(cores.map(speed, several, [times[name]] * len(several))))
    return raw


def processor() -> str:
    """The processor that Numba compiles for, as LLVM calls it."""
    return numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()


def main() -> None:
    """Verify, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    arguments = parser.parse_args()

    copies = [cases() for _ in range(os.cpu_count() or 1)]
    found = copies[0]
    raw, together = measure(found), measure_together(copies)

    print(f"{processor()}: {', '.join(map(LEVEL.instructions, DTYPES))}; numba {numba.__version__}")
    print(f"{'':52}{'median':>9}{'best':>9}{'all cores':>11}         {'of peak':>8}  {'error':>8}")
    for case in found:
        figures = raw[case.name]
        share = ""
        if case.roof is not None:
            ratios = (a / b for a, b in zip(figures, raw[case.roof.name], strict=True))
            share = f"{statistics.median(ratios):8.0%}"
        middle, beside = statistics.median(figures), statistics.median(together[case.name])
        speeds = f"{middle:9.1f}{max(figures):9.1f}{beside:11.1f}"
        print(f"{case.name:52}{speeds} {case.unit:8}{share:>8}  {case.error:8.1e}")
    if arguments.json:
        rows = [
            {
                **{"name": case.name, "unit": case.unit, "error": case.error},
                **{"rounds": raw[case.name], "together": together[case.name]},
            }
            for case in found
        ]
        result = {"processor": processor(), "cpu": machine.facts()["cpu"], "cases": rows}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
