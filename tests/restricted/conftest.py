"""Places in which others fail: each test runs one command of docs/restricted.md and looks at what it did.

``python`` and ``minigte`` are those of an environment with minigte's wheel, as users install it: built
kernels, no Numba. What is about compiling names ``.venv-dev/bin``.

``--write-docs`` writes the rows of the tests that ran, with what was seen. Without it, a row that the page
does not show, or shows with another command, is a failure.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "restricted.md"
BEGIN, END = "<!-- places: written by tests/restricted -->\n", "<!-- end of places -->\n"
HEAD = "| place | command | seen |\n|---|---|---|\n"
WHEEL = ROOT / ".venv-dev" / "dist"  # where the Makefile has it, for test-wheel too
BUILT = ROOT / ".venv-restricted" / "places" / "built"  # kept while the wheel stays the same
NOT_HERE = 77  # what the launchers answer where the kernel refuses them
LONGEST = 300  # characters of an output that a row shows

Place = Callable[..., subprocess.CompletedProcess[str]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    place: str
    command: str
    seen: str

    def __str__(self) -> str:
        command, seen = (text.replace("|", "\\|").replace("\n", " ") for text in (self.command, self.seen))
        return f"| {self.place} | `{command}` | `{seen}` |\n"


rows: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="write what was seen into docs/restricted.md")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the rows of the tests that ran; those of other tests stay as they are."""
    if session.config.getoption("--write-docs") and not session.testsfailed:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        table, _, after = rest.partition(END)
        lines = {line.split(" | ")[0]: line for line in table.splitlines() if line.startswith("| ")}
        lines |= {str(row).split(" | ")[0]: str(row) for row in rows}
        lines.pop("| place", None)
        body = "\n".join(line.strip() for line in lines.values())
        PAGE.write_text(f"{before}{BEGIN}\n{HEAD}{body}\n\n{END}{after}", encoding="utf-8")


@pytest.fixture(scope="session")
def root() -> None:
    """Skips where this user, or this kernel, may not make namespaces."""
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if os.geteuid() or done.returncode:
        pytest.skip(f"needs root and namespaces: {done.stderr.strip() or 'this user is not root'}")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """minigte's wheel for this processor, as ``pip install .`` builds it, installed in BUILT."""
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    with (BUILT.parent / "lock").open("w") as lock:  # of two processes that test, one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = ["make", "--silent", ".venv-dev/dist/built"]
        done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False)
        if "No matching distribution found" in done.stderr:
            pytest.skip("no package registry to get what builds the kernels from")
        assert done.returncode == 0, done.stderr
        [path] = WHEEL.glob("*.whl")
        installed = BUILT / "installed"
        if not installed.exists() or installed.stat().st_mtime < path.stat().st_mtime:
            shutil.rmtree(BUILT, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(BUILT)], check=True)
            pip = [str(BUILT / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", "--quiet", f"{path}[onnx]"], check=True)
            installed.touch()
    return path


@pytest.fixture
def place(root: None, wheel: Path, gte_small: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """place(name, command) runs the command with bash, gives what it did, and keeps it as a row."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_mode & 0o005 != 0o005:  # pytest's own are closed to the strangers of stranger.sh
            folder.chmod(0o755)

    def place(name: str, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{BUILT / 'bin'}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "MODEL": str(gte_small.resolve()),
            "TMP": str(tmp_path),
            "HOME": str(tmp_path),
            **{key: value for key, value in os.environ.items() if key.startswith(("OPENBLAS_", "PIP_"))},
            **variables,
        }
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == NOT_HERE:
            pytest.skip(done.stderr.strip())
        said = [line for line in done.stderr.splitlines() if "%|" not in line]  # but for progress bars
        seen = " ".join([*done.stdout.split(), *said[-2:]]).replace(str(tmp_path), "$TMP")
        seen = seen.replace(environment["MODEL"], "$MODEL")
        rows.append(Row(name, command, seen if len(seen) <= LONGEST else seen[:LONGEST] + "..."))
        if not request.config.getoption("--write-docs"):
            shown = str(Row(name, command, "")).rpartition("| ``")[0]
            assert shown in PAGE.read_text(encoding="utf-8"), (
                "docs/restricted.md lacks it: make restricted-docs"
            )
        return done

    return place
