"""The docs are true: code prints what they show, what they quote is current, exercises have right answers."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
from places import ROOT

import minigte
from minigte.cli.main import cli

DOCS = ROOT / "docs"
EXERCISES = DOCS / "exercises"

pytestmark = pytest.mark.usefixtures("model_by_name")

sys.path[:0] = [str(EXERCISES), str(ROOT / "tools")]
check = importlib.import_module("check")
quote = importlib.import_module("quote")

ALL_EXERCISES = [(page, name) for page in check.PAGES for name in check.checks_of(page)]


def run_check(monkeypatch: pytest.MonkeyPatch, page: int, file: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["check.py", str(page), str(file)])
    return check.main()


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_python(page: Path) -> None:
    _, differences = pages.run_python(page)
    assert differences == ""


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_what_is_quoted_is_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == quote.quoted(text), "make quotes"


def test_a_quotation_is_found_and_replaced() -> None:
    page = "Before.\n\n<!-- quote tests/changed.py {} -->\nold\n<!-- end of quote -->\n\nAfter.\n"
    changed = (ROOT / "tests" / "changed.py").read_text(encoding="utf-8")
    names = re.findall(r"^def (\w+)", changed, re.MULTILINE)
    for name in names:
        new = quote.quoted(page.format(name))
        assert new.startswith(f"Before.\n\n<!-- quote tests/changed.py {name} -->\n```python\n")
        assert f"def {name}(" in new
        assert new.endswith("```\n<!-- end of quote -->\n\nAfter.\n")
        assert "old" not in new.partition("def ")[0]
        assert quote.quoted(new) == new
    assert names
    with pytest.raises(LookupError, match=r"tests/changed.py has no nothing"):
        quote.quoted(page.format("nothing"))
    with pytest.raises(LookupError, match=r"nowhere.py"):
        quote.quoted(page.format("x").replace("tests/changed.py", "nowhere.py"))
    with pytest.raises(ValueError, match="end of quote"):
        quote.quoted(page.format(names[0]).replace("<!-- end of quote -->", ""))


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    shown = re.findall(r"^<!-- docstring minigte\.(\w+) -->$", page, re.MULTILINE)
    assert sorted(shown) == sorted(minigte.__all__)
    assert set(re.findall(r"minigte\.explain\.(\w+)", page)) == {"Trace", "SimilarityTrace"}


def test_the_command_line_page_has_every_command() -> None:
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^<!-- help minigte (\w+) -->$", page, re.MULTILINE)) == sorted(cli.commands)


@pytest.mark.parametrize("name", ["reference.md", "command-line.md"])
def test_what_is_described_is_current(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    describe = importlib.import_module("describe")
    assert name in describe.PAGES
    assert page == describe.described(page), "make quotes"


@pytest.mark.files
def test_what_fewer_bits_cost_is_what_the_tables_show() -> None:
    tables = (DOCS / "quality.md").read_text(encoding="utf-8").partition("## thenlper/gte-small")[2]
    with_difference = (
        r" ([\d.]+) \([+-][\d.]+\) \|"  # to the published score, which is not ours to compare with
    )
    rows = re.findall(
        r"^\| .+ \| [\d.]+ \|" + 3 * with_difference + "$", tables.partition("\n## ")[0], re.MULTILINE
    )
    scores = [[float(score) for score in row] for row in rows]  # float32, bfloat16, int8 of each task
    assert len(scores) > 5
    largest = [max(abs(row[dtype] - row[0]) for row in scores) for dtype in (1, 2)]
    page = " ".join((DOCS / "precision-and-speed.md").read_text(encoding="utf-8").split())
    said = re.search(r"by at most ([\d.]+) points of 100, and int8 by at most ([\d.]+\d)", page)
    assert said is not None
    assert [f"{difference:.2f}" for difference in largest] == list(said.groups())


@pytest.mark.files
def test_the_gallery_shows_the_commands_of_its_pages() -> None:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    recordings = importlib.import_module("gallery").RECORDINGS
    commands = [shlex.split(line) for line in re.findall(r"^\$ minigte explain (.*)$", page, re.MULTILINE)]
    assert len(commands) == len(recordings) == 5
    for command, (name, recording) in zip(commands, recordings.items(), strict=True):
        options = [("--layer", recording.layer), ("--head", recording.head)]
        given = [word for option, value in options if value for word in (option, str(value))]
        assert command == [*recording.texts, *given]
        assert f"](images/gallery-{name}.png)" in page


@pytest.mark.files
@pytest.mark.parametrize("page", sorted(DOCS.glob("[1-9]-*.md")), ids=lambda page: page.name)
def test_a_page_of_the_course_has_all_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = page.name[0]
    for part in (
        f"# {number} ",
        "**You need:**",
        "**After it you can:**",
        ">>> ",
        "<!-- quote ",
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
