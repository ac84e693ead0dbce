"""How kernels are compiled and where the machine code is kept: the only such policy in the package.

``kernel`` marks a function that other kernels call; ``entry`` marks the few that Python calls. Nothing is
compiled at import. An entry is compiled when it is first called with arguments of some types, together with
all it calls, and its machine code is kept on disk for the next process.

The cache files are pickles, so they are read only from directories that nobody else can write to: beside
the package (where an image build may have put them), the user's cache directory, a private one among the
temporary files. A file's name says all that its contents depend on: the package's version and the engine's
sources, Numba and Python, the processor, the argument types. Whatever fails, the result is a compilation,
never an error.

Of Numba's internals, which may change with any version of it, what is used stands here: the target, the
cache's interface, and how a compilation is stopped at LLVM's module (what is done to its text is in
``build``). The rest of the engine uses ``numba``, ``numba.types`` and ``numba.extending``, which are made
for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from minigte.engine import sources
from minigte.runtime.resources import require_memory

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

COMPILING = 160 << 20  # bytes that LLVM may take beside what is there: measured, with some to spare

# What Numba's settings change in the code, its processor aside: nothing compiled under one of them may be
# loaded under another.
CODE_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "ENABLE_PROFILING", "USING_SVML"),
    *("DEBUG_JIT", "DEBUG_NRT", "DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_PASS"),
)

# error_model "numpy": division by zero gives inf, without a check. No fast-math flag: see simd/vectors.py.
# _nrt: kernels allocate nothing, so nobody need count who refers to an array.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
kernel = numba.njit(**OPTIONS)

# A kernel that is written into each of its callers. Numba optimises a kernel together with all that it calls,
# so each level of calls would take LLVM through the innermost loops once more: this halves the compiling.
step = numba.njit(nogil=True, error_model="numpy", inline="always")


def entry(function: Callable[..., Any]) -> Any:
    """A kernel that Python calls: compiled lazily, once per combination of argument types, and cached."""
    dispatcher = kernel(function)
    dispatcher._cache = _KernelCache(f"{function.__module__}.{function.__qualname__}")
    return dispatcher


def kernel_directory() -> Path | None:
    """The directory that newly compiled kernels go to; None if there is no safe and writable one."""
    for directory in _candidates():
        if _is_safe(directory, make=True) and os.access(directory, os.W_OK):
            return directory
    return None


def target() -> tuple[str, frozenset[str]]:
    """What LLVM calls the machine that is compiled for, and the features that code may use there."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return triple, frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


def compile_only(triple: str) -> None:
    """From now on compile for the machine that LLVM calls ``triple``, and run nothing.

    For a process that builds kernels ahead of time, before it imports any of them. Numba's compiler is the
    same, but for its last steps: no machine code is made (LLVM's module is all that is asked for), so a
    dispatcher's address is 0, and no wrapper for Python is compiled.
    """
    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    llvmlite.binding.get_process_triple = lambda: triple
    JITCPUCodegen._add_module = JITCPUCodegen.set_env = lambda *_: None
    JITCodeLibrary._finalize_specific = lambda self: None
    JITCodeLibrary.get_pointer_to_function = lambda self, _: self._ensure_finalized() or 0
    global kernel, entry
    kernel = entry = numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def llvm_module(entry: Any, arguments: tuple[Any, ...]) -> tuple[str, str]:
    """An entry compiled for the types of these arguments: the text of LLVM's module, its name in it."""
    signature = tuple(map(numba.typeof, arguments))
    entry.compile(signature)
    compiled = entry.overloads[signature]
    return compiled.library.get_llvm_str(), compiled.fndesc.llvm_func_name


def prepare(entry: Any, arguments: tuple[Any, ...]) -> None:
    """Compile an entry for the types of these arguments, or load what another process has compiled.

    Of several processes one compiles, and the others wait for it.
    """
    signature = tuple(map(numba.typeof, arguments))
    if signature not in entry.overloads:
        with contextlib.nullcontext() if is_prepared(entry, arguments) else _alone():
            entry.compile(signature)


def is_prepared(entry: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a process has kept the code of an entry for the types of these arguments."""
    name = entry._cache.file_name(tuple(map(numba.typeof, arguments)), cpu_target.target_context.codegen())
    return any(_is_safe(directory, make=False) and (directory / name).exists() for directory in _candidates())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for other processes that hold this; where nothing can be kept, there is nothing to wait for."""
    directory = kernel_directory()
    if directory is None or fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class _KernelCache:
    """Numba's cache interface, one file per compiled entry."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str | None:
        directory = kernel_directory()
        return str(directory) if directory else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        name = self.file_name(sig, target_context.codegen())
        for directory in _candidates():
            if _is_safe(directory, make=False):
                try:
                    return CompileResult._rebuild(
                        target_context, *pickle.loads((directory / name).read_bytes())
                    )
                except Exception:  # absent, unreadable or damaged: all the same
                    continue
        require_memory(COMPILING, "compiling the kernels", "run 'minigte warmup' where there is more")
        logger.info("compiling %s for %s", self._name, sig)
        if sys.stderr is not None:  # else print would take stdout
            print("minigte: compiling its kernels for this processor, once (some seconds)", file=sys.stderr)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        directory = kernel_directory()
        if directory is None:
            return
        with contextlib.suppress(OSError):  # a full disk, for example
            with tempfile.NamedTemporaryFile(dir=directory, prefix=self._name, delete=False) as file:
                path = Path(file.name)
            try:
                path.write_bytes(dumps(data._reduce()))
                path.chmod(0o644)  # what an image's builder compiles, its user reads
                path.replace(directory / self.file_name(sig, data.codegen))
            finally:
                path.unlink(missing_ok=True)

    def file_name(self, sig: Any, codegen: Any) -> str:
        """The file of the code for these types."""
        key = (
            sources.version(),
            self._name,
            str(sig),
            codegen.magic_tuple(),
            sys.version,
            numba.__version__,
            llvmlite.__version__,
            *(getattr(numba.config, name, None) for name in CODE_SETTINGS),
        )
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.kernel"

    def enable(self) -> None:
        """Part of Numba's interface; this cache is always enabled."""

    disable = flush = enable


def _candidates() -> Iterator[Path]:
    """The directories that may hold kernels, best first; where NUMBA_CACHE_DIR can be used, that alone."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        directory = Path(os.environ["NUMBA_CACHE_DIR"]) / "minigte"
        yield directory
        if _is_safe(directory, make=True):
            return
    yield _beside_the_package()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(RuntimeError):  # no home directory
        if base:
            yield Path(base).expanduser() / "minigte" / "kernels"
    with contextlib.suppress(OSError):  # no temporary directory
        user = os.getuid() if hasattr(os, "getuid") else "user"
        yield Path(tempfile.gettempdir()) / f"minigte-{user}"


def _beside_the_package() -> Path:
    return Path(__file__).parent / "__pycache__"


def _is_safe(directory: Path, *, make: bool) -> bool:
    """Whether the directory is there (made so if ``make``) and only its owner, we or root, can write."""
    try:
        if make:
            mode = 0o755 if directory == _beside_the_package() else 0o700
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True  # Windows: these directories lie in the user's profile
    owners = {os.getuid(), 0}
    return status.st_uid in owners and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# A fork while another thread compiles would leave LLVM's locks held for ever in the child: wait for it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
