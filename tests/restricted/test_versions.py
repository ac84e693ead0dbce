"""One wheel for every Python from 3.10 up that is here or in Debian; the oldest of everything; no kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

ENVIRONMENTS = ROOT / ".venv-restricted" / "places"  # kept: only the first run fills them
PACKAGES = ("numpy", "tokenizers", "safetensors")


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(map(str, command[:3]))} failed: {done.stderr.strip().splitlines()[-1]}")


def find_python(version):
    """An interpreter of this version: on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for path in [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(f"no Python {version} here")


def environment(name, version, *what):
    """A virtual environment with minigte in it."""
    folder = ENVIRONMENTS / name
    if not (folder / "installed").exists():
        run("uv", "venv", "--quiet", "--clear", "--python", find_python(version), str(folder))
        (folder / "installed").touch()
    again = ("--reinstall-package", "minigte")
    run("uv", "pip", "install", "--quiet", "--python", str(folder), *again, *what)


@pytest.fixture(scope="session")
def uv():
    if shutil.which("uv", path=Path(sys.executable).parent) is None:
        pytest.skip("uv is not in this environment: make test-restricted installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        yield


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_python(place, wheel, uv, version):
    environment(f"python{version}", version, str(wheel))
    done = place(
        f"Python {version} with the newest packages that it can have",
        f".venv-restricted/places/python{version}/bin/python tests/restricted/first_vector.py $MODEL",
    )
    assert done.stdout.startswith(f"0.8669 (built float32, Python {version}."), done.stderr


@pytest.mark.parametrize("backend", ["jit", "numpy"])
def test_oldest(place, uv, backend):
    environment("oldest", "3.10", "--resolution", "lowest-direct", "--editable", ".[jit]")
    done = place(
        f"the oldest version of every package that pyproject.toml allows; {backend}",
        ".venv-restricted/places/oldest/bin/python tests/restricted/first_vector.py $MODEL "
        f"float32 {backend}",
    )
    assert done.stdout.startswith(f"0.8669 ({backend} float32, Python 3.10"), done.stderr
    assert "numpy 1.26.0" in done.stdout


def test_no_kernels(place):
    done = place(
        "neither built kernels nor Numba",
        "cp -r minigte $TMP/minigte && rm -f $TMP/minigte/engine/kernels-* && "
        "PYTHONPATH=$TMP python tests/restricted/first_vector.py $MODEL",
    )
    assert done.stdout.startswith("0.8669 (numpy float32"), done.stderr


@pytest.mark.parametrize("version", [pytest.param("3.14", marks=pytest.mark.nightly), "3.15"])
def test_debians_newest(place, wheel, uv, gte_small, version):
    """A root file system of Debian's newest Python and C library, and of nothing else: not even a shell."""
    root = ENVIRONMENTS / f"debian-python{version}"
    if not (root / "installed").exists():
        if shutil.which("mmdebstrap") is None:
            pytest.skip("mmdebstrap is not installed: apt-get install mmdebstrap")
        shutil.rmtree(root, ignore_errors=True)
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        packages = f"python{version}-minimal,libpython{version}-stdlib,libgcc-s1,libstdc++6,base-files"
        # The mirror may be behind its own dates.
        dates = '--aptopt=Acquire::Check-Valid-Until "false"'
        run("mmdebstrap", "--quiet", dates, "--variant=extract", f"--include={packages}", "sid", str(root))
        target = ("--target", str(root / "app"), "--python-version", version)
        binary = ("--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")
        run("uv", "pip", "install", "--quiet", *target, *binary, "--no-deps", *PACKAGES)
        (root / "installed").touch()
    for folder in ("app/minigte", "gte-small"):
        shutil.rmtree(root / folder, ignore_errors=True)
    shutil.unpack_archive(wheel, root / "app", "zip")
    shutil.copytree(gte_small.resolve(), root / "gte-small")
    shutil.copy(ROOT / "tests" / "restricted" / "first_vector.py", root)
    done = place(
        f"Python {version} in a root of Debian's newest Python and C library alone: no network, /proc, /sys, "
        "libgomp, shell",
        f"PYTHONPATH=/app unshare --net chroot .venv-restricted/places/debian-python{version} "
        f"/usr/bin/python{version} /first_vector.py /gte-small",
    )
    assert done.stdout.startswith(f"0.8669 (built float32, Python {version}."), done.stderr
