"""Kernels that were built ahead of time (``build``): one shared library, loaded without Numba or a compiler.

Its forward passes are C functions ``int minigte_forward_LEVEL_DTYPE(const int64_t *table, int wanted)``. The
table holds what the kernel ``encoder.forward`` takes, flattened as ``words`` says. What was built, and for
which layout of the table, stands in a JSON file beside the library.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import minigte.version
from minigte.arrays import Float32, Int64
from minigte.engine import sources
from minigte.engine.kernels import Begin, Call, Ids
from minigte.engine.level import level_of, levels_of
from minigte.engine.processor import machine, usable, x86_64_features
from minigte.engine.weights import PackedModel
from minigte.engine.workspace import Workspace
from minigte.errors import InputError, MissingDependencyError

SUFFIXES = {"win32": ".dll", "darwin": ".dylib", "web": ".wasm"}


def file_name(system: str, machine: str) -> str:
    """What the library for a ``sys.platform`` and a family of processors is called."""
    return f"kernels-{system}-{machine}{SUFFIXES.get(system, '.so')}"


# --- The table -------------------------------------------------------------------------------------------


def parts(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and numbers of a nest of tuples, in order, each with its name."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", range(len(value)))
        for field, part in zip(names, value, strict=True):
            yield from parts(part, f"{name}.{field}")
    else:
        yield name, value


def words(part: Any) -> tuple[int, ...]:
    """An array or a number as Numba passes it to a kernel, each piece in the 64 bits of a word.

    An array is (owner, parent, items, bytes of an item, address, shape, strides).
    """
    if isinstance(part, np.ndarray):
        return 0, 0, part.size, part.itemsize, part.ctypes.data, *part.shape, *part.strides
    return (int(part.view(np.uint32) if isinstance(part, np.float32) else part),)


def kinds(part: Any) -> tuple[str, ...]:
    """LLVM's type of each of these words."""
    if isinstance(part, np.ndarray):
        return "ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * part.ndim)
    return ("float" if isinstance(part, np.float32) else "i8" if isinstance(part, bool) else "i64",)


def table(*values: Any) -> npt.NDArray[np.int64]:
    """All words of these arguments."""
    return np.array([word for _, part in parts(values) for word in words(part)], np.int64)


def layout(*values: Any) -> str:
    """What stands where in their table, as a hash: the name and the type of each part."""
    lines = (
        f"{name} {part.dtype.name}[{part.ndim}]"
        if isinstance(part, np.ndarray)
        else f"{name} {type(part).__name__}"
        for name, part in parts(values)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# --- The library -----------------------------------------------------------------------------------------


def read(folder: Any, name: str) -> tuple[bytes, dict[str, dict[str, str]]]:
    """A file that was built of these sources, and for every level and dtype in it the layout of the table.

    Raises MissingDependencyError, which says why it cannot be used.
    """
    try:
        contents = folder.joinpath(name).read_bytes()
        manifest = json.loads(folder.joinpath(name + ".json").read_bytes())
        made_of, sha256 = (manifest["version"], manifest["sources"]), manifest["sha256"]
        layouts: dict[str, dict[str, str]] = manifest["levels"]
    except FileNotFoundError:
        raise MissingDependencyError(f"{name} was not built") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingDependencyError(f"{name} cannot be read ({error!r})") from error
    if made_of != (minigte.version.__version__, sources.version() if sources.are_here() else made_of[1]):
        raise MissingDependencyError(f"{name} was built from other sources")
    if hashlib.sha256(contents).hexdigest() != sha256:
        raise MissingDependencyError(f"{name} is damaged")
    return contents, layouts


class Library:
    """A library of kernels, loaded into this process.

    ``levels`` are those that were built, ``usable`` those of them that this processor can run, worst first.
    """

    def __init__(self, folder: Any, name: str) -> None:
        """Load a file of a folder, which may be inside a zip file.

        Raises MissingDependencyError, which says why it cannot be used.
        """
        contents, self._layouts = read(folder, name)
        try:
            self._functions = _load(folder, name, contents)
        except OSError as error:  # a folder mounted noexec, for example
            raise MissingDependencyError(f"{name} cannot be loaded ({error})") from error
        features, needed = self._features(), levels_of(machine())
        self.levels = list(self._layouts)
        self.usable = [level for level in self.levels if needed[level] <= features]

    def _features(self) -> frozenset[str]:
        """Which of LLVM's names of features this processor has, of those that levels use."""
        if machine() != "x86_64":
            return frozenset({"neon"})

        def cpuid(leaf: int, subleaf: int) -> tuple[int, ...]:
            registers = (ctypes.c_uint32 * 4)()
            self._functions.minigte_cpuid(ctypes.c_uint32(leaf), ctypes.c_uint32(subleaf), registers)
            return tuple(registers)

        return usable(x86_64_features(cpuid, self._functions.minigte_xcr0))

    def kernels(self, level: str) -> Built:
        """The kernels of one level."""
        return Built(self._functions, level, self._layouts[level])


class Built:
    """The kernels of one level of a library."""

    def __init__(self, functions: ctypes.CDLL, level: str, layouts: dict[str, str]) -> None:
        self.level = level_of(machine(), levels_of(machine())[level])
        self._functions, self._layouts = functions, layouts

    def prepare(self, dtype: str) -> None:
        """Nothing: they are ready."""

    def bind(self, dtype: str, model: PackedModel, workspace: Workspace) -> Begin:
        """The forward pass of a model in a workspace; what its table says of them is made here, once."""
        if layout(model, workspace) != self._layouts[dtype]:
            raise MissingDependencyError("the kernels were built for models that are laid out otherwise")
        forward = self._functions[f"minigte_forward_{self.level.name.replace('-', '_')}_{dtype}"]
        forward.argtypes = ctypes.c_void_p, ctypes.c_int
        fixed = table(model, workspace)

        def begin(input_ids: Ids, token_type_ids: Ids, offsets: Int64, out: Float32, meeting: Int64) -> Call:
            arrays = input_ids, token_type_ids, offsets, out, meeting
            return _Pass(forward, np.concatenate([fixed, table(*arrays)]), model, workspace, arrays)

        return begin


class _Pass:
    """A call of the library; whoever may still make it keeps alive what its table points to."""

    def __init__(self, function: Callable[[int, int], int], table: npt.NDArray[np.int64], *kept: Any) -> None:
        self._function, self._table, self._kept = function, table, kept

    def __call__(self, wanted: int) -> None:
        self._function(self._table.ctypes.data, wanted)


def _load(folder: Any, name: str, contents: bytes) -> ctypes.CDLL:
    """Load a library, from a temporary file where it lies in a zip file. Raises OSError."""
    if isinstance(folder, Path):
        return ctypes.CDLL(str(folder / name))
    import tempfile  # of use to zip files alone

    # Windows lets nobody remove a library that is loaded.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        path = Path(temporary) / name
        path.write_bytes(contents)
        return ctypes.CDLL(str(path))


@functools.cache
def library() -> Library:
    """The library that came with the package. Raises MissingDependencyError."""
    return Library(sources.folder(), file_name(sys.platform, machine()))


def built() -> Built:
    """The best built kernels for this processor, or those of the level that MINIGTE_CPU names.

    Raises MissingDependencyError where there are none, and InputError for a level that this processor does
    not have, or that was not built.
    """
    here = library()
    wanted = os.environ.get("MINIGTE_CPU")
    if wanted and wanted not in here.usable:
        has = ", ".join(here.usable) or "none"
        raise InputError(
            f"MINIGTE_CPU is {wanted!r}: of the levels that were built, this processor has {has}"
        )
    if not here.usable:
        raise MissingDependencyError(f"built for {', '.join(here.levels)}: this processor has none of them")
    return here.kernels(wanted or here.usable[-1])


def describe() -> str:
    """In words: the level that runs, why, and which others there are. Raises as ``built`` does."""
    here, level = library(), built().level.name
    why = "named by MINIGTE_CPU" if os.environ.get("MINIGTE_CPU") else "the best for this processor"
    others = [name if name in here.usable else f"{name} (not on this processor)" for name in here.levels]
    return f"{level}, {why}, of {', '.join(others)}"
