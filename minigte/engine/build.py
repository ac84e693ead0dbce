"""Kernels ahead of time: ``python -m minigte.engine.build`` makes the library that ``library`` loads.

For each level of a family of processors, Numba compiles ``encoder.forward`` in a process of its own (what it
compiles for is settled when it is imported), and stops at LLVM's module. That gets an entry that takes a
table, is optimised as a whole, and becomes an object file; a linker makes one library of them. Nothing is
run, so any machine builds for any other. The library needs two functions of the C library, syscall and
usleep, and the same sources always make the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

import minigte.version
from minigte.engine import sources
from minigte.engine.formats import DTYPES
from minigte.engine.kernels import example
from minigte.engine.level import AMX, levels_of
from minigte.engine.library import file_name, kinds, layout, parts
from minigte.engine.processor import machine, usable
from minigte.runtime.replacing import replacing


class Platform(NamedTuple):
    """A system and a family of processors."""

    system: str  # as sys.platform; "web" is what browsers and Node run, WebAssembly without a system
    machine: str
    triple: str

    @property
    def levels(self) -> dict[str, frozenset[str]]:
        """The levels to build for it, and the features that their code may use."""
        matrices = self.system == "linux"  # others are not asked for these registers
        found = levels_of(self.machine).items()
        return {name: features for name, features in found if matrices or features.isdisjoint(AMX)}

    @property
    def exported(self) -> str:
        """What LLVM calls a function that others may call, where that must be said."""
        return "dllexport " if self.system == "win32" else ""


PLATFORMS = {
    f"{platform.system}-{platform.machine}": platform
    for platform in (
        Platform("linux", "x86_64", "x86_64-unknown-linux-gnu"),
        Platform("linux", "aarch64", "aarch64-unknown-linux-gnu"),
        Platform("win32", "x86_64", "x86_64-pc-windows-msvc"),
        Platform("darwin", "x86_64", "x86_64-apple-macosx11.0.0"),
        Platform("darwin", "aarch64", "arm64-apple-macosx11.0.0"),
        Platform("web", "wasm32", "wasm32-unknown-unknown"),
    )
}
HERE = f"{sys.platform}-{machine()}"

ENTRY = """
declare i32 @"{kernel}"(ptr, ptr, {kinds})
define {exported}i32 @{entry}(ptr %table, i32 %wanted) {{
  %result = alloca i64
  %error = alloca ptr
  %members = sext i32 %wanted to i64
{loads}
  %status = call i32 @"{kernel}"(ptr %result, ptr %error, {values})
  ret i32 %status
}}
"""
LOAD = """  %p{i} = getelementptr i64, ptr %table, i64 {i}
  %v{i} = load {kind}, ptr %p{i}, align 8"""

# What ``processor`` asks of an x86-64 processor.
CPUID = """
define {exported}void @minigte_cpuid(i32 %leaf, i32 %subleaf, ptr %registers) {{
  %all = call {{i32, i32, i32, i32}} asm sideeffect "cpuid", "={{ax}},={{bx}},={{cx}},={{dx}},{{ax}},{{cx}}"(
    i32 %leaf, i32 %subleaf)
  store {{i32, i32, i32, i32}} %all, ptr %registers, align 4
  ret void
}}
define {exported}i32 @minigte_xcr0() {{
  %all = call {{i32, i32}} asm sideeffect "xgetbv", "={{ax}},={{dx}},{{cx}}"(i32 0)
  %low = extractvalue {{i32, i32}} %all, 0
  ret i32 %low
}}
"""

# On Windows code with floating-point numbers names this variable, and kernel32 has the function for waiting.
FLOATS = "@_fltused = global i32 0"
KERNEL32 = """
define dllexport void @Sleep(i32 %milliseconds) {
  ret void
}
"""

WASM_STACK = 1 << 16  # bytes: a pass keeps a few hundred there

IMPORTS = {"syscall", "usleep", "Sleep"}  # what code may need of the system


class BuildError(Exception):
    """The kernels cannot be built here; the message is one line that says why."""


def build(folder: Path, platform: Platform, levels: Iterable[str], dtypes: Iterable[str] = DTYPES) -> Path:
    """Build the levels of a platform into one library in ``folder``; returns its path. Raises BuildError."""
    layouts: dict[str, dict[str, str]] = {level: {} for level in levels}
    path = folder / file_name(platform.system, platform.machine)
    with tempfile.TemporaryDirectory() as temporary:
        objects = Path(temporary)
        jobs = [(level, dtype) for level in levels for dtype in dtypes]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda job: _compile_apart(platform, job[0], job[1], objects), jobs)
            for (level, dtype), table in zip(jobs, found, strict=True):
                layouts[level][dtype] = table
        if platform.machine == "x86_64":
            code = CPUID.format(exported=platform.exported)
            _emit(_parse(code, platform), platform, frozenset(), objects / "processor.o")
        _link(platform, sorted(objects.glob("*.o")), objects / path.name)
        contents = (objects / path.name).read_bytes()
    manifest = {
        "version": minigte.version.__version__,
        "sources": sources.version(),
        "sha256": hashlib.sha256(contents).hexdigest(),
        "levels": layouts,
    }
    with replacing(path) as file:
        file.write(contents)
    with replacing(path.with_name(path.name + ".json")) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")
    return path


def levels_here() -> list[str]:
    """The best level of this very processor."""
    features = usable(frozenset(name for name, has in llvm.get_host_cpu_features().items() if has))
    return [name for name, needed in levels_of(machine()).items() if needed <= features][-1:]


def _compile_apart(platform: Platform, level: str, dtype: str, objects: Path) -> str:
    """``compile_forward`` in a process of its own; returns the layout of its table."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {
        "NUMBA_CPU_NAME": "x86-64" if platform.machine == "x86_64" else "generic",
        "NUMBA_CPU_FEATURES": _features(platform.levels[level]),
        "NUMBA_OPT": "0",  # ``_emit`` does that, once for all
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", __spec__.name, "--compile", level, dtype, str(objects)]
    command += ["--platform", f"{platform.system}-{platform.machine}"]
    return _run(command, f"compiling {level} {dtype}", environment).strip()


def _run(command: list[str], what: str, environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises BuildError with the last line that it says of its failure."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{what} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return done.stdout


def compile_forward(platform: Platform, level: str, dtype: str, objects: Path) -> str:
    """Compile the forward pass into an object file, in a process made for it; returns its table's layout."""
    from minigte.engine import jit

    jit.compile_only(platform.triple)
    from minigte.engine.encoder import forward
    from minigte.engine.target import LEVEL

    assert LEVEL.name == level
    arguments = example(dtype, LEVEL)
    text, kernel = jit.llvm_module(forward, (*arguments, 0))
    # Else LLVM calls memset where it finds a loop that is one.
    module = llvm.parse_assembly(re.sub(r"^(define .*) \{$", r'\1 "no-builtins" {', text, flags=re.MULTILINE))
    flat = [kind for _, part in parts(arguments) for kind in kinds(part)]
    found = [str(argument.type) for argument in module.get_function(kernel).arguments]
    if found != ["ptr", "ptr", *flat, "i64"]:
        raise BuildError(
            f"Numba {importlib.metadata.version('numba')} cannot build kernels: 0.62 to 0.68 can"
        )
    entry = f"minigte_forward_{level.replace('-', '_')}_{dtype}"
    code = ENTRY.format(
        kernel=kernel,
        entry=entry,
        exported=platform.exported,
        kinds=", ".join([*flat, "i64"]),
        loads="\n".join(LOAD.format(i=i, kind=kind) for i, kind in enumerate(flat)),
        values=", ".join([*(f"{kind} %v{i}" for i, kind in enumerate(flat)), "i64 %members"]),
    )
    module.link_in(_parse(code, platform))
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration and symbol.name != entry:
            symbol.linkage = "internal"
    _emit(module, platform, platform.levels[level], objects / f"{level}-{dtype}.o")
    return layout(*arguments[:2])


def _features(names: frozenset[str]) -> str:
    return ",".join(f"+{name}" for name in sorted(names))


def _machine(platform: Platform, features: frozenset[str]) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_triple(platform.triple).create_target_machine(
        cpu="x86-64" if platform.machine == "x86_64" else "generic",
        features=_features(features),
        opt=3,
        reloc="static" if platform.system == "web" else "pic",
        codemodel="small",
    )


def _parse(code: str, platform: Platform) -> Any:
    data = _machine(platform, frozenset()).target_data
    return llvm.parse_assembly(f'target datalayout = "{data}"\ntarget triple = "{platform.triple}"\n{code}')


def _emit(module: Any, platform: Platform, features: frozenset[str], path: Path) -> None:
    """Optimise a module as Numba does, and write its machine code. Raises BuildError."""
    target = _machine(platform, features)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    strip = llvm.create_new_module_pass_manager()
    strip.add_strip_dead_prototype_pass()
    strip.run(module, passes)
    foreign = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if not foreign <= IMPORTS:
        raise BuildError(
            f"the kernels need {', '.join(foreign - IMPORTS)[:200]}, which no library of ours has"
        )
    path.write_bytes(target.emit_object(module))


def _link(platform: Platform, objects: list[Path], path: Path) -> None:
    """One library of these object files. Raises BuildError."""
    linker, *options = {"linux": _elf, "win32": _dll, "darwin": _dylib, "web": _wasm}[platform.system](
        platform, path
    )
    if linker in ("ld.lld", "wasm-ld") and not shutil.which(linker):
        command = _instead_of_lld(linker, platform)
    elif shutil.which(linker):
        command = [linker]
    else:
        raise BuildError(f"linking needs {linker}: install LLVM's linker, lld")
    _run([*command, *options, *map(str, objects)], linker)


def _instead_of_lld(linker: str, platform: Platform) -> list[str]:
    """Another linker of ELF files, or of WebAssembly. Raises BuildError."""
    if importlib.util.find_spec("ziglang"):  # it brings LLVM's linker; tools/backend.py asks for it
        return [sys.executable, "-m", "ziglang", linker]
    if linker == "ld.lld" and shutil.which("ld") and platform == PLATFORMS.get(HERE):
        return ["ld"]
    raise BuildError(f"linking needs {linker}: install LLVM's linker, lld")


def _elf(_: Platform, path: Path) -> list[str]:
    """For Linux: whichever C library the process has gives the two functions."""
    options = ["-shared", "--gc-sections", "--strip-all", "--build-id=none", "-z", "noexecstack"]
    return ["ld.lld", *options, "-o", str(path)]


def _dll(platform: Platform, path: Path) -> list[str]:
    """For Windows, where a library says which other one has a function; it learns that from a stand-in."""
    names = {"kernel32": KERNEL32, "floats": FLOATS}
    for name, code in names.items():
        _emit(_parse(code, platform), platform, frozenset(), path.with_name(f"{name}.obj"))
    linker = ["lld-link", "/dll", "/noentry", "/nodefaultlib", "/Brepro"]
    _run([*linker, f"/out:{path.with_name('kernel32.dll')}", str(path.with_name("kernel32.obj"))], "lld-link")
    return [*linker, f"/out:{path}", *(str(path.with_name(name)) for name in ("kernel32.lib", "floats.obj"))]


def _dylib(platform: Platform, path: Path) -> list[str]:
    """For macOS: the function is found in what the process has loaded."""
    machine = {"aarch64": "arm64"}.get(platform.machine, platform.machine)
    options = ["-dylib", "-arch", machine, "-platform_version", "macos", "11.0", "11.0", "-dead_strip"]
    return ["lld", "-flavor", "darwin", *options, "-undefined", "dynamic_lookup", "-o", str(path)]


def _wasm(_: Platform, path: Path) -> list[str]:
    """For the web: a module that needs nothing, and has its memory from ``__heap_base`` on to spare."""
    options = ["--no-entry", "--export-dynamic", "--export=__heap_base", "--gc-sections", "--strip-all"]
    return ["wasm-ld", *options, "-z", f"stack-size={WASM_STACK}", "-o", str(path)]


def main() -> None:
    """Build the kernels of a platform's levels."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--platform", choices=PLATFORMS, default=HERE)
    parser.add_argument("--levels", default="here", help='"here", "all", or names with commas between them')
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder to write to")
    parser.add_argument("--compile", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    platform = PLATFORMS[options.platform]
    if options.compile:
        level, dtype, objects = options.compile
        print(compile_forward(platform, level, dtype, Path(objects)))
        return
    known = list(platform.levels)
    here = levels_here() if platform == PLATFORMS.get(HERE) else known
    levels = {"here": here, "all": known}.get(options.levels, options.levels.split(","))
    if not set(levels) <= set(known):
        parser.error(f"--levels: known are {', '.join(known)}")
    if not options.output.is_dir():  # said before half a minute of work
        parser.error(f"--output: there is no folder {options.output}")
    print(f"minigte: compiling the kernels for {', '.join(levels)}: half a minute or so", file=sys.stderr)
    try:
        print(build(options.output, platform, levels))
    except BuildError as error:
        parser.exit(1, f"minigte: {error}\n")


if __name__ == "__main__":
    main()
