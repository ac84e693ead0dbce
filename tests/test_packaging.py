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


# The modules for other programs: what each imports of them, and the package that has it.
INTEGRATIONS = {
    "chroma": ("chromadb", "chromadb"),
    "dask": ("dask", "dask"),
    "duckdb": ("duckdb", "duckdb"),
    "haystack": ("haystack", "haystack-ai"),
    "langchain": ("langchain_core", "langchain-core"),
    "llama_index": ("llama_index", "llama-index-core"),
    "llm": ("llm", "llm"),
    "mteb": ("mteb", "mteb"),
    "pandas": ("pandas", "pandas"),
    "polars": ("polars", "polars"),
    "pyarrow": ("pyarrow", "pyarrow"),
    "ray": ("ray", "ray"),
    "sklearn": ("sklearn", "scikit-learn"),
    "spark": ("pyspark", "pyspark"),
    "txtai": ("txtai", "txtai"),
}
NEED_NOTHING = {"sqlite"}
SHARED = {"columns", "reranking", "workers"}  # by several of them


def test_every_integration_is_known():
    files = {path.stem for path in (PACKAGE / "integrations").glob("[a-z]*.py")}
    assert files == {*INTEGRATIONS, *NEED_NOTHING, *SHARED}


@pytest.mark.parametrize("stem", sorted({*INTEGRATIONS, *NEED_NOTHING}))
def test_only_an_integration_imports_another(stem):
    importing = [other for other in MODULES if f"minigte.integrations.{stem}" in imported(other)]
    assert {other.parent for other in importing} <= {PACKAGE / "integrations"}


@pytest.mark.parametrize("stem", INTEGRATIONS)
def test_an_integration_says_what_it_needs(stem):
    needed, package = INTEGRATIONS[stem]
    code = f"import sys; sys.modules[{needed!r}] = None; import minigte\n"
    code += "print('minigte.integrations' in sys.modules)\n"
    code += f"try: import minigte.integrations.{stem}\n"
    code += "except minigte.MissingDependencyError as error: print(error)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    light, message = process.stdout.splitlines()
    assert light == "False"
    assert package in message.partition(": pip install ")[2]


def test_nothing_can_be_unpickled():
    for path in set(MODULES) - {PACKAGE / "engine" / "jit.py"}:  # that keeps its own machine code so
        assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & imported(path), path
