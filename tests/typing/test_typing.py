"""``user.py`` as mypy and pyright see it. ``make check`` runs this: the checkers are in its environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.mark.parametrize(
    ("checker", "command"),
    [
        ("mypy", ["mypy", "--config-file", "pyproject.toml", "tests/typing/user.py"]),
        ("basedpyright", ["basedpyright", "--project", "tests/typing", "--pythonpath", sys.executable]),
    ],
    ids=["mypy", "pyright"],
)
def test_a_users_program(checker: str, command: list[str]) -> None:
    pytest.importorskip(checker, reason="make check installs it")
    process = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
