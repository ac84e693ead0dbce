"""What is in a wheel and what it needs: ``make test-wheel`` has it in an environment without Numba."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
import tiny
from places import ROOT

import minigte
from minigte.backend import choose_backend, offers
from minigte.engine.library import file_name, library
from minigte.engine.processor import machine

PACKAGE = ROOT / "minigte"
DATA = [
    *(PACKAGE / name for name in ("py.typed", "explain/page.html", "explain/views.js")),
    *(PACKAGE / "page" / "site").iterdir(),
]
WEB = {f"minigte/engine/{file_name('web', 'wasm32')}{suffix}" for suffix in ("", ".json")}
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
    # Those of the page of `minigte page` are built where there is a linker for them.
    web = WEB if shutil.which("wasm-ld") else names & WEB
    assert names == package | {f"minigte/engine/{NAME}", f"minigte/engine/{NAME}.json"} | web
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
        assert {info.external_attr >> 16 & 0o777 for info in file.infolist()} == {0o644, 0o664}  # RECORD's


@pytest.fixture(scope="session")
def least(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the three packages that a local model takes."""
    folder = tmp_path_factory.mktemp("least")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    packages = ["numpy", "tokenizers", "safetensors"]
    done = subprocess.run([*command, str(wheel), *packages], capture_output=True, text=True, check=False)
    if "No matching distribution found" in done.stderr:
        pytest.skip("no package registry to get NumPy, tokenizers and safetensors from")
    assert done.returncode == 0, done.stderr
    return folder


def in_the_least(least: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with these packages alone."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(least), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_least_that_can_be_installed_embeds_with_a_folder(least: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in least.rglob("*") if path.is_file())
    assert size < 100e6, f"{size / 1e6:.0f} MB"
    folder = tiny.write_model(tmp_path / "model")
    code = f"""
import minigte
for dtype in ("float32", "bfloat16", "int8"):
    embedder = minigte.Embedder({str(folder)!r}, dtype=dtype)
    print(embedder.backend_name, embedder.encode(["the cat", "a dog"]).shape)
"""
    done = in_the_least(least, "-c", code)
    assert (done.stdout, done.stderr) == ("built (2, 20)\n" * 3, "")


def test_its_command_line_needs_click_alone(least: Path, tmp_path: Path) -> None:
    done = in_the_least(least, "-m", "minigte", "--help")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.endswith("pip install click")
    shutil.copytree(least, packages := tmp_path / "packages", symlinks=True)
    shutil.copytree(Path(click.__file__).parent, packages / "click")
    folder = str(tiny.write_model(tmp_path / "model"))
    for command in (["embed", "the cat"], ["similarity", "the cat", "a dog"], ["info"]):
        done = in_the_least(packages, "-m", "minigte", *command, "--model", folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    export = tmp_path / "export"
    tiny.write_model(export)
    (export / "model.safetensors").unlink()
    (export / "model.onnx").write_bytes(b"")
    missing = {
        "huggingface-hub": ["embed", "the cat", "--model", "some/model"],
        "onnx": ["embed", "the cat", "--model", str(export)],
        "pyarrow": ["embed", "the cat", "--model", folder, "--output", str(tmp_path / "vectors.parquet")],
        "tqdm": ["embed", "the cat", "--model", folder, "--progress"],
        "uvicorn": ["serve", "--model", folder],
        "matplotlib": [
            "explain",
            "the cat",
            "--model",
            folder,
            "--png",
            "--output",
            str(tmp_path / "head.png"),
        ],
    }
    for package, command in missing.items():
        done = in_the_least(packages, "-m", "minigte", *command)
        assert (done.returncode, done.stdout) == (1, ""), package
        [line] = done.stderr.splitlines()
        assert package in line
        assert "pip install " in line


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("readelf") is None, reason="no readelf here")
def test_it_is_what_its_tag_says(wheel: Path) -> None:
    """It needs no symbol of a C library's version: the oldest tag that auditwheel knows would do."""
    show = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    printed = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    told = " ".join(printed.split())
    assert "references no external versioned symbols" in told
    assert "requires no external shared libraries" in told
