"""Which backend runs, why, and that it makes no difference to the vectors."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny

from minigte import Embedder, InputError, MissingDependencyError
from minigte.backend import BACKENDS, built_missing, choose_backend, jit_missing

TEXTS = ["the cat sat", "", "a dog", "the dog sat on the mat, run", "a " * 29] * 3
MISSING = {"built": built_missing(), "jit": jit_missing()}
COMPILED = [name for name, reason in MISSING.items() if reason is None]

needs_kernels = pytest.mark.skipif(not COMPILED, reason=f"{MISSING}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model"))


def test_auto_is_the_first_that_works(folder):
    embedder = Embedder(folder)
    best = [*COMPILED, "numpy"][0]
    assert embedder.backend_name == best
    assert repr(embedder) == f"Embedder({str(folder)!r}, dtype='float32', backend={best!r})"


@pytest.mark.parametrize("backend", COMPILED)
def test_all_backends_give_the_same_vectors(folder, backend):
    expected = Embedder(folder, backend="numpy").encode(TEXTS)
    np.testing.assert_allclose(Embedder(folder, backend=backend).encode(TEXTS), expected, rtol=0, atol=1e-6)


@needs_kernels
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


NO_NUMBA = "import sys; sys.modules['numba'] = None\n"
NOT_BUILT = "import minigte.engine.library as library; library.file_name = lambda *_: 'kernels'\n"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("block", "environment"), [(NO_NUMBA, {}), ("", {"NUMBA_DISABLE_JIT": "1"})], ids=["no Numba", "no JIT"]
)
def test_without_kernels_the_reference_runs(folder, block, environment):
    code = f"""
import json, minigte
embedder = minigte.Embedder({str(folder)!r})
print(embedder.backend_name, json.dumps(embedder.encode({TEXTS!r}).tolist()))
"""
    process = run(NOT_BUILT + block + code, **environment)
    assert process.returncode == 0, process.stderr
    name, _, vectors = process.stdout.partition(" ")
    assert name == "numpy"
    np.testing.assert_array_equal(
        np.float32(json.loads(vectors)), Embedder(folder, backend="numpy").encode(TEXTS)
    )


@pytest.mark.skipif(MISSING["built"] is not None, reason=f"{MISSING}")
def test_built_kernels_need_no_numba(folder):
    code = f"""
import minigte, sys
embedder = minigte.Embedder({str(folder)!r}, dtype="int8")
print(embedder.backend_name, embedder.encode("the cat").shape, {{"numba", "llvmlite"}} & set(sys.modules))
"""
    for block in ("", NO_NUMBA):
        blocked = {"numba"} if block else set()
        assert run(block + code).stdout == f"built (20,) {blocked or set()}\n"


@pytest.mark.parametrize("options", ["backend='jit'", "backend='built'", "dtype='int8'"])
def test_what_does_not_work_here_says_so(folder, options):
    code = f"""
import minigte
try:
    minigte.Embedder({str(folder)!r}, {options})
except minigte.MissingDependencyError as error:
    print(error)
"""
    printed = run(NOT_BUILT + NO_NUMBA + code).stdout
    assert printed.count("\n") == 1
    assert ("Numba cannot be imported" in printed) == (options != "backend='built'")
    assert ("kernels was not built" in printed) == (options != "backend='jit'")


def test_a_level_that_is_not_there_is_refused_by_every_backend_that_asks(folder, monkeypatch):
    if MISSING["built"] is not None:
        pytest.skip(f"{MISSING}")
    monkeypatch.setenv("MINIGTE_CPU", "z80")
    for backend in ("auto", "built"):
        with pytest.raises(InputError, match="MINIGTE_CPU is 'z80'"):
            Embedder(folder, backend=backend)
    Embedder(folder, backend="numpy")


def in_a_sub_interpreter(code):
    """The lines that the code prints there, as under mod_wsgi."""
    quiet = "import warnings\nwarnings.filterwarnings('ignore', 'NumPy was imported from a Python sub-')\n"
    kind = "'legacy'" if sys.version_info >= (3, 13) else ""
    process = run(f"""
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
interpreters.run_string(interpreters.create({kind}), {quiet + code!r})
""")
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_in_a_sub_interpreter_numba_would_hang(folder):
    """The reference runs in its place."""
    code = f"""
import json, minigte
embedder = minigte.Embedder({str(folder)!r})
print(embedder.backend_name, json.dumps(embedder.encode({TEXTS!r}).tolist()))
try:
    minigte.Embedder({str(folder)!r}, dtype="int8")
except minigte.MissingDependencyError as error:
    print(error)
"""
    first, second = in_a_sub_interpreter(NOT_BUILT + code)
    name, _, vectors = first.partition(" ")
    assert name == "numpy"
    expected = Embedder(folder, backend="numpy").encode(TEXTS)
    np.testing.assert_array_equal(np.float32(json.loads(vectors)), expected)
    assert "hangs in a sub-interpreter" in second
    assert "WSGIApplicationGroup" in second


@pytest.mark.skipif(MISSING["built"] is not None, reason=f"{MISSING}")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_in_a_sub_interpreter_built_kernels_run(folder, dtype):
    code = f"""
import json, minigte
embedder = minigte.Embedder({str(folder)!r}, dtype={dtype!r})
print(embedder.backend_name, json.dumps(embedder.encode({TEXTS!r}).tolist()))
"""
    [line] = in_a_sub_interpreter(code)
    name, _, vectors = line.partition(" ")
    assert name == "built"
    expected = Embedder(folder, dtype=dtype, backend="built").encode(TEXTS)
    np.testing.assert_array_equal(np.float32(json.loads(vectors)), expected)


def test_wrong_choices():
    for backend in ("cuda", "numba", ""):
        with pytest.raises(
            InputError, match=rf"unknown backend '{backend}' \(known: {', '.join(BACKENDS)}\)"
        ):
            choose_backend(backend, "float32")
    with pytest.raises(InputError, match=r"unknown dtype 'float16' \(known: float32, bfloat16, int8\)"):
        choose_backend("auto", "float16")
    for dtype in ("bfloat16", "int8"):
        with pytest.raises(InputError, match=f"computes in float32 only: for {dtype} use backend='auto'"):
            choose_backend("numpy", dtype)
    with pytest.raises(InputError, match="threads must be a whole number from 1, not 0"):
        choose_backend("auto", "float32", 0)


def test_a_missing_dependency_is_also_an_import_error():
    assert issubclass(MissingDependencyError, ImportError)
