"""README.md is true: its Python and its commands run, and print what is shown. And docs/'s commands."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.usefixtures("model_by_name")

# Inside a test: the demo without the environment around it, and not these tests once more.
STANDS_FOR = {
    "make demo": f"{sys.executable} {ROOT / 'examples' / 'demo.py'}",
    "make test": ":",
    "pip install .": ":",
}


def test_python():
    examples, differences = pages.run_python(ROOT / "README.md")
    assert examples > 5
    assert differences == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "least"),
    [("README.md", 6), ("docs/quick-start.md", 6), ("docs/explain.md", 2), ("docs/files.md", 15)],
)
def test_console(tmp_path, page, least):
    shown = "".join(block for kind, block in pages.blocks(ROOT / page) if kind == "console")
    commands = re.findall(r"^\$ (.*)$", shown, re.MULTILINE)
    assert len(commands) >= least
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = ""
    for command in commands:
        process = subprocess.run(
            ["bash", "-c", STANDS_FOR.get(command, command)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        printed += f"$ {command}\n{process.stdout}"
    assert printed == shown


@pytest.mark.files
def test_the_numbers_are_those_of_the_newest_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    report = importlib.import_module("report")
    newest = max((ROOT / "bench" / "results").glob("*.json"))
    assert report.summary(json.loads(newest.read_text())) in README
    assert f"bench/results/{newest.stem}-throughput.png" in README


@pytest.mark.files
def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_room_is_named():
    """README's map and CONTRIBUTING's paragraph have each folder of the package, and no other."""
    rooms = {path.parent.name for path in (ROOT / "minigte").glob("*/__init__.py")}
    mapped = re.findall(r"\[`(\w+)/`\]\(minigte/(\w+)\)", README)
    assert {name for name, target in mapped if name == target} == rooms
    laid_out = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## How the code is laid out")[2]
    )
    assert set(re.findall(r"`(\w+)/`", laid_out.partition("\n## ")[0])) == rooms
