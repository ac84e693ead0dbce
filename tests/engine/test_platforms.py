"""Kernels for other systems and processors, built here: run where an emulator can, else looked at.

Each library is linked from its platform's first level alone. What runs one is a program in C (call.c), or in
JavaScript (call.mjs), which gets everything that a forward pass reads in a file; the engine around it is the
package's own.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from digests import digests
from random_models import DTYPES, embed, make_batch, make_config, random_texts, random_weights, spec
from test_forward import COSINE, HIDDEN_STATE
from test_library import bits
from test_processors import environment

from minigte.arrays import Float32, Int64
from minigte.engine import build
from minigte.engine.kernels import Begin, Ids
from minigte.engine.level import Level, level_of, levels_of
from minigte.engine.library import file_name, parts, words
from minigte.engine.processor import machine
from minigte.engine.scheduler import Engine
from minigte.engine.weights import PackedModel
from minigte.engine.workspace import Workspace
from minigte.reference import bert as reference

HERE = Path(__file__).parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium"
)
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


Run = Callable[[str, bytes], bytes]  # a function of a library, and what it reads, to the result


def by_program(command: list[str], library: Path, folder: Path) -> Run:
    """Run functions by a program that is given files in ``folder``."""

    def run(function: str, read: bytes) -> bytes:
        (folder / "input").write_bytes(read)
        done = subprocess.run(
            [*command, str(library), function, "input", "output"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return (folder / "output").read_bytes()

    return run


def by_browser(library: Path, folder: Path) -> Run:
    """Run functions by a page that a headless Chromium opens, and take the result from what it shows."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}"]

    def run(function: str, read: bytes) -> bytes:
        module, data = (base64.b64encode(content).decode() for content in (library.read_bytes(), read))
        page = f"""<body><script type="module">{(HERE / "call.mjs").read_text(encoding="utf-8")}
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const result = call(bytes("{module}"), "{function}", bytes("{data}"));
document.body.textContent = btoa(Array.from(result, (byte) => String.fromCharCode(byte)).join(""));
</script></body>"""
        (folder / "page.html").write_text(page, encoding="utf-8")
        command = [CHROMIUM, *flags, "--dump-dom", (folder / "page.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        assert "<script" not in done.stdout, "the page has failed"
        return base64.b64decode(done.stdout.partition("<body>")[2].partition("</body>")[0])

    return run


class Elsewhere:
    """Kernels that something of another platform runs."""

    def __init__(self, run: Run, level: Level) -> None:
        self.level = level
        self._run = run

    def prepare(self, dtype: str) -> None:
        """They are built."""

    def bind(self, dtype: str, model: PackedModel, workspace: Workspace) -> Begin:
        function = f"minigte_forward_{self.level.name.replace('-', '_')}_{dtype}"

        def begin(input_ids: Ids, token_type_ids: Ids, offsets: Int64, out: Float32, meeting: Int64):
            def call(wanted: int) -> None:
                assert wanted == 1
                arrays = input_ids, token_type_ids, offsets, out, meeting
                result = self._run(function, frozen(out, model, workspace, *arrays))
                out[...] = np.frombuffer(result, np.float32).reshape(out.shape)

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
    kernels = Elsewhere(by_program([*place.emulator, str(program)], library, tmp_path), level)
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


@pytest.fixture(scope="session")
def baseline() -> list[str]:
    """The bits of x86-64 without extensions: vectors of four numbers, and no fused product."""
    level = "sse2"
    if machine() != "x86_64":
        pytest.skip(f"no {level} on {machine()}")
    return [line.removeprefix(level) for line in bits(**environment(level))]


@pytest.mark.parametrize("place", ["node", "chromium"])
def test_the_web_has_the_bits_of_the_baseline(
    place: str, linked: Callable[..., Path], baseline: list[str], tmp_path: Path
) -> None:
    require("wasm-ld", package="lld")
    library = linked("web-wasm32", *DTYPES)
    if place == "node":
        require("node", package="nodejs")
        run = by_program(["node", str(HERE / "call.mjs")], library, tmp_path)
    else:
        require(CHROMIUM, package="chromium")
        run = by_browser(library, tmp_path)
    [(name, features)] = levels_of("wasm32").items()
    kernels = Elsewhere(run, level_of("wasm32", features))
    assert [line.removeprefix(name) for line in digests(kernels, threads=1)] == baseline


def test_the_web_module_needs_nothing(linked: Callable[..., Path]) -> None:
    """No import, memory to spare from ``__heap_base`` on, and the product of 16-bit pairs for int8."""
    require("wasm-ld", "node", package="lld nodejs")
    library = linked("web-wasm32", *DTYPES)
    code = """
const module = new WebAssembly.Module(require("fs").readFileSync(process.argv[1]));
console.log(WebAssembly.Module.imports(module).length);
for (const { name } of WebAssembly.Module.exports(module)) console.log(name);
"""
    listed = subprocess.run(["node", "-e", code, str(library)], capture_output=True, text=True, check=True)
    imports, *exports = listed.stdout.split()
    assert imports == "0"
    assert set(exports) == {"memory", "__heap_base", *(f"minigte_forward_simd128_{d}" for d in DTYPES)}
    dot = bytes.fromhex("fdba01")  # i32x4.dot_i16x8_s
    level = level_of("wasm32", levels_of("wasm32")["simd128"])
    assert library.read_bytes().count(dot) >= 2 * level.steps_at_once * sum(range(1, level.tile_rows + 1))


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
