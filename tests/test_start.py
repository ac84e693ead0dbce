"""What ``import minigte`` and a first vector bring into a process: each module takes time at every start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from minigte.backend import built_missing

# Beyond these a program that works on vectors alone, or only catches errors, loads nothing of ours.
IMPORTED = {
    "minigte",
    "minigte.arrays",
    "minigte.calls",
    "minigte.calls.arguments",
    "minigte.errors",
    "minigte.vectors",
    "minigte.vectors.quantization",
    "minigte.vectors.search",
    "minigte.vectors.similarity",
    "minigte.version",
}

# What a model that is read from safetensors has no use for, and what costs milliseconds.
NOT_NEEDED = {
    *("asyncio", "bz2", "concurrent.futures", "email", "http", "importlib.metadata", "importlib.resources"),
    *(
        "lzma",
        "multiprocessing",
        "numpy.testing",
        "pickletools",
        "socket",
        "ssl",
        "tempfile",
        "unittest",
        "zipfile",
    ),
    *("minigte.batching", "minigte.cli", "minigte.cross_encoder", "minigte.explain", "minigte.integrations"),
    *("minigte.server", "minigte.loading.known_models", "minigte.loading.npm", "minigte.loading.onnx_files"),
    *("minigte.loading.cross_encoder_config", "minigte.loading.pickled", "minigte.loading.state_dict_files"),
}


def brought_in(code: str) -> set[str]:
    """The modules that a process has after this code, and did not have after ``import numpy``."""
    program = f"import numpy, sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def packages(modules: set[str]) -> set[str]:
    """Those of them that are of neither Python nor minigte, as packages."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"minigte", "numpy"}


def test_import_minigte_loads_no_model() -> None:
    found = brought_in("import minigte")
    assert {name for name in found if name.startswith("minigte")} == IMPORTED
    assert packages(found) == set()
    assert found.isdisjoint({"ctypes", "hashlib", "json", "mmap", "pathlib", *NOT_NEEDED})


def test_what_is_imported_when_it_is_asked_for_is_there() -> None:
    names = ["AsyncEmbedder", "CrossEncoder", "Embedder"]
    code = f"""
import minigte
assert set({names!r}) <= set(dir(minigte)) & set(minigte.__all__)
assert "minigte.embedder" not in sys.modules
from minigte import *
assert [Embedder, CrossEncoder] == [minigte.Embedder, minigte.CrossEncoder]
assert Embedder.__module__ == "minigte.embedder"
assert AsyncEmbedder is minigte.AsyncEmbedder
try:
    minigte.Embeder
except AttributeError as error:
    assert "Embeder" in str(error)
else:
    raise AssertionError
"""
    assert {"minigte.embedder", "minigte.cross_encoder", "minigte.batching"} <= brought_in(code)


@pytest.mark.parametrize("backend", ["built", "numpy"])
def test_a_first_vector_loads_what_it_needs(backend: str, tmp_path: Path) -> None:
    if backend == "built" and built_missing() is not None:
        pytest.skip(f"{built_missing()}")
    folder = tiny.write_model(tmp_path / "model")
    options = json.dumps({"backend": backend, "threads": 2})
    found = brought_in(f"import minigte\nminigte.Embedder({str(folder)!r}, **{options}).encode('the cat')")
    assert packages(found) == {"safetensors", "tokenizers"}
    assert found & NOT_NEEDED == set()
    assert ("minigte.reference" in found) == (backend == "numpy")
    assert ("minigte.engine.library" in found) == (backend == "built")
