"""One product nine times, from three loops in Python to two threads: the files of examples/matmul, measured.

    python bench/rungs.py [--json FILE]

The product is the one that gte-small makes most of: (256, 384) times (384, 1536). Every rung is first
compared with the reference, then measured in turns with the others and with the peak of ``ops.py``; figures
are medians of ``ops.ROUNDS`` rounds. ``course.py`` makes the table and the picture of the course's page 7.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import machine
import numpy as np
import ops

from minigte.engine import simd
from minigte.engine.target import LEVEL
from minigte.reference.ops import linear

HERE = Path(__file__).resolve().parent
ROWS, INPUTS, OUTPUTS = 256, 384, 1536  # texts of 256 tokens, through the first half of the feed-forward
PYTHON_ROWS = 1  # of the product in Python, which costs the same for every row
ALLOWED = 1e-5  # largest difference from the reference
RUNGS = (
    "rung1_python",
    "rung2_numpy",
    "rung3_numba",
    "rung4_order",
    "rung5_blocks",
    "rung6_vectors",
    "rung7_panels",
    "rung8_engine",
    "rung9_threads",
)


def repeat(function: Callable[..., object], *arguments: object) -> Callable[[int], None]:
    """A call of ``function`` that is made some number of times."""

    def run(times: int) -> None:
        for _ in range(times):
            function(*arguments)

    return run


def cases(pool: ThreadPoolExecutor) -> list[ops.Case]:
    """The peak of one core and of two at once, and every rung, compared with the reference."""
    peak = ops.peak("float32")

    def on_two_cores(times: int) -> None:
        other = pool.submit(peak.call, times)
        peak.call(times)
        other.result()

    both = ops.Case("peak of two cores", 2 * peak.work, peak.unit, on_two_cores, 0, 0, None)
    found = [peak._replace(name="peak of one core"), both]

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (ROWS, INPUTS)).astype(np.float32)
    weight = rng.normal(0, INPUTS**-0.5, (OUTPUTS, INPUTS)).astype(np.float32)
    wanted = linear(x, weight)
    a, _ = ops.operand(x, "float32")
    b = np.ascontiguousarray(weight.T)
    for name in RUNGS:
        rung = importlib.import_module(name)
        arguments, rows = [a, b, ops.zeros(np.float32, ROWS, OUTPUTS)], ROWS
        if name == "rung1_python":
            rows = PYTHON_ROWS
            arguments = [
                array[:size].tolist() for array, size in zip(arguments, (rows, None, rows), strict=True)
            ]
        elif name == "rung7_panels" or name == "rung8_engine":
            arguments[1] = rung.pack(b)
        elif name == "rung9_threads":
            arguments[1] = importlib.import_module("rung8_engine").pack(b)
            arguments.append(pool)
        rung.multiply(*arguments)
        error = float(abs(np.asarray(arguments[2]) - wanted[:rows]).max())
        work, roof = 2 * rows * INPUTS * OUTPUTS, both if name == "rung9_threads" else found[0]
        found.append(ops.Case(name, work, "GFLOP/s", repeat(rung.multiply, *arguments), error, ALLOWED, roof))
    return found


def main() -> None:
    """Verify, measure, print."""
    from threadpoolctl import threadpool_info, threadpool_limits

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent / "examples" / "matmul"))
    busy = machine.busy()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as pool:
        blas = [f"{b['internal_api']} {b['version']} ({b['architecture']})" for b in threadpool_info()]
        found = cases(pool)
        raw = ops.measure(found)
    for case in found:
        print(f"{case.name:20}{median(raw[case.name]):10.3f} {case.unit}  {case.error:.1e}")
    if arguments.json:
        result = {
            "machine": machine.facts(),
            "busy_before": busy,
            "processor": ops.processor(),
            "vectors": LEVEL.instructions("float32"),
            "tile": [simd.TILE_ROWS, simd.PANEL],
            "blas": blas,
            "shape": [ROWS, INPUTS, OUTPUTS],
            "cases": [
                {"name": c.name, "work": c.work, "error": c.error, "rounds": raw[c.name]} for c in found
            ],
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
