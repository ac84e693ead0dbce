"""Vectors with their ids to files: JSON lines, .npy, Parquet, chunk by chunk; and where output goes.

Parquet needs the ``pyarrow`` package.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from minigte.cli.formats import STREAM, require_pyarrow
from minigte.cli.ids import as_json, plain
from minigte.errors import InputError
from minigte.runtime.replacing import replacing

Vectors = npt.NDArray[Any]


def path_of(name: str | None) -> Path | None:
    """Where output of this name goes; None is stdout, whose name /dev/stdout is, and none at all."""
    if name is None or name == STREAM:
        return None
    path = Path(name)
    with contextlib.suppress(OSError, ValueError):
        if os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno())):
            return None
    return path


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Open stdout, or a file that appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing(path) as file:
        yield file


class Output(Protocol):
    """A form of vectors with their ids: chunk by chunk to bytes, and the chunks to one file."""

    def encode(self, ids: Sequence[Any], vectors: Vectors, start: int = 0) -> bytes:
        """One chunk, (n, D) vectors, of the texts from number ``start``.

        Raises InputError, which names the text, for an id that this form cannot hold exactly.
        """

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        """Write a whole file of chunks that ``encode`` gave, one at a time; the file stays open."""


def output_of(file_format: str, like: Vectors, first: bytes | None = None) -> Output:
    """The form of this name, for vectors with the width and dtype of ``like``, (0, D).

    ``first``: the first chunk of the same file, where another process has encoded it.
    """
    if file_format == "npy":
        return _Npy(like)
    if file_format == "parquet":
        return _Parquet(like, first)
    return _Jsonl()


class _Jsonl:
    """One line a vector: {"id": ..., "embedding": [...]}, each number in its shortest exact spelling."""

    def encode(self, ids: Sequence[Any], vectors: Vectors, start: int = 0) -> bytes:
        lines = []
        for number, (record_id, vector) in enumerate(zip(ids, vectors, strict=True), start):
            numbers = vector.tolist() if vector.dtype.kind in "iu" else [float(str(x)) for x in vector]
            line = {"id": as_json(record_id, f"text {number}"), "embedding": numbers}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        return "".join(lines).encode()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            file.write(chunk)
        file.flush()


class _Npy:
    """NumPy's own format, rows in the order of the input; the header is written again with the count."""

    def __init__(self, like: Vectors) -> None:
        self._dimension = like.shape[1]
        self._dtype = like.dtype

    def encode(self, ids: Sequence[Any], vectors: Vectors, start: int = 0) -> bytes:
        return np.ascontiguousarray(vectors).tobytes()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        if not file.seekable():
            raise InputError(
                "an .npy file begins with its length, so it cannot be written to a pipe: name a file"
            )
        if file.tell() or _appends(file):
            raise InputError("an .npy file cannot be appended to another: name it with --output")
        self._write_header(file, 0)
        size = 0
        for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
        self._write_header(file, size // (self._dimension * self._dtype.itemsize))
        file.flush()

    def _write_header(self, file: BinaryIO, rows: int) -> None:
        # NumPy pads the header so that the first axis can grow without moving what follows.
        file.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (rows, self._dimension),
        }
        np.lib.format.write_array_header_1_0(file, header)


class _Parquet:
    """Two columns, ``id`` and ``embedding``, a list of fixed length; one row group a chunk.

    A Parquet file ends with its index, so an encoded chunk is a stream in Arrow's own format. The first chunk
    decides the type of the ids, which an Arrow scalar brings with it.
    """

    def __init__(self, like: Vectors, first: bytes | None) -> None:
        self._like = like
        self._pyarrow = require_pyarrow()
        self._schema = None if first is None else self._pyarrow.ipc.open_stream(first).schema

    def encode(self, ids: Sequence[Any], vectors: Vectors, start: int = 0) -> bytes:
        pa = self._pyarrow
        values = pa.array(np.ascontiguousarray(vectors).ravel())
        embedding = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
        kind = _type_of_ids(pa, ids) if self._schema is None else self._schema.field("id").type
        for number, record_id in enumerate(ids, start):
            if not _fits(pa, record_id, kind):
                raise InputError(
                    f"text {number}: its id {plain(record_id)!r} does not fit a Parquet column of {kind} "
                    "with the other ids: write JSON lines, or make all ids texts"
                )
        batch = pa.record_batch([pa.array(ids, kind), embedding], names=["id", "embedding"])
        self._schema = batch.schema
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return bytes(sink.getvalue())

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        pa = self._pyarrow
        writer = None
        for chunk in chunks:
            batch = pa.ipc.open_stream(chunk).read_next_batch()
            writer = writer or pa.parquet.ParquetWriter(file, batch.schema)
            writer.write_batch(batch)
        if writer is None:  # no records at all: a table of no rows
            self.write(file, [self.encode([], self._like)])
        else:
            writer.close()


def _type_of_ids(pa: Any, ids: Iterable[Any]) -> Any:
    """The Arrow type of a column of ids: that of the first, or unsigned where whole numbers need it."""
    kinds = [_type_of_id(pa, record_id) for record_id in ids if record_id is not None]
    first = kinds[0] if kinds else pa.null()
    return pa.uint64() if first == pa.int64() and pa.uint64() in kinds else first


def _type_of_id(pa: Any, record_id: Any) -> Any:
    if isinstance(record_id, pa.Scalar):
        return record_id.type
    if isinstance(record_id, bool):
        return pa.bool_()
    if isinstance(record_id, int):
        return pa.int64() if record_id < 2**63 else pa.uint64()
    return pa.string() if isinstance(record_id, str) else pa.float64()


def _fits(pa: Any, record_id: Any, kind: Any) -> bool:
    """Whether an id has exactly this Arrow type."""
    if isinstance(record_id, int) and not isinstance(record_id, bool):
        lowest, above = {pa.int64(): (-(2**63), 2**63), pa.uint64(): (0, 2**64)}.get(kind, (0, 0))
        return lowest <= record_id < above
    return record_id is None or _type_of_id(pa, record_id) == kind


def _appends(file: BinaryIO) -> bool:
    """Whether all that is written goes to the file's end, wherever it is sought to."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return False
    return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)
