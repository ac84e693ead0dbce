"""A program that PyInstaller has frozen: its vectors are right, with the kernels at hand or without any."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from places import ROOT

from minigte import Embedder
from minigte.backend import built_missing
from minigte.engine.library import file_name
from minigte.engine.processor import machine

pytestmark = pytest.mark.slow

pytest.importorskip("PyInstaller", reason="make test installs it")

UNUSED = ("numba", "llvmlite", "IPython", "matplotlib", "onnx", "pandas", "PIL", "polars", "pyarrow", "scipy")
UNUSED += ("sklearn", "uvicorn")

PROGRAM = """
import sys
import minigte
from minigte.explain.page import page
embedder = minigte.Embedder(sys.argv[1])
assert "<title>" in page(embedder.explain("the cat"))
print(embedder.backend_name, *map(repr, embedder.encode("the cat sat").tolist()))
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, frozen without Numba, and without what is imported for other uses of the package."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR"]
    command += ["--paths", str(ROOT), *(f"--exclude-module={name}" for name in UNUSED)]
    subprocess.run([*command, "program.py"], cwd=folder, capture_output=True, timeout=550, check=True)
    return folder / "dist" / "program"


def test_a_frozen_program(frozen: Path, tmp_path: Path) -> None:
    """With the kernels that the hook brought where they were built, and otherwise with NumPy."""
    model = tiny.write_model(tmp_path / "model")
    kernels = list(frozen.glob(f"_internal/minigte/engine/{file_name(sys.platform, machine())}*"))
    assert bool(kernels) == (built_missing() is None)
    expected = Embedder(model, backend="numpy").encode("the cat sat")
    for backend in ("built", "numpy") if kernels else ("numpy",):
        if backend == "numpy" and kernels:
            shutil.rmtree(kernels[0].parent)
        process = subprocess.run(
            [frozen / "program", model],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        name, *numbers = process.stdout.split()
        assert name == backend
        np.testing.assert_allclose(np.float32(numbers), expected, rtol=0, atol=1e-6)
