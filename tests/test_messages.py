"""All messages a user can meet stand in tests/golden/messages.txt, and each says something."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from places import ROOT


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """What tools/list_messages.py finds in a module."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("list_messages")

    def of(source: str) -> list[str]:
        package = tmp_path / "package"
        package.mkdir()
        (package / "module.py").write_text(source)
        name, *found = tool.messages(package).splitlines()
        assert name == "package/module.py"
        return found

    of.tool = tool  # type: ignore[attr-defined]
    return of


def test_the_list_is_current(listed) -> None:  # type: ignore[no-untyped-def]
    kept = (ROOT / "tests" / "golden" / "messages.txt").read_text(encoding="utf-8")
    assert kept == listed.tool.messages(ROOT / "minigte"), "make messages"


def test_every_kind_of_message_is_found(listed) -> None:  # type: ignore[no-untyped-def]
    source = """
def why(path):
    return f"{path} is gone" if path else "no path"

def check(error):
    raise InputError(f"{path!r} has " "no end: give it one")
    raise click.UsageError("give one" if error else "give two")
    raise MinigteError(why(path)) from error
    raise OutputError("no " + "place")
    raise OtherError(f"{error}")
    warnings.warn(TruncationWarning("cut", "cut less"), stacklevel=2)
    click.echo("working", err=True)
    click.echo("a result")
    print("compiling", file=sys.stderr)
"""
    assert listed(source) == [
        "InputError: {path!r} has no end: give it one",
        "MinigteError: no path",
        "MinigteError: {path} is gone",
        "OutputError: no place",
        "TruncationWarning: cut",
        "UsageError: give one",
        "UsageError: give two",
        "stderr: compiling",
        "stderr: working",
    ]
