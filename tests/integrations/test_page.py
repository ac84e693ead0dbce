"""Every example of docs/integrations.md and docs/vector-stores.md, run: `make test-integrations`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pages import EXAMPLE
from places import ROOT

PAGES = [ROOT / "docs" / name for name in ("integrations.md", "vector-stores.md")]
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.usefixtures("model_by_name")


def examples() -> list:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in EXAMPLE.finditer(text):
            heading = re.findall(r"^## (.*)$", text[: match.start()], re.MULTILINE)[-1]
            found.append(pytest.param(*match.groups(), id=f"{page.stem}, {heading}"))
    return found


@pytest.mark.parametrize(("code", "shown"), examples())
def test_an_example_prints_what_the_page_shows(
    code: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE):
        pytest.importorskip(package, reason=f"{package} is missing: make test-integrations")
    if "sqlite_vec" in code and not hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.importorskip("pysqlite3", reason="this Python's SQLite loads no extensions")
        code = code.replace("import sqlite3\n", "import pysqlite3 as sqlite3\n")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    assert printed.getvalue() == shown


def test_the_commands() -> None:
    pytest.importorskip("llm", reason="llm is missing: make test-integrations")
    [commands] = CONSOLE.findall(PAGES[0].read_text(encoding="utf-8"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    folder = Path(os.environ["MINIGTE_CACHE"]) / "llm"
    folder.mkdir()
    for command in re.findall(r"^\$ (.*)$", commands, re.MULTILINE):
        process = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, "LLM_USER_PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, (command, process.stderr)
        last = process.stdout
    assert last.startswith('{"id": "1"')
