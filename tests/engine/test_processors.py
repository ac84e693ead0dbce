"""The same tests on the kernels of other processors, and built kernels beside those that Numba compiles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigte.engine.level import levels_of
from minigte.engine.processor import machine
from minigte.engine.target import FEATURES

HERE = Path(__file__).parent
LEVELS = levels_of(machine())


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


# 256-bit vectors in 16 registers; 128-bit vectors without a fused product.
@pytest.mark.parametrize("level", ["avx2", "sse2"])
def test_everything_holds_on(level: str) -> None:
    require(level)
    files = [HERE / f"test_{name}.py" for name in ("kernels", "forward", "invariance", "not_finite")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, env=environment(level), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("level", "dtype", "instructions"),
    [
        ("avx2", "float32", "avx2"),
        ("avx2", "bfloat16", "avx2, bfloat16 widened to float32"),
        ("avx2", "int8", "avx2, int8 widened to int16"),
        ("sse2", "int8", "sse2, int8 widened to int16"),
    ],
)
def test_the_instructions_are_named(level: str, dtype: str, instructions: str) -> None:
    require(level)
    code = f"from minigte.engine.target import LEVEL; print(LEVEL.instructions({dtype!r}))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(level), capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == instructions
