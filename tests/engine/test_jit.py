"""Where kernels are kept: found by the next process, never an error, never where others can write."""

import os
import stat
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from minigte.engine import sources

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Every place a cache could be, out of the way: none of them can be made below a file.
NOWHERE = {name: "/dev/null/" + name for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}

# A kernel that compiles at once. Neither the package nor, unless it is asked for, the temporary directory
# can keep it.
TINY = """
import os, tempfile
from minigte.engine import jit

jit.__file__ = "/dev/null/minigte/jit.py"
tempfile.tempdir = os.environ.get("TMPDIR", "/dev/null/tmp")

@jit.entry
def double(x):
    return 2 * x
"""
SAYS = "minigte: compiling"


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script in a new process, with only these of the variables that decide on the cache's place."""
    places = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR")
    environment = {name: value for name, value in os.environ.items() if name not in places}
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment, **variables}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def tiny(more: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    script = TINY + textwrap.dedent(more) + "\nassert double(21) == 42\n"
    return run(script, **{**NOWHERE, **variables})


def test_the_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    first = tiny(NUMBA_CACHE_DIR=str(tmp_path))
    assert first.stderr.startswith(SAYS)
    assert first.stderr.count("\n") == 1
    [file] = (tmp_path / "minigte").iterdir()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert tiny(NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""
    assert list(file.parent.iterdir()) == [file]


def test_compiling_is_logged(tmp_path: Path) -> None:
    log = "import logging\nlogging.basicConfig(level='INFO', format='%(name)s %(message)s')"
    done = tiny(log, NUMBA_CACHE_DIR=str(tmp_path))
    assert "minigte.engine.jit compiling __main__.double for (int64,)" in done.stderr.splitlines()
    assert tiny(log, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_a_damaged_file_is_compiled_anew(tmp_path: Path) -> None:
    tiny(NUMBA_CACHE_DIR=str(tmp_path))
    [file] = (tmp_path / "minigte").iterdir()
    for damage in (b"", b"nonsense", file.read_bytes()[:-100]):
        file.write_bytes(damage)
        assert tiny(NUMBA_CACHE_DIR=str(tmp_path)).stderr.startswith(SAYS)
        assert tiny(NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_another_version_does_not_load_it(tmp_path: Path) -> None:
    upgrade = "import minigte.version; minigte.version.__version__ = '99'"
    tiny(NUMBA_CACHE_DIR=str(tmp_path))
    assert tiny(upgrade, NUMBA_CACHE_DIR=str(tmp_path)).stderr.startswith(SAYS)
    assert tiny(upgrade, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""
    assert tiny(NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_the_stamp_covers_every_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "folder", lambda *rooms: tmp_path)
    versions = set()
    (tmp_path / "simd").mkdir()
    for name, text in [("a.py", "1"), ("a.py", "2"), ("b.py", ""), ("simd/a.py", "3"), ("simd/a.py", "4")]:
        (tmp_path / name).write_text(text)
        versions.add(sources.version.__wrapped__())
    assert len(versions) == 5


WHERE = "print(jit.kernel_directory())"


def test_the_users_cache_directory(tmp_path: Path) -> None:
    for variables in (
        {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        {"XDG_CACHE_HOME": "", "HOME": str(tmp_path)},
    ):
        printed = tiny(WHERE, **variables).stdout
        assert Path(printed.strip()).is_relative_to(tmp_path)
        assert tiny(**variables).stderr == ""


def test_a_private_temporary_directory(tmp_path: Path) -> None:
    directory = Path(tiny(WHERE, TMPDIR=str(tmp_path)).stdout.strip())
    assert directory.parent == tmp_path
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert tiny(TMPDIR=str(tmp_path)).stderr == ""


NO_TEMPORARY_DIRECTORY = """
def gettempdir():
    raise FileNotFoundError
tempfile.gettempdir = gettempdir
"""


@pytest.mark.parametrize("more", ["", NO_TEMPORARY_DIRECTORY])
def test_no_place_at_all(more: str) -> None:
    done = tiny(more + WHERE)
    assert done.stdout == "None\n"
    assert done.stderr.startswith(SAYS)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_to_is_not_used(mode: int, tmp_path: Path) -> None:
    shared = tmp_path / "minigte"
    shared.mkdir()
    shared.chmod(mode)
    tiny(NUMBA_CACHE_DIR=str(tmp_path))
    assert list(shared.iterdir()) == []


def test_a_link_to_a_directory_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "minigte").symlink_to(tmp_path / "real")
    tiny(NUMBA_CACHE_DIR=str(tmp_path))
    assert list((tmp_path / "real").iterdir()) == []


def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    tiny(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert list((tmp_path / "minigte").iterdir()) == []


def test_no_file_at_all_can_be_made(tmp_path: Path) -> None:
    tiny(
        """
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")
        tempfile.NamedTemporaryFile = full
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert list((tmp_path / "minigte").iterdir()) == []


def test_processes_that_compile_at_the_same_time(tmp_path: Path) -> None:
    script = TINY + "assert double(21) == 42\n"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert len(list((tmp_path / "minigte").iterdir())) == 1
    assert tiny(NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


@pytest.mark.parametrize(
    ("triple", "wanted"),
    [
        ("x86_64-unknown-linux-gnu", {"syscall", "usleep"}),
        ("aarch64-unknown-linux-gnu", {"syscall", "usleep"}),
        ("arm64-apple-macosx11.0.0", {"usleep"}),
        ("x86_64-pc-windows-msvc", {"Sleep"}),
    ],
)
def test_waiting_calls_what_the_target_has(triple: str, wanted: set[str]) -> None:
    """Not what this machine has: kernels are built here for other systems."""
    script = f"""
        from minigte.engine import jit
        jit.compile_only({triple!r})
        import llvmlite.binding
        import numpy
        from minigte.engine.simd import nap, relax, sleep_on, wake_all

        @jit.entry
        def wait(where):
            relax()
            nap()
            sleep_on(where, 0)
            wake_all(where)

        code, _ = jit.llvm_module(wait, (numpy.int64(0),))
        functions = llvmlite.binding.parse_assembly(code).functions
        print(*(f.name for f in functions if f.is_declaration and not f.name.startswith("llvm.")))
    """
    cpu = "x86-64" if triple.startswith("x86") else "generic"
    assert set(run(script, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="").stdout.split()) == wanted


def test_the_whole_engine_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "minigte.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in (ROOT / "minigte").rglob("*.py"):
            file.write(source, source.relative_to(ROOT))
    script = f"""
        import sys
        sys.path.insert(0, {str(archive)!r})
        from minigte.engine import jit, kernels
        assert jit.__file__.startswith({str(archive)!r})
        kernels.JustInTime().prepare("float32")  # which compiles soonest
        print(jit.kernel_directory())
    """
    first = run(script, HOME=str(tmp_path))
    assert first.stderr.startswith(SAYS)
    assert Path(first.stdout.strip()).is_relative_to(tmp_path)
    assert run(script, HOME=str(tmp_path)).stderr == ""


def test_what_is_compiled_beside_the_package_others_can_read(tmp_path: Path) -> None:
    for source in (ROOT / "minigte").rglob("*.py"):
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    run(
        f"""
        import os, sys
        os.umask(0o022)
        sys.path.insert(0, {str(tmp_path)!r})
        from minigte.engine import jit

        @jit.entry
        def double(x):
            return 2 * x

        assert double(21) == 42
        """
    )
    directory = tmp_path / "minigte" / "engine" / "__pycache__"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    [file] = directory.glob("*.kernel")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_importing_the_engine_compiles_nothing(tmp_path: Path) -> None:
    assert run("import minigte.engine.scheduler", NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_two_modules_do_not_share_a_function_of_one_name(tmp_path: Path) -> None:
    """Nor tuples of one name and of the same field types: the second must not get the first's results."""
    for module, result in (("first", "model.x + 1"), ("second", "model.x + 2")):
        (tmp_path / f"{module}.py").write_text(
            "from typing import NamedTuple\nfrom minigte.engine import jit\n\n"
            "class Model(NamedTuple):\n    x: int\n\n"
            f"@jit.entry\ndef forward(model):\n    return {result}\n"
        )
    script = """
        import importlib, sys
        sys.path.insert(0, {folder!r})
        module = importlib.import_module({module!r})
        print(module.forward(module.Model(1)))
    """
    for module, result in (("first", "2"), ("second", "3"), ("first", "2")):
        done = run(script.format(folder=str(tmp_path), module=module), NUMBA_CACHE_DIR=str(tmp_path))
        assert done.stdout.strip() == result


def test_code_compiled_under_another_setting_is_not_loaded(tmp_path: Path) -> None:
    """What was compiled once without optimisation must not serve for ever."""
    for variables in ({"NUMBA_OPT": "0"}, {"NUMBA_BOUNDSCHECK": "1"}, {"NUMBA_SLP_VECTORIZE": "1"}, {}):
        assert tiny(NUMBA_CACHE_DIR=str(tmp_path), **variables).stderr.startswith(SAYS)
        assert tiny(NUMBA_CACHE_DIR=str(tmp_path), **variables).stderr == ""


def test_a_frozen_program_has_no_source_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyInstaller keeps modules in an archive: the folder that they were in is not there."""
    monkeypatch.setattr(sources, "folder", lambda *rooms: tmp_path / "minigte" / "engine")
    assert not sources.are_here()
    assert sources.version.__wrapped__() == sources.version.__wrapped__()
