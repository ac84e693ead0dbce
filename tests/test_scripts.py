"""Short runs of scripts of bench/ and tools/ that neither another test nor a target of CI runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT


def run(script: str, *arguments: str, short: str = "") -> str:
    """The script's main function, after the lines ``short`` that make less of its work; what it prints."""
    folder, name = script.split("/")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / folder)!r}]; sys.argv = {[name, *arguments]!r}\n"
        f"import {name}\n{short}\n{name}.main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_kernels_are_verified_and_measured(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    file = tmp_path / "ops.json"
    short = "ops.ROUNDS, ops.SECONDS = 1, 1e-4"
    assert "linear float32" in run("bench/ops", "--json", str(file), short=short)
    cases = json.loads(file.read_text())["cases"]
    assert all(rate > 0 for case in cases for rate in case["rounds"])


def test_the_polynomials_are_fitted() -> None:
    script = ROOT / "tools" / "fit_polynomials.py"
    process = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=100, check=True
    )
    assert "e-0" in process.stdout
