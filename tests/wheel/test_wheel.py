"""What is in a wheel and what it needs: ``make test-wheel`` has it in an environment without Numba."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

import minigte
from minigte.backend import choose_backend, offers
from minigte.engine.library import file_name, library
from minigte.engine.processor import machine

PACKAGE = ROOT / "minigte"
DATA = [PACKAGE / "py.typed", PACKAGE / "explain" / "page.html"]
NAME = file_name(sys.platform, machine())


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The file that was installed here."""
    [path] = (Path(sys.prefix) / "dist").glob("minigte-*.whl")
    return path


def test_what_is_tested_is_the_wheel_without_numba() -> None:
    assert Path(minigte.__file__).is_relative_to(sys.prefix)
    assert importlib.util.find_spec("numba") is None
    assert choose_backend("auto", "int8") == "built"
    assert offers()["built"].startswith(library().usable[-1])


def test_it_holds_the_package_and_its_kernels_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        kernels = sum(info.file_size for info in file.infolist() if "/kernels-" in info.filename)
    package = {path.relative_to(ROOT).as_posix() for path in [*PACKAGE.rglob("*.py"), *DATA]}
    assert names == package | {f"minigte/engine/{NAME}", f"minigte/engine/{NAME}.json"}
    assert 0 < kernels < 3 << 20


def test_any_python_3_can_install_it(wheel: Path) -> None:
    _, _, python, abi, platforms = wheel.stem.split("-")
    assert (python, abi) == ("py3", "none")
    if platforms == f"linux_{machine()}":
        assert len(library().levels) == 1
        pytest.skip("built for this processor alone, as by pip install")
    assert {platform.split("_")[0] for platform in platforms.split(".")} >= {"manylinux", "musllinux"}
    assert len(library().levels) > 1 or machine() != "x86_64"
    with zipfile.ZipFile(wheel) as file:
        assert {info.date_time[:3] for info in file.infolist()} == {(1980, 1, 1)}
        assert not [info.filename for info in file.infolist() if info.external_attr >> 16 & 0o777 != 0o644]


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("readelf") is None, reason="no readelf here")
def test_it_is_what_its_tag_says(wheel: Path) -> None:
    """It needs no symbol of a C library's version: the oldest tag that auditwheel knows would do."""
    show = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    printed = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    told = " ".join(printed.split())
    assert "references no external versioned symbols" in told
    assert "requires no external shared libraries" in told
