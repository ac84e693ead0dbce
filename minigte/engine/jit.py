"""How kernels are compiled and where the machine code is kept: the only such policy in the package.

``kernel`` marks a function that other kernels call; ``entry`` marks the few that Python calls. Nothing is
compiled at import. An entry is compiled when it is first called with arguments of some types, together with
all it calls, and its machine code is kept on disk for the next process.

The cache files are pickles, so they are read only from directories that nobody else can write to: beside
the package (where an image build may have put them), the user's cache directory, a private one among the
temporary files. A file's name says all that its contents depend on: the package's version and the engine's
sources, Numba and Python, the processor, the argument types. Whatever fails, the result is a compilation,
never an error.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.resources
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.abc import Traversable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

import minigte
from minigte.runtime.resources import require_memory

COMPILING = 160 << 20  # bytes that LLVM may take beside what is there: measured, with some to spare

# error_model "numpy": division by zero gives inf, without a check. No fast-math flag: see simd/vectors.py.
kernel = numba.njit(nogil=True, error_model="numpy")


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
        name = self._file_name(sig, target_context.codegen())
        for directory in _candidates():
            if _is_safe(directory, make=False):
                try:
                    return CompileResult._rebuild(
                        target_context, *pickle.loads((directory / name).read_bytes())
                    )
                except Exception:  # absent, unreadable or damaged: all the same
                    continue
        require_memory(COMPILING, "compiling the kernels", "run 'minigte warmup' where there is more")
        if sys.stderr is not None:  # else print would take stdout
            print("minigte: compiling its kernels for this processor, once (some seconds)", file=sys.stderr)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        directory = kernel_directory()
        if directory is None:
            return
        try:
            with tempfile.NamedTemporaryFile(dir=directory, prefix=self._name, delete=False) as file:
                file.write(dumps(data._reduce()))
            Path(file.name).chmod(0o644)  # what an image's builder compiles, its user reads
            Path(file.name).replace(directory / self._file_name(sig, data.codegen))
        except OSError:  # a full disk, for example
            Path(file.name).unlink(missing_ok=True)

    def _file_name(self, sig: Any, codegen: Any) -> str:
        key = (
            _stamp(),
            self._name,
            str(sig),
            codegen.magic_tuple(),
            sys.version,
            numba.__version__,
            llvmlite.__version__,
            # What else Numba's environment variables change in the code.
            *(
                getattr(numba.config, name)
                for name in ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")
            ),
        )
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.kernel"

    def enable(self) -> None:
        """Part of Numba's interface; this cache is always enabled."""

    disable = flush = enable


@functools.cache
def _stamp() -> str:
    """A hash of the package's version and of every source file of the engine."""
    digest = hashlib.sha256(minigte.__version__.encode())
    for name, source in _sources(importlib.resources.files(__package__)):
        digest.update(name.encode() + source)
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each source file in a folder and in those below it, in order."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith((".py", ".pyc")):
            yield entry.name, entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            for name, source in _sources(entry):
                yield f"{entry.name}/{name}", source


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
