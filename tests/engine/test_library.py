"""Built kernels: the bits of those that Numba compiles, and nothing that is not theirs is ever loaded."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_models import make_config, random_weights

from minigte.backend import jit_missing
from minigte.engine import library, sources
from minigte.engine.kernels import example
from minigte.engine.level import level_of, levels_of
from minigte.engine.library import Library, file_name, kinds, layout, parts, table
from minigte.engine.processor import (
    OSXSAVE,
    TMM,
    X86_64,
    YMM,
    ZMM,
    machine,
    may_use_matrices,
    x86_64_features,
)
from minigte.errors import InputError, MissingDependencyError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
NAME = file_name(sys.platform, machine())
LEVELS = levels_of(machine())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of these sources: the package's own, or one that is built now."""
    try:
        library.library()
    except MissingDependencyError as error:
        if jit_missing() is not None:
            pytest.skip(f"{error}, and {jit_missing()}")
    else:
        return Path(library.__file__).parent
    folder = tmp_path_factory.mktemp("kernels")
    command = [sys.executable, "-m", "minigte.engine.build", "--output", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(run.stderr.splitlines()) == 1
    return folder


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled."""
    for name in (NAME, NAME + ".json"):
        shutil.copy(built / name, tmp_path)
    return tmp_path


def bits(**variables: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, str(HERE / "digests.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.skipif(jit_missing() is not None, reason=f"{jit_missing()}")
@pytest.mark.parametrize("level", LEVELS)
def test_the_bits_are_those_that_numba_compiles_for_the_same_level(level: str, built: Path) -> None:
    if level not in Library(built, NAME).usable:
        pytest.skip(f"{level} was not built here (make kernels), or this processor does not have it")
    from test_processors import environment

    ahead = bits(MINIGTE_TEST_LIBRARY=str(built), MINIGTE_CPU=level)
    assert ahead == bits(**environment(level))
    assert [line.split()[0] for line in ahead] == [level] * 3


def test_the_best_level_runs_unless_one_is_named(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Library(built, NAME)
    monkeypatch.setattr(library, "library", lambda: here)
    monkeypatch.delenv("MINIGTE_CPU", raising=False)
    assert library.built().level.name == here.usable[-1]
    assert library.describe().startswith(f"{here.usable[-1]}, the best for this processor")
    monkeypatch.setenv("MINIGTE_CPU", here.usable[0])
    assert library.built().level.name == here.usable[0]
    assert library.describe().startswith(f"{here.usable[0]}, named by MINIGTE_CPU")


def test_a_level_that_the_processor_lacks_is_refused(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Library(built, NAME)
    monkeypatch.setattr(library, "library", lambda: here)
    here.usable.remove(best := here.usable[-1])
    for wanted in (best, "avx1024"):
        monkeypatch.setenv("MINIGTE_CPU", wanted)
        with pytest.raises(
            InputError, match=rf"MINIGTE_CPU is '{wanted}'.* has {', '.join(here.usable) or 'none'}"
        ):
            library.built()


def test_a_processor_below_every_level(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Library(built, NAME)
    monkeypatch.setattr(library, "library", lambda: here)
    monkeypatch.delenv("MINIGTE_CPU", raising=False)
    here.usable.clear()
    with pytest.raises(MissingDependencyError, match=f"built for {', '.join(here.levels)}: .* none of them"):
        library.built()


def refused(folder: Path, why: str) -> None:
    with pytest.raises(MissingDependencyError, match=rf"^{NAME} {why}"):
        Library(folder, NAME)


def test_none_was_built(tmp_path: Path) -> None:
    refused(tmp_path, "was not built")


@pytest.mark.parametrize("key", ["version", "sources"])
def test_a_library_of_another_version(key: str, copy: Path) -> None:
    manifest = json.loads((copy / f"{NAME}.json").read_text())
    (copy / f"{NAME}.json").write_text(json.dumps({**manifest, key: "0"}))
    refused(copy, "was built from other sources")


def test_a_library_without_its_sources(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compiled Python alone was installed: the version decides."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sources, "folder", lambda: tmp_path / "empty")
    Library(copy, NAME)
    manifest = json.loads((copy / f"{NAME}.json").read_text())
    (copy / f"{NAME}.json").write_text(json.dumps({**manifest, "version": "0"}))
    refused(copy, "was built from other sources")


def test_a_damaged_library_is_never_loaded(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated, it would end the process: what it maps is not there."""
    monkeypatch.setattr(ctypes, "CDLL", None)
    whole = (copy / NAME).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damage in (whole[:-1], whole[: len(whole) // 2], b"", bytes(flipped)):
        (copy / NAME).write_bytes(damage)
        refused(copy, "is damaged")


def test_a_damaged_manifest(copy: Path) -> None:
    for damage in ("", "{}", "[1]", '{"version": 1'):
        (copy / f"{NAME}.json").write_text(damage)
        refused(copy, "cannot be read")


def test_a_library_that_the_system_refuses(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    refused(copy, r"cannot be loaded \(failed to map segment")


def test_models_that_are_laid_out_otherwise_are_refused(copy: Path) -> None:
    """Here because the manifest is wrong; never a pointer into the wild."""
    manifest = json.loads((copy / f"{NAME}.json").read_text())
    [*_, level] = manifest["levels"]
    manifest["levels"][level]["float32"] = "0"
    (copy / f"{NAME}.json").write_text(json.dumps(manifest))
    kernels = Library(copy, NAME).kernels(level)
    model, workspace, *_ = example("float32", kernels.level)
    with pytest.raises(MissingDependencyError, match="laid out otherwise"):
        kernels.bind("float32", model, workspace)


def test_a_layout_knows_names_types_and_axes() -> None:
    a, b = np.zeros(3, np.float32), np.zeros((3, 1), np.float32)
    values = [(a,), (b,), (a.astype(np.int8),), (a, a), ((a,), a), (1,), (True,), (np.float32(1),)]
    assert len({layout(*value) for value in values}) == len(values)
    assert layout(a, 1) == layout(a[:2], 2)


def test_a_table_is_as_long_as_its_kinds() -> None:
    level = level_of("x86_64", frozenset())
    for dtype in ("float32", "int8"):
        arguments = example(dtype, level)
        flat = [kind for _, part in parts(arguments) for kind in kinds(part)]
        assert len(table(*arguments)) == len(flat)


def test_it_needs_nothing_but_two_functions_of_the_c_library(built: Path) -> None:
    if shutil.which("readelf") is None or sys.platform != "linux":
        pytest.skip("no readelf here")
    command = ["readelf", "--wide", "--dyn-syms", "--dynamic", str(built / NAME)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[-1] for line in printed if " UND " in line and line.split()[-1] != "UND"}
    assert names <= {"syscall", "usleep"}
    assert not [line for line in printed if "(NEEDED)" in line]
    exported = {line.split()[-1] for line in printed if " FUNC " in line and " UND " not in line}
    assert {name.split("_")[0] for name in exported} == {"minigte"}


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    if jit_missing() is not None:
        pytest.skip(f"{jit_missing()}")
    from minigte.engine.build import HERE as PLATFORM

    level = next(iter(LEVELS))
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        code = f"""
from pathlib import Path
from minigte.engine import build
folder = Path({str(folder)!r})
platform = build.PLATFORMS[{PLATFORM!r}]
build._compile_apart(platform, {level!r}, "float32", folder)
build._link(platform, list(folder.glob("*.o")), folder / "library")
"""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    one, two = sorted((tmp_path / "one").iterdir()), sorted((tmp_path / "two").iterdir())
    assert [path.name for path in one] == [path.name for path in two] == ["library", f"{level}-float32.o"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


# --- What a processor says of itself ---------------------------------------------------------------------


def cpuid_of(features: set[str], highest: int = 7, highest_of_7: int = 1, osxsave: bool = True):
    """What the instruction answers on a processor that has these features; beyond ``highest``, all ones."""

    def cpuid(leaf: int, subleaf: int) -> tuple[int, ...]:
        if leaf & 0x7FFFFFFF == 0:
            return (leaf + (highest if leaf == 0 else 1), 0, 0, 0)
        if leaf & 0x7FFFFFFF > highest:
            return (0xFFFFFFFF,) * 4
        registers = [highest_of_7 if (leaf, subleaf) == (7, 0) else 0, 0, 0, 0]
        places = [X86_64[name] for name in features] + [OSXSAVE] * osxsave
        for its_leaf, its_subleaf, register, bit in places:
            if (its_leaf, its_subleaf) == (leaf, subleaf):
                registers[register] |= 1 << bit
        return tuple(registers)

    return cpuid


def never() -> int:
    raise AssertionError("xgetbv would be an illegal instruction here")


@pytest.mark.parametrize("level", levels_of("x86_64"))
def test_each_level_is_found(level: str) -> None:
    features = set(levels_of("x86_64")[level])
    assert x86_64_features(cpuid_of(features), lambda: ZMM | TMM) == features


def test_registers_that_the_system_does_not_keep_are_not_used() -> None:
    everything = set(X86_64)
    best = {}
    for kept in (ZMM | TMM, ZMM, YMM, 0):
        found = x86_64_features(cpuid_of(everything), lambda kept=kept: kept)
        best[kept] = [name for name, needed in levels_of("x86_64").items() if needed <= found][-1]
    assert best == {
        ZMM | TMM: "avx512-vnni-bf16-amx",
        ZMM: "avx512-vnni-bf16",
        YMM: "avx2-vnni",
        0: "sse2",
    }
    assert not {"avx", "avx2", "fma"} & x86_64_features(cpuid_of(everything, osxsave=False), never)


def test_what_an_old_processor_answers_beyond_its_last_leaf_is_not_believed() -> None:
    sse = {"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"}
    assert x86_64_features(cpuid_of(sse, highest=1), lambda: ZMM) == sse
    found = x86_64_features(cpuid_of(set(X86_64), highest_of_7=0), lambda: ZMM)
    assert {"avx2", "avx512f"} <= found
    assert not {"avxvnni", "avx512bf16"} & found


def test_this_processor_says_what_llvm_finds(built: Path) -> None:
    pytest.importorskip("llvmlite")
    import llvmlite.binding as llvm

    known = set(X86_64) if machine() == "x86_64" else {"neon"}
    found = {name for name, has in llvm.get_host_cpu_features().items() if has}
    assert Library(built, NAME)._features() == found & known


def test_an_engine_on_the_built_kernels(built: Path) -> None:
    """That the fixture's library computes: the same suite runs on it where it is the package's own."""
    from random_models import make_batch, random_texts, spec

    from minigte.engine.scheduler import Engine
    from minigte.reference import bert

    config = make_config()
    weights, batch = random_weights(config), make_batch(random_texts(config, [80, 3, 1]))
    here = Library(built, NAME)
    for level in here.usable:
        [(_, states)] = Engine(spec(config), weights, here.kernels(level), threads=2).last_hidden_states(
            [batch]
        )
        wanted = bert.forward(config, weights, batch.input_ids, batch.offsets)
        np.testing.assert_allclose(states, wanted, rtol=0, atol=1e-5)


# Linux gives no matrix registers to a process whose stack for signals could not keep them.
SMALL_STACK = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 8192)), None) == 0
from minigte.backend import jit_missing
from minigte.engine.library import library
from minigte.engine.processor import may_use_matrices
from minigte.errors import MissingDependencyError
levels = []
try:
    levels += library().usable[-1:]
except MissingDependencyError:
    pass  # nothing was built
if jit_missing() is None:
    from minigte.engine.target import LEVEL
    levels.append(LEVEL.name)
print(may_use_matrices(), *levels)
"""


@pytest.mark.skipif(not may_use_matrices(), reason="no matrix registers here")
def test_matrix_registers_that_the_system_refuses_are_not_used() -> None:
    run = subprocess.run([sys.executable, "-c", SMALL_STACK], capture_output=True, text=True, check=True)
    allowed, *levels = run.stdout.split()
    assert allowed == "False"
    assert set(levels) <= {"avx512-vnni-bf16"}
