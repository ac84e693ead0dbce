"""minigte as a wheel, its kernels built and no Numba: what needs no compiler goes where a compiler cannot."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from minigte.engine import sources

FOLDER = ROOT / ".venv-restricted" / "places" / "built"  # kept while the engine's sources stay the same
PYTHON = ".venv-restricted/places/built/bin/python"


def of_these_sources() -> bool:
    manifests = FOLDER.glob("lib/python*/site-packages/minigte/engine/kernels-*.json")
    return any(json.loads(path.read_text())["sources"] == sources.version() for path in manifests)


@pytest.fixture(scope="session")
def built() -> Path:
    """The environment's folder of packages."""
    if not of_these_sources():
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        command = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "No matching distribution found" in done.stderr:
            pytest.skip("no package registry to get what builds the kernels from")
        assert done.returncode == 0, done.stderr
    [packages] = FOLDER.glob("lib/python*/site-packages")
    return packages


def first_vector(done, engine="built float32"):
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"0.8669 ({engine}"), done.stdout
    assert "compiling" not in done.stderr


def test_nothing_can_be_written(place, built):
    done = place(
        "built kernels, no Numba: every file system read-only, no HOME, no TMPDIR",
        f"TMPDIR=/nowhere tests/restricted/readonly.sh env -u HOME {PYTHON} "
        "tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_no_executable_memory(place, built):
    done = place(
        "built kernels, no Numba: no memory may become executable (MemoryDenyWriteExecute)",
        f"python tests/restricted/mdwe.py {PYTHON} tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_bare(place, built):
    done = place(
        "built kernels, no Numba: no network, /proc and /sys",
        f"tests/restricted/bare.sh {PYTHON} tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_little_memory(place, built):
    done = place(
        "built kernels, no Numba: 256 MB, int8, nothing prepared",
        f"python tests/restricted/cgroup.py --memory 256M {PYTHON} tests/restricted/first_vector.py "
        "$MODEL int8",
    )
    assert done.returncode == 0, done.stderr
    assert "(built int8" in done.stdout


NOEXEC = (
    "mkdir $TMP/noexec && unshare --mount bash -c '"
    "mount -t tmpfs -o noexec nothing $TMP/noexec && "
    "cp -r .venv-restricted/places/built/lib/python3*/site-packages/minigte $TMP/noexec && "
    "PYTHONPATH=$TMP/noexec {}'"
)


def test_no_library_may_be_loaded(place, built):
    """The system refuses to map its code; NumPy's own lies elsewhere."""
    done = place(
        "built kernels, no Numba: minigte in a folder mounted noexec, float32",
        NOEXEC.format(f"{PYTHON} tests/restricted/first_vector.py $MODEL"),
    )
    first_vector(done, "numpy float32")


def test_no_library_may_be_loaded_and_it_must_be(place, built):
    done = place(
        "built kernels, no Numba: minigte in a folder mounted noexec, int8",
        NOEXEC.format(".venv-restricted/places/built/bin/minigte embed --model $MODEL --dtype int8 hello"),
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "cannot be loaded" in line
    assert "failed to map segment" in line
