"""The names that the package offers, and what it needs for them. What a wheel holds: tests/wheel."""

import subprocess
import sys

import pytest
from places import ROOT
from test_borders import imported

import minigte

PACKAGE = ROOT / "minigte"
MODULES = sorted(PACKAGE.rglob("*.py"))


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
    assert message.endswith(f": pip install {path.stem}")


def test_nothing_can_be_unpickled():
    for path in set(MODULES) - {PACKAGE / "engine" / "jit.py"}:  # that keeps its own machine code so
        assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & imported(path), path
