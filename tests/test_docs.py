"""The course is true: its code prints what it shows; its exercises have right answers, and only those."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
from conftest import ROOT

DOCS = ROOT / "docs"
EXERCISES = DOCS / "exercises"

pytestmark = pytest.mark.usefixtures("model_by_name")

sys.path.insert(0, str(EXERCISES))
check = importlib.import_module("check")

ALL_EXERCISES = [(page, name) for page in check.PAGES for name in check.checks_of(page)]


def run_check(monkeypatch: pytest.MonkeyPatch, page: int, file: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["check.py", str(page), str(file)])
    return check.main()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_python(page: Path) -> None:
    _, differences = pages.run_python(page)
    assert differences == ""


@pytest.mark.parametrize("page", sorted(DOCS.glob("[1-9]-*.md")), ids=lambda page: page.name)
def test_a_page_of_the_course_has_all_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = page.name[0]
    for part in (
        f"# {number} ",
        "**You need:**",
        "**After it you can:**",
        ">>> ",
        "```{literalinclude}",
        "## Exercises",
        f"check.py {number}",
    ):
        assert part in text, part
    written = re.findall(r"^\d\. `(\w+)`", text.partition("## Exercises")[2], re.MULTILINE)
    assert written == list(check.checks_of(int(number)))


@pytest.mark.parametrize("page", check.PAGES)
def test_our_answers_are_right(
    page: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_check(monkeypatch, page, EXERCISES / "solutions" / f"page{page}.py")
    assert (status, capsys.readouterr().out.splitlines()) == (0, said(page, "right"))


@pytest.mark.parametrize("page", check.PAGES)
def test_nothing_is_answered_in_advance(
    page: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_check(monkeypatch, page, EXERCISES / f"page{page}.py")
    assert (status, capsys.readouterr().out.splitlines()) == (1, said(page, "to do"))


def said(page: int, verdict: str) -> list[str]:
    """What the script prints where the verdict is the same for all exercises of a page."""
    names = list(check.checks_of(page))
    right = len(names) if verdict == "right" else 0
    return [*(f"{name}: {verdict}" for name in names), f"{right} of {len(names)} right"]


def spoilt(value: Any) -> Any:
    """Nearly this answer: one number a little off, one letter or item more."""
    if isinstance(value, str):
        return value + "s"
    if isinstance(value, (list, tuple)):
        return type(value)([*value, *value[:1]])
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, (int, np.integer)):
        return value + 1
    value = np.array(value, np.float32)
    value[(-1,) * value.ndim] += max(1e-3, abs(value).max() / 100)
    return value


@pytest.mark.parametrize(("page", "name"), ALL_EXERCISES)
def test_a_wrong_answer_fails(page: int, name: str) -> None:
    right = runpy.run_path(str(EXERCISES / "solutions" / f"page{page}.py"))[name]
    judge = check.checks_of(page)[name]
    assert check.verdict(judge, right) == "right"
    assert check.verdict(judge, lambda *given: spoilt(right(*given))).startswith("wrong: ")
    assert check.verdict(judge, lambda *given: None).startswith("wrong: ")
    assert check.verdict(judge, None).startswith("missing: ")


def test_the_script_as_a_reader_runs_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(:\n")
    command = [sys.executable, "docs/exercises/check.py"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "cwd": ROOT, "check": False}
    process = subprocess.run([*command, "1"], **options)
    assert (process.returncode, process.stdout.splitlines()) == (1, said(1, "to do"))
    process = subprocess.run([*command, "1", str(file)], **options)
    assert process.returncode == 1
    assert process.stderr.startswith("mine.py does not run: SyntaxError")
