"""The borders between the package's rooms: which may import which. Data flows one way, down this table."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "minigte"

# Everybody may import these, which import nothing of the package but each other.
GROUND = {"arrays", "errors", "version"}

# A folder of the package, or a module of its top: what it may import besides.
MAY_IMPORT = {
    "__main__": {"cli"},
    "integrations": {"embedder", "loading"},
    "cli": {
        "backend",
        "cross_encoder",
        "embedder",
        "explain",
        "loading",
        "runtime",
        "server",
        "tokenizing",
        "vectors",
    },
    "server": {"batching", "cross_encoder", "embedder", "loading", "tokenizing", "vectors"},
    "batching": {"embedder", "tokenizing", "vectors"},
    "__init__": {"batching", "cross_encoder", "embedder", "vectors"},
    "cross_encoder": {"backend", "calls", "loading", "reference", "runtime", "tokenizing"},
    "embedder": {"backend", "calls", "explain", "loading", "models", "runtime", "tokenizing", "vectors"},
    "explain": {"loading", "models", "reference", "vectors"},
    "backend": {"calls", "engine", "loading", "models", "reference", "runtime"},  # the one door to the engine
    "engine": {"models", "runtime"},
    "reference": {"models"},
    "loading": {"models", "runtime", "tokenizing", "vectors"},
    "tokenizing": {"models", "runtime"},
    "vectors": {"calls"},
    "models": set(),
    "runtime": set(),
    "calls": set(),
    "arrays": set(),
    "errors": set(),
    "version": set(),
}


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    """The folder that a file lies in, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms(names: set[str]) -> set[str]:
    """The rooms of these modules, as far as they are of the package."""
    inside = {name.split(".")[1] for name in names if name.startswith("minigte.")}
    return {name for name in inside if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def test_the_table_has_every_room() -> None:
    assert {room(path) for path in PACKAGE.rglob("*.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    assert rooms(imported(path)) <= MAY_IMPORT[room(path)] | GROUND | {room(path)}


def test_the_table_allows_nothing_that_is_not_used() -> None:
    used: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for path in PACKAGE.rglob("*.py"):
        used[room(path)] |= rooms(imported(path)) - GROUND - {room(path)}
    assert used == MAY_IMPORT


@pytest.mark.parametrize("path", sorted((PACKAGE / "reference").glob("*.py")), ids=lambda path: path.name)
def test_the_reference_imports_numpy_alone(path: Path) -> None:
    known = sys.stdlib_module_names | {"__future__", "minigte", "numpy"}
    assert {name.partition(".")[0] for name in imported(path)} <= known
