"""What all tests share: gte-small where it can be had, and the table of largest differences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exact
import hypothesis
import pytest
from places import ROOT

from minigte import DownloadError, Embedder, MissingDependencyError, ModelNotFoundError
from minigte.backend import choose_backend, jit_missing, kernels
from minigte.loading.known_models import find_known
from minigte.loading.sources import find_model

PARITY = ROOT / "tests" / "parity"
RESTRICTED = ROOT / "tests" / "restricted"
CLIENTS = ROOT / "tests" / "clients"
WHEEL = ROOT / "tests" / "wheel"
PLATFORMS = ROOT / "tests" / "engine" / "test_platforms.py"
TYPING = ROOT / "tests" / "typing"
# Where Numba is missing, what is tested is what users get: built kernels, as a whole.
NEED_NUMBA = [
    ROOT / "tests" / "engine" / f"test_{name}.py" for name in ("jit", "kernels", "processors", "team")
]
NO_JIT = jit_missing()
SHARED_MODEL = ROOT.parent / "shared" / "models" / "gte-small"

hypothesis.settings.register_profile("minigte", deadline=None, derandomize=True)
hypothesis.settings.load_profile("minigte")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--differences",
        action="store_true",
        help="at the end, print the largest difference seen at each stage of the forward pass",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What needs torch, root, or programs and places of its own runs only when it is asked for.

    So do type checkers, which `make check` runs.
    """
    if NO_JIT and collection_path in NEED_NUMBA:
        return True
    if collection_path not in (PARITY, RESTRICTED, CLIENTS, WHEEL, PLATFORMS, TYPING):
        return None
    arguments = (Path(arg.partition("::")[0]).resolve() for arg in config.args)
    return None if any(path.is_relative_to(collection_path) for path in arguments) else True


@pytest.hookimpl(tryfirst=True)  # before ``-m`` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``page`` what drives a browser."""
    for item in items:
        if {"browser", "playwright", "tab"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("page")


def pytest_report_header() -> list[str]:
    """What is not run and why, and how long the files are that README calls one sitting."""
    sitting = ("embedder.py", "reference/bert.py", "reference/ops.py")
    lines = (len((ROOT / "minigte" / name).read_text(encoding="utf-8").splitlines()) for name in sitting)
    header = ["one sitting: " + ", ".join(f"{name} {n}" for name, n in zip(sitting, lines, strict=True))]
    if NO_JIT:
        header.append(f"not run, since {NO_JIT}: {', '.join(path.name for path in NEED_NUMBA)}")
    return header


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Have the process that prints know what a process of pytest-xdist saw."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["differences"] = list(exact.largest.items())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for key, distance in getattr(node, "workeroutput", {}).get("differences", ()):
        exact.largest[key] = max(exact.largest.get(key, 0.0), distance)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--differences"):
        terminalreporter.section("largest difference per stage")
        for (comparison, stage), distance in exact.largest.items():
            terminalreporter.write_line(f"{distance:.1e}  {comparison}: {stage}")


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """Compile once, so that no command of a test says on stderr that it compiles."""
    backend = choose_backend("auto", "float32")
    if backend != "numpy":
        kernels(backend).prepare("float32")


@pytest.fixture(scope="session")
def gte_small() -> Path:
    """A folder with gte-small: MINIGTE_MODEL, ../shared/models/gte-small, minigte's caches, or a download."""
    if "MINIGTE_MODEL" in os.environ:
        return Path(os.environ["MINIGTE_MODEL"])
    if SHARED_MODEL.is_dir():
        return SHARED_MODEL
    try:
        return find_model("thenlper/gte-small").folder
    except (DownloadError, ModelNotFoundError, MissingDependencyError) as error:
        pytest.skip(f"gte-small is not here: {error}")


@pytest.fixture(scope="session")
def embedder(gte_small: Path) -> Embedder:
    return Embedder(gte_small)


@pytest.fixture(scope="module")
def model_by_name(gte_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache in which "thenlper/gte-small" is the folder that the tests have."""
    cache = tmp_path_factory.mktemp("cache")
    known = find_known("gte-small")
    assert known is not None
    assert known.npm is not None
    link = cache / f"npm--{known.name.replace('/', '--')}--{known.npm.version}"
    link.symlink_to(gte_small.resolve(), target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGTE_CACHE", str(cache))
        patch.delenv("MINIGTE_MODEL", raising=False)
        yield
