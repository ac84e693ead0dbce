"""The same tests on the kernels of other processors, and built kernels beside those that Numba compiles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigte.engine.level import levels_of
from minigte.engine.processor import machine
from minigte.engine.target import FEATURES

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LEVELS = levels_of(machine())
if machine() == "x86_64":  # for which nothing is built: Sandy Bridge and its like, where Numba compiles
    LEVELS["avx"] = frozenset({"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx"})


def environment(level: str) -> dict[str, str]:
    """For a process in which Numba compiles for this level."""
    features = ",".join(f"+{name}" for name in sorted(LEVELS[level]))
    cpu = {"x86_64": "x86-64"}.get(machine(), "generic")
    chosen = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "MINIGTE_TEST_BACKEND": "jit"}
    return {**os.environ, **chosen, "PYTHONPATH": os.pathsep.join(sys.path)}


def require(level: str) -> None:
    if level not in LEVELS:
        pytest.skip(f"no level of {machine()}")
    if not LEVELS[level] <= FEATURES:
        pytest.skip(f"this machine cannot run the code of {level}")


def run(level: str, *tests: str) -> None:
    """These tests of this folder, in a process in which Numba compiles for this level."""
    require(level)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += [str(HERE / test) for test in tests]
    done = subprocess.run(command, env=environment(level), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# 256-bit vectors in 16 registers; 128-bit vectors without a fused product.
@pytest.mark.nightly
@pytest.mark.parametrize("level", ["avx2", "sse2"])
def test_everything_holds_on(level: str) -> None:
    run(level, "test_kernels.py", "test_forward.py", "test_invariance.py", "test_not_finite.py")


# Cascade Lake and Ice Lake, without bfloat16; Skylake servers, without VNNI too; Haswell and its like;
# 256-bit floats alone; the least. What differs is in the kernels; one forward pass in int8, whose value
# projection is bfloat16, puts them together.
@pytest.mark.parametrize("level", ["avx512-vnni", "avx512", "avx2", "avx", "sse2"])
def test_kernels_and_a_forward_pass_hold_on(level: str) -> None:
    run(level, "test_kernels.py", "test_forward.py::test_equals_the_reference[head size 64-int8]")


@pytest.mark.parametrize(
    ("level", "dtype", "instructions"),
    [
        ("avx512-vnni", "bfloat16", "avx512, bfloat16 widened to float32"),
        ("avx512-vnni", "int8", "avx512 + vnni"),
        ("avx512", "int8", "avx512, int8 widened to int16"),
        ("avx2", "float32", "avx2"),
        ("avx2", "bfloat16", "avx2, bfloat16 widened to float32"),
        ("avx2", "int8", "avx2, int8 widened to int16"),
        ("avx", "int8", "avx, int8 widened to int16"),
        ("sse2", "int8", "sse2, int8 widened to int16"),
    ],
)
def test_the_instructions_are_named(level: str, dtype: str, instructions: str) -> None:
    require(level)
    code = f"from minigte.engine.target import LEVEL; print(LEVEL.instructions({dtype!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(level), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == instructions
