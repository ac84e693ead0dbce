"""The rungs of page 7 are one product, page 9's team is one sum, and the tables show what was measured."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from places import ROOT

from minigte.backend import jit_missing

if jit_missing() is not None:
    pytest.skip(f"needs Numba: {jit_missing()}", allow_module_level=True)

sys.path[:0] = [str(ROOT / folder) for folder in ("examples/matmul", "examples/threads", "bench")]

RUNGS = sorted(path.stem for path in (ROOT / "examples" / "matmul").glob("rung*.py"))


@pytest.mark.parametrize("rows", [4, 28])
@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_is_the_same_product(name: str, rows: int) -> None:
    from minigte.engine.simd import PANEL

    rung = importlib.import_module(name)
    rng = np.random.default_rng(rows)
    a = rng.normal(0, 1, (rows, 96)).astype(np.float32)
    b = rng.normal(0, 1, (96, 3 * PANEL)).astype(np.float32)
    c = np.full((rows, 3 * PANEL), np.nan, np.float32)
    if name == "rung1_python":
        lists = a.tolist(), b.tolist(), c.tolist()
        rung.multiply(*lists)
        c[:] = lists[2]
    elif name == "rung9_threads":
        with ThreadPoolExecutor(1) as pool:
            rung.multiply(a, importlib.import_module("rung8_engine").pack(b), c, pool)
    else:
        rung.multiply(a, rung.pack(b) if hasattr(rung, "pack") else b, c)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=0, atol=2e-5)


def test_all_rungs_are_measured() -> None:
    assert list(importlib.import_module("rungs").RUNGS) == RUNGS


@pytest.mark.parametrize("size", [1, 1023, 1024, 5000])
def test_a_team_centres_numbers_with_the_same_bits(size: int) -> None:
    spmd = importlib.import_module("spmd")
    numbers = np.random.default_rng(size).normal(3, 1, size).astype(np.float32)
    alone = numbers.copy()
    assert spmd.centre(alone, 1) == 1
    np.testing.assert_allclose(alone, numbers - numbers.mean(dtype=np.float64), rtol=0, atol=1e-5)
    for threads in (2, 3, 5):
        x = numbers.copy()
        assert 1 <= spmd.centre(x, threads) <= threads
        np.testing.assert_array_equal(x, alone)


def test_the_tables_are_those_of_the_newest_results() -> None:
    course = importlib.import_module("course")
    for kind, functions in course.TABLES.items():
        result = course.newest(kind)
        for function in functions:
            shown = (course.RESULTS / kind / f"{function.__name__}.md").read_text(encoding="utf-8")
            assert function(result) == shown


@pytest.mark.parametrize("script", ["spmd", "threads"])
def test_a_helper_that_comes_too_late_meets_nobody(script: str) -> None:
    from minigte.engine.workspace import meeting_point

    module, meeting = importlib.import_module(script), meeting_point()
    x, sums = np.ones(2000, np.float32), np.empty(2, np.float32)

    def member(wanted: int) -> int:
        if script == "spmd":
            return module.centre_share(x, sums, meeting, wanted)
        return module.meet(meeting, wanted, 3)

    assert member(2) == 1  # nobody has come
    x[:] = 7
    sizes: list[int] = []
    helper = threading.Thread(target=lambda: sizes.append(member(0)), daemon=True)
    helper.start()
    helper.join(60)
    assert sizes == [0]
    assert (x == 7).all()
