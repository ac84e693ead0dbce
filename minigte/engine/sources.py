"""What compiled kernels were made of: one hash of the package's version and of the engine's source files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minigte
import minigte.version


@functools.cache
def version(*rooms: str) -> str:
    """A hash of the package's version and of every source file of the engine, and of other rooms."""
    digest = hashlib.sha256(minigte.version.__version__.encode())
    for room in ("engine", *rooms):
        for name, source in _files(folder(room)):
            digest.update(name.encode() + source)
    return digest.hexdigest()


def are_here() -> bool:
    """Whether there is any source file: some installers keep compiled Python alone."""
    return next(_files(folder()), None) is not None


def folder(room: str = "engine") -> Any:
    """A room's folder, a Path or, inside a zip file, what stands for one."""
    path = Path(__file__).parent.parent / room
    if path.is_dir():
        return path
    import importlib.resources  # 10 ms that only zip files are worth

    return importlib.resources.files(minigte) / room


def _files(folder: Any) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each source file in a folder and in those below it, in order."""
    if not folder.is_dir():  # of a program that was frozen into one file, whose modules lie nowhere
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            yield entry.name, entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            for name, source in _files(entry):
                yield f"{entry.name}/{name}", source
