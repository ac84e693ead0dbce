"""The borders between the package's rooms: which may import which. Data flows one way, down this table."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from places import ROOT

from minigte.models import ARCHITECTURES

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
        "page",
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
    "page": {"backend", "explain", "loading", "reference", "runtime", "tokenizing", "vectors"},
    "explain": {"calls", "loading", "models", "reference", "vectors"},
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


def names_an_architecture(text: str) -> list[str]:
    """The architectures that a text names; names of files and classes that have one in them do not count."""
    known = "|".join(sorted({name for names in ARCHITECTURES for name in (names, names.replace("-", ""))}))
    return re.findall(rf"(?<![A-Za-z_])(?:{known})(?![A-Za-z_])", text, re.IGNORECASE)


@pytest.mark.parametrize(
    "path",
    sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".html", ".js", ".md")),
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_only_two_rooms_name_an_architecture(path: Path) -> None:
    if room(path) not in ("models", "reference"):
        assert names_an_architecture(path.read_text(encoding="utf-8")) == []


def test_the_engine_has_no_architecture_in_any_name() -> None:
    for path in (PACKAGE / "engine").rglob("*.py"):
        assert not re.search("bert|mpnet|t5|bloom", path.read_text(encoding="utf-8"), re.IGNORECASE), path


# What Numba and llvmlite mean others to use; all else of theirs may change with any version.
FOR_OTHERS = r"numba|numba\.(types|extending)(\.\w+)?|llvmlite|llvmlite\.ir(\.\w+)?"
# How far into a compilation one can see: its types, its functions, the text of LLVM's module.
INSIDE = r"\.(_cache|overloads|fndesc|get_llvm_str|target_context|magic_tuple)\b|parse_assembly"


def test_what_is_used_of_the_compiler_inside_stands_in_two_files() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        theirs = {name for name in imported(path) if name.partition(".")[0] in ("numba", "llvmlite")}
        inside = re.search(INSIDE, path.read_text(encoding="utf-8"))
        if inside or not all(re.fullmatch(FOR_OTHERS, name) for name in theirs):
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found == {"engine/build.py", "engine/jit.py"}


def test_what_counts_as_a_name() -> None:
    assert names_an_architecture("a BERT, 'xlm-roberta' and reference/t5.py") == ["BERT", "xlm-roberta", "t5"]
    assert names_an_architecture("sentence_bert_config.json BertTokenizer 0_BERT") == []
