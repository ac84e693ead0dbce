"""The course is true: its code prints what it shows; its exercises have right answers, and only those."""

from __future__ import annotations

import importlib
import re
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


def run_check(page: int, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXERCISES / "check.py"), str(page), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def answers(file: Path) -> dict[str, Any]:
    return check.runpy.run_path(str(file))


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
def test_our_answers_are_right(page: int) -> None:
    process = run_check(page, EXERCISES / "solutions" / f"page{page}.py")
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("page", check.PAGES)
def test_nothing_is_answered_in_advance(page: int) -> None:
    process = run_check(page, EXERCISES / f"page{page}.py")
    assert process.returncode == 1
    names = list(check.checks_of(page))
    assert process.stdout.splitlines() == [f"{name}: to do" for name in names] + [f"0 of {len(names)} right"]


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
    right = answers(EXERCISES / "solutions" / f"page{page}.py")[name]
    judge = check.checks_of(page)[name]
    assert check.verdict(judge, right) == "right"
    assert check.verdict(judge, lambda *given: spoilt(right(*given))).startswith("wrong: ")
    assert check.verdict(judge, lambda *given: None).startswith("wrong: ")
    assert check.verdict(judge, None).startswith("missing: ")


def test_a_file_that_does_not_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(:\n")
    process = run_check(1, file)
    assert process.returncode == 1
    assert process.stderr.startswith("mine.py does not run: SyntaxError")
