"""Which backend runs, why, and that it makes no difference to the vectors."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny

from minigte import Embedder, InputError, MissingDependencyError
from minigte.backend import choose_backend, numba_missing

TEXTS = ["the cat sat", "", "a dog", "the dog sat on the mat, run", "a " * 29] * 3

needs_numba = pytest.mark.skipif(numba_missing() is not None, reason=f"Numba: {numba_missing()}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@needs_numba
def test_auto_is_numba_where_it_works(folder):
    embedder = Embedder(folder)
    assert embedder.backend_name == "numba"
    assert repr(embedder) == f"Embedder({str(folder)!r}, dtype='float32', backend='numba')"


@needs_numba
def test_both_backends_give_the_same_vectors(folder):
    expected = Embedder(folder, backend="numpy").encode(TEXTS)
    np.testing.assert_allclose(Embedder(folder, backend="numba").encode(TEXTS), expected, rtol=0, atol=1e-6)


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_vector_has_the_same_bits_in_any_company(folder, dtype):
    embedder = Embedder(folder, dtype=dtype)
    assert embedder.backend.dtype == dtype
    alone = np.stack([embedder.encode(text) for text in TEXTS])
    for batch_size in (1, 4, 1000):
        np.testing.assert_array_equal(embedder.encode(TEXTS, batch_size=batch_size), alone)
    np.testing.assert_array_equal(embedder.encode(TEXTS[::-1])[::-1], alone)
    for threads in (1, 3):
        np.testing.assert_array_equal(Embedder(folder, dtype=dtype, threads=threads).encode(TEXTS), alone)


def without_numba(code, **environment):
    """Run code in a process in which Numba cannot be imported, or as the environment says."""
    block = "" if environment else "import sys; sys.modules['numba'] = None\n"
    return subprocess.run(
        [sys.executable, "-c", block + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, {"NUMBA_DISABLE_JIT": "1"}], ids=str)
def test_without_numba_the_reference_runs(folder, environment):
    code = f"""
import json, minigte
embedder = minigte.Embedder({str(folder)!r})
print(embedder.backend_name, json.dumps(embedder.encode({TEXTS!r}).tolist()))
"""
    process = without_numba(code, **environment)
    assert process.returncode == 0, process.stderr
    name, _, vectors = process.stdout.partition(" ")
    assert name == "numpy"
    np.testing.assert_array_equal(
        np.float32(json.loads(vectors)), Embedder(folder, backend="numpy").encode(TEXTS)
    )


@pytest.mark.parametrize("options", ["backend='numba'", "dtype='int8'"])
def test_what_needs_numba_says_so(folder, options):
    code = f"""
import minigte
try:
    minigte.Embedder({str(folder)!r}, {options})
except minigte.MissingDependencyError as error:
    print(error)
"""
    process = without_numba(code)
    assert "needs Numba, but it cannot be imported" in process.stdout, process.stderr


def test_in_a_sub_interpreter_the_reference_runs(folder):
    """As under mod_wsgi, where Numba would hang; the vectors are computed beside the main interpreter."""
    code = f"""
import warnings
warnings.filterwarnings("ignore", "NumPy was imported from a Python sub-interpreter")
import minigte, json
embedder = minigte.Embedder({str(folder)!r})
print(embedder.backend_name, json.dumps(embedder.encode({TEXTS!r}).tolist()))
try:
    minigte.Embedder({str(folder)!r}, dtype="int8")
except minigte.MissingDependencyError as error:
    print(error)
"""
    run = f"""
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
interpreters.run_string(interpreters.create({"'legacy'" if sys.version_info >= (3, 13) else ""}), {code!r})
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", run], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.splitlines()
    name, _, vectors = first.partition(" ")
    assert name == "numpy"
    expected = Embedder(folder, backend="numpy").encode(TEXTS)
    np.testing.assert_array_equal(np.float32(json.loads(vectors)), expected)
    assert "hangs in a sub-interpreter" in second
    assert "WSGIApplicationGroup" in second


def test_wrong_choices():
    for backend in ("cuda", ""):
        with pytest.raises(InputError, match=rf"unknown backend '{backend}' \(known: auto, numpy, numba\)"):
            choose_backend(backend, "float32")
    with pytest.raises(InputError, match=r"unknown dtype 'float16' \(known: float32, bfloat16, int8\)"):
        choose_backend("auto", "float16")
    for dtype in ("bfloat16", "int8"):
        with pytest.raises(InputError, match=f"computes in float32 alone: for {dtype} use backend='numba'"):
            choose_backend("numpy", dtype)
    with pytest.raises(InputError, match="threads must be a whole number from 1, not 0"):
        choose_backend("auto", "float32", 0)


def test_a_missing_dependency_is_also_an_import_error():
    assert issubclass(MissingDependencyError, ImportError)
