"""Kernels for other systems and processors, built here: run where an emulator can, else looked at.

Each library is linked from its platform's first level alone. What runs one is a program in C (call.c), which
gets everything that a forward pass reads in a file; the engine around it is the package's own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from random_models import DTYPES, embed, make_batch, make_config, random_texts, random_weights, spec
from test_forward import COSINE, HIDDEN_STATE

from minigte.arrays import Float32, Int64
from minigte.engine import build
from minigte.engine.kernels import Begin, Ids
from minigte.engine.level import Level, level_of
from minigte.engine.library import file_name, parts, words
from minigte.engine.scheduler import Engine
from minigte.engine.weights import PackedModel
from minigte.engine.workspace import Workspace
from minigte.reference import bert as reference

HERE = Path(__file__).parent
WINE = next((path for path in ("wine64", "/usr/lib/wine/wine64") if shutil.which(path)), "wine64")


class Place(NamedTuple):
    """Where a library runs: what compiles call.c for it, and what runs a program of it."""

    platform: str
    compiler: str
    emulator: tuple[str, ...]
    package: str  # of Debian


PLACES = {
    "musl": Place("linux-x86_64", "musl-gcc", (), "musl-tools"),
    "aarch64": Place(
        "linux-aarch64",
        "aarch64-linux-gnu-gcc",
        ("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"),
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static",
    ),
    "windows": Place("win32-x86_64", "x86_64-w64-mingw32-gcc", (WINE,), "gcc-mingw-w64-x86-64-win32 wine64"),
}


def require(*programs: str, package: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: apt-get install {package}")


@pytest.fixture(scope="session")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """linked(platform, *dtypes) builds the first level of a platform, once."""
    found: dict[str, Path] = {}

    def link(name: str, *dtypes: str) -> Path:
        require("ld.lld", "lld-link", "lld", package="lld")
        if name not in found:
            platform = build.PLATFORMS[name]
            objects = tmp_path_factory.mktemp(name)
            build.build(objects, platform, [next(iter(platform.levels))], dtypes)
            found[name] = objects / file_name(platform.system, platform.machine)
        return found[name]

    return link


def frozen(out: Float32, *values: Any) -> bytes:
    """What call.c reads: the table of these values, and the memory that it points to."""
    table: list[int] = []
    addresses = []
    memory = bytearray()
    places: dict[tuple[int, int], int] = {}  # one array may stand in several parts of the table
    for _, part in parts(values):
        row = list(words(part))
        if isinstance(part, np.ndarray):
            assert part.flags.c_contiguous
            key = part.ctypes.data, part.nbytes
            if key not in places:
                places[key] = len(memory)
                memory += part.tobytes() + bytes(-part.nbytes % 64)
            addresses.append(len(table) + 4)
            row[4] = places[key]
        table += row
    sizes = [len(table), len(addresses), len(memory), places[out.ctypes.data, out.nbytes], out.nbytes]
    return np.array([*sizes, *addresses, *table], np.int64).tobytes() + bytes(memory)


class Elsewhere:
    """Kernels that a program of another platform runs."""

    def __init__(self, command: list[str], library: Path, level: Level, folder: Path) -> None:
        self.level = level
        self._command, self._library, self._folder = command, library, folder

    def prepare(self, dtype: str) -> None:
        """They are built."""

    def bind(self, dtype: str, model: PackedModel, workspace: Workspace) -> Begin:
        function = f"minigte_forward_{self.level.name.replace('-', '_')}_{dtype}"

        def begin(input_ids: Ids, token_type_ids: Ids, offsets: Int64, out: Float32, meeting: Int64):
            def call(wanted: int) -> None:
                assert wanted == 1
                arrays = input_ids, token_type_ids, offsets, out, meeting
                (self._folder / "input").write_bytes(frozen(out, model, workspace, *arrays))
                command = [*self._command, str(self._library), function, "input", "output"]
                done = subprocess.run(
                    command, cwd=self._folder, capture_output=True, text=True, timeout=300, check=False
                )
                assert done.returncode == 0, done.stderr
                out[...] = np.fromfile(self._folder / "output", np.float32).reshape(out.shape)

            return call

        return begin


@pytest.mark.parametrize("name", PLACES)
def test_every_dtype_on(name: str, linked: Callable[..., Path], tmp_path: Path) -> None:
    place = PLACES[name]
    require(place.compiler, *place.emulator[:1], package=place.package)
    program = tmp_path / "call.exe"
    compile_it = [place.compiler, "-O1", "-o", str(program), str(HERE / "call.c")]
    subprocess.run([*compile_it, *["-ldl"] * (name == "aarch64")], check=True)
    platform = build.PLATFORMS[place.platform]
    level = level_of(platform.triple, next(iter(platform.levels.values())))
    library = linked(place.platform, *DTYPES)
    kernels = Elsewhere([*place.emulator, str(program)], library, level, tmp_path)
    for changes in ({}, {"hidden_size": 77, "num_attention_heads": 7, "intermediate_size": 131}):
        config = make_config(**changes)
        weights = random_weights(config)
        batch = make_batch(random_texts(config, [80, 33, 16, 7, 1]))
        wanted = reference.forward(config, weights, batch.input_ids, batch.offsets)
        for dtype in DTYPES:
            engine = Engine(spec(config), weights, kernels, dtype=dtype, threads=1)
            [(_, states)] = engine.last_hidden_states([batch])
            np.testing.assert_allclose(states, wanted, rtol=0, atol=HIDDEN_STATE[dtype])
            assert (embed(states, batch) * embed(wanted, batch)).sum(axis=1).min() >= COSINE[dtype]


@pytest.mark.parametrize("name", ["darwin-aarch64", "darwin-x86_64"])
def test_a_library_for_macos(name: str, linked: Callable[..., Path]) -> None:
    """Nothing here can run one: that it is whole and asks for one function of the system alone."""
    library = linked(name, "float32")
    llvm = next((suffix for suffix in ("", "-14", "-19") if shutil.which(f"llvm-nm{suffix}")), "")
    require(f"llvm-nm{llvm}", package="llvm")
    listed = subprocess.run([f"llvm-nm{llvm}", str(library)], capture_output=True, text=True, check=True)
    symbols = [line.split() for line in listed.stdout.splitlines()]
    assert {symbol[-1] for symbol in symbols if symbol[-2] == "U"} <= {"_usleep", "dyld_stub_binder"}
    level = next(iter(build.PLATFORMS[name].levels))
    assert f"_minigte_forward_{level}_float32" in {symbol[-1] for symbol in symbols if symbol[-2] == "T"}
