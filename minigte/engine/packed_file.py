"""Packed weights in a file, which every process that computes with the model maps: one copy for all of them.

The file is a safetensors file (https://huggingface.co/docs/safetensors/index#format) whose arrays are those
of a ``PackedModel``, each beginning on a cache line. Its header follows from the model's sizes, the form of
the dtype, and ``identity``, which says of what and by what the arrays were made. So it is known before the
file is opened, and a file is the right one if it begins with exactly these bytes.

The last array, "checksums", has for each BLOCK of what stands before it the sum of its 64-bit words. All are
compared when the file is mapped, which reads it once: 0.01 s for 100 MB that are in the page cache. A bit
that is flipped always changes a sum; a file that is cut has another size.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.engine.formats import format_of
from minigte.engine.level import Level
from minigte.engine.weights import PackedModel, pack_model
from minigte.models.spec import Spec
from minigte.models.weights import Weights
from minigte.runtime.memory import CACHE_LINE

BLOCK = 1 << 20  # bytes
WORD = np.dtype(np.uint64)
DTYPES = {
    "float32": "F32",
    "uint16": "BF16",
    "int16": "I16",
    "int8": "I8",
    "int32": "I32",
    "uint64": "U64",
    "uint8": "U8",
}


class UnusableError(Exception):
    """A file of packed weights cannot be used; the message is a clause that says why."""


class Packed(NamedTuple):
    """A packed model, or None where it is to be packed in memory; and in words where it is, or why."""

    model: PackedModel | None
    where: str


class Place(NamedTuple):
    """Where an array stands in the file."""

    offset: int  # in bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def end(self) -> int:
        """The offset of what comes after it."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


class Plan:
    """What the file of one model in one form looks like, down to its last byte but for the arrays' values."""

    def __init__(
        self, spec: Spec, like: Weights, dtype: str, level: Level, identity: Mapping[str, str]
    ) -> None:
        """``like``: weights whose shapes alone count. ``identity``: words about what decides the values."""
        self._model = spec, like, dtype, level
        self.form = f"{dtype} {level.panel}x{format_of(dtype, level).group}"
        header: dict[str, Any] = {"__metadata__": {"format": "minigte", "form": self.form, **identity}}
        shapes = _Shapes()
        pack_model(*self._model, shapes)
        arrays: dict[str, Place] = {}
        end = 0
        for name, (shape, kind) in shapes.arrays.items():
            arrays[name] = Place(end, shape, kind)
            end = arrays[name].end
            if filler := -end % CACHE_LINE:
                arrays[f"filler.{name}"] = Place(end, (filler,), np.dtype(np.uint8))
                end += filler
        arrays["checksums"] = Place(end, (-(-end // BLOCK),), WORD)
        for name, place in arrays.items():
            header[name] = {
                "dtype": DTYPES[place.dtype.name],
                "shape": place.shape,
                "data_offsets": (place.offset, place.end),
            }
        text = json.dumps(header).encode()
        text += b" " * (-(len(text) + 8) % CACHE_LINE)
        self.header = len(text).to_bytes(8, "little") + text
        self.size = len(self.header) + arrays["checksums"].end
        # From here on, offsets in the whole file.
        self.places = {
            name: place._replace(offset=len(self.header) + place.offset) for name, place in arrays.items()
        }

    @property
    def name(self) -> str:
        """A name that no other file has: it tells all that the header does."""
        return f"{self.form.replace(' ', '-')}-{hashlib.sha256(self.header).hexdigest()[:32]}"

    def write(self, file: BinaryIO, weights: Weights) -> None:
        """Pack ``weights`` into an empty file, an array at a time. Raises OSError."""
        written = _Written(file, self)
        pack_model(self._model[0], weights, *self._model[2:], written)
        file.seek(0)
        file.write(self.header)
        file.seek(self.places["checksums"].offset)
        file.write(written.checksums.tobytes())

    def map(self, path: Path) -> Packed:
        """The model in a file, mapped read-only. Raises UnusableError, also where it is damaged."""
        try:
            if not path.is_file():  # a named pipe would be waited for
                raise UnusableError("is not a file")
            with path.open("rb") as file:
                if file.read(len(self.header)) != self.header:
                    raise UnusableError(
                        "was packed from other weights, in another form or by another minigte"
                    )
                self._check(file)
                data = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: cut since it was checked
            raise UnusableError(f"cannot be mapped ({error})") from error
        return Packed(pack_model(*self._model, _Mapped(data, self.places)), f"mapped from {path}")

    def _check(self, file: BufferedReader) -> None:
        """Compare all checksums, in a mapping that ends here: what nobody uses of the other stays unread."""
        if os.fstat(file.fileno()).st_size != self.size:
            raise UnusableError("is damaged")
        data = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
        begin, end = len(self.header), self.places["checksums"].offset
        words = np.frombuffer(data, WORD, (end - begin) // WORD.itemsize, begin)
        sums = np.add.reduceat(words, range(0, len(words), BLOCK // WORD.itemsize))
        if data[end:] != sums.tobytes():
            raise UnusableError("is damaged")


class _Shapes:
    """A ``Storage`` that notes what it is asked for."""

    filled = True

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        self.arrays[name] = shape, np.dtype(dtype)

    def whole(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> Any:
        self.rows(name, array.shape, dtype)


class _Mapped:
    """A ``Storage`` in a mapped file."""

    filled = True

    def __init__(self, data: mmap.mmap, places: Mapping[str, Place]) -> None:
        self._data, self._places = data, places

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return np.ndarray(shape, dtype, self._data, self._places[name].offset)

    def whole(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> Any:
        return self.rows(name, array.shape, dtype)


class _Written:
    """A ``Storage`` that writes to a file, and sums up what it writes."""

    filled = False

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        self._file, self._places = file, plan.places
        self._begin = len(plan.header)
        self.checksums = np.zeros(plan.places["checksums"].shape, WORD)

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> _Rows:
        return _Rows(self, self._places[name])

    def whole(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> None:
        self.write(self._places[name].offset, np.ascontiguousarray(array, dtype))

    def write(self, offset: int, values: npt.NDArray[Any]) -> None:
        """Write contiguous values; their offset is one of a whole word."""
        self._file.seek(offset)
        self._file.write(values.data)
        octets = values.reshape(-1).view(np.uint8)
        whole = len(octets) - len(octets) % WORD.itemsize
        self._add(offset, octets[:whole].view(WORD))
        self._add(offset + whole, np.frombuffer(octets[whole:].tobytes().ljust(WORD.itemsize, b"\0"), WORD))

    def _add(self, offset: int, words: npt.NDArray[np.uint64]) -> None:
        """Add words that stand at this offset to the sums of their blocks."""
        block = BLOCK // WORD.itemsize
        first = (offset - self._begin) // WORD.itemsize
        for begin in range(first - first % block, first + len(words), block):
            part = words[max(0, begin - first) : begin - first + block]
            self.checksums[begin // block :][:1] += part.sum()


class _Rows:
    """An array in the file whose rows are assigned one by one."""

    def __init__(self, written: _Written, place: Place) -> None:
        self._written, self._place = written, place

    def __setitem__(self, row: int, values: npt.NDArray[Any]) -> None:
        shape = self._place.shape[1:]
        size = math.prod(shape) * self._place.dtype.itemsize
        whole = np.ascontiguousarray(np.broadcast_to(values, shape), self._place.dtype)
        self._written.write(self._place.offset + row * size, whole)
