"""The same tests on the kernels of other processors: Numba compiles for the one that is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigte.engine.target import FEATURES, LEVEL

HERE = Path(__file__).parent
PROCESSORS = {
    "haswell": "+sse2,+sse4.1,+avx,+avx2,+fma,+bmi,+bmi2",  # AVX2: 256-bit vectors, 16 registers
    "x86-64": "+sse2",  # 128-bit vectors, no fused multiply-add
}


def environment(processor: str) -> dict[str, str]:
    return {
        **os.environ,
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": PROCESSORS[processor],
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@pytest.mark.parametrize("processor", PROCESSORS)
def test_everything_holds_on(processor: str) -> None:
    if not {name[1:] for name in PROCESSORS[processor].split(",")} <= FEATURES:
        pytest.skip(f"this machine cannot run the code of a {processor}")
    files = [HERE / f"test_{name}.py" for name in ("kernels", "forward", "invariance", "not_finite")]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, env=environment(processor), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("processor", "dtype", "instructions"),
    [
        ("haswell", "float32", "avx2"),
        ("haswell", "bfloat16", "avx2, bfloat16 widened to float32"),
        ("haswell", "int8", "avx2, int8 widened to int16"),
        ("x86-64", "int8", "sse2, int8 widened to int16"),
    ],
)
def test_the_instructions_are_named(processor: str, dtype: str, instructions: str) -> None:
    if not LEVEL.vectors.startswith(("avx", "sse")):
        pytest.skip("not an x86 machine")
    command = [
        sys.executable,
        "-c",
        f"from minigte.engine.target import LEVEL; print(LEVEL.instructions({dtype!r}))",
    ]
    run = subprocess.run(command, env=environment(processor), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == instructions
