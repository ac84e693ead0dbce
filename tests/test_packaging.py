"""What is installed is what is in the repository: the wheel and its names."""

import subprocess
import sys
import zipfile

import pytest
from places import ROOT
from test_borders import imported

import minigte

PACKAGE = ROOT / "minigte"
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(tmp_path),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "No matching distribution found for setuptools" in process.stderr:
        pytest.skip("no package registry to get setuptools from")
    assert process.returncode == 0, process.stderr
    with zipfile.ZipFile(next(tmp_path.glob("minigte-*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {
        path.relative_to(ROOT).as_posix()
        for path in [*MODULES, PACKAGE / "py.typed", PACKAGE / "explain" / "page.html"]
    }


def test_the_public_names_exist():
    assert minigte.__all__ == sorted(minigte.__all__)
    for name in minigte.__all__:
        assert getattr(minigte, name).__doc__


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "integrations").glob("[a-z]*.py")), ids=lambda path: path.stem
)
def test_nothing_imports_an_integration_and_one_says_what_it_needs(path):
    name = f"minigte.integrations.{path.stem}"
    assert [other for other in MODULES if name in imported(other)] == []
    code = f"import sys; sys.modules[{path.stem!r}] = None; import minigte\n"
    code += "print('minigte.integrations' in sys.modules)\n"
    code += f"try: import {name}\nexcept minigte.MissingDependencyError as error: print(error)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    light, message = process.stdout.splitlines()
    assert light == "False"
    assert message.endswith(f": pip install 'minigte[{path.stem}]'")


def test_nothing_can_be_unpickled():
    for path in set(MODULES) - {PACKAGE / "engine" / "jit.py"}:  # that keeps its own machine code so
        assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & imported(path), path
