"""Vectors with their ids to files: JSON lines, CSV, .npy, Parquet, chunk by chunk; and where output goes.

Parquet needs the ``pyarrow`` package.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from minigte.cli.formats import STREAM, require_pyarrow
from minigte.cli.ids import as_json, as_text, plain
from minigte.cli.records import Record
from minigte.errors import InputError
from minigte.runtime.replacing import replacing

Vectors = npt.NDArray[Any]
EMBEDDING = "embedding"  # the column, or key, of the vectors


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

    def encode(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> bytes:
        """One chunk, (n, D) vectors, of the texts from number ``start``.

        Raises InputError, which names the text, for an id, or for what is carried along, that this form
        cannot hold exactly.
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
    return _Csv() if file_format == "csv" else _Jsonl()


class _Jsonl:
    """One line a vector: {"id": ..., "embedding": [...]}, each number in its shortest exact spelling."""

    def encode(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> bytes:
        lines = []
        for number, (record, vector) in enumerate(zip(records, vectors, strict=True), start):
            where = f"text {number}"
            kept = {name: as_json(value, where) for name, value in record.kept.items()}
            line = {"id": as_json(record.id, where), **kept, EMBEDDING: numbers_of(vector)}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        return "".join(lines).encode()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            file.write(chunk)
        file.flush()


class _Csv:
    """A header, and a line a vector, "[0.1,0.2]": so pgvector's type reads it, by COPY ... (FORMAT csv)."""

    def encode(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if not start and records:
            writer.writerow(["id", *records[0].kept, EMBEDDING])
        for record, vector in zip(records, vectors, strict=True):
            numbers = json.dumps(numbers_of(vector), separators=(",", ":"))
            writer.writerow([_cell(record.id), *map(_cell, record.kept.values()), numbers])
        return out.getvalue().encode()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        empty = True
        for chunk in chunks:
            file.write(chunk)
            empty = False
        if empty:
            file.write(f"id,{EMBEDDING}\n".encode())
        file.flush()


def numbers_of(vector: Vectors) -> list[int] | list[float]:
    """A vector's numbers, each with the shortest spelling that is exactly it."""
    return vector.tolist() if vector.dtype.kind in "iu" else [float(str(x)) for x in vector]


def _cell(value: Any) -> str:
    """What a field of a CSV file holds; of null nothing."""
    return "" if plain(value) is None else as_text(value)


class _Npy:
    """NumPy's own format, rows in the order of the input; the header is written again with the count."""

    def __init__(self, like: Vectors) -> None:
        self._dimension = like.shape[1]
        self._dtype = like.dtype

    def encode(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> bytes:
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
    """Columns ``id``, what is carried along, and ``embedding``, a list of fixed length; a row group a chunk.

    A Parquet file ends with its index, so an encoded chunk is a stream in Arrow's own format. Numbers that
    are all different are larger with a dictionary of them; float32 is smaller with its bytes apart.
    """

    def __init__(self, like: Vectors, first: bytes | None) -> None:
        self._like = like
        self._pyarrow = require_pyarrow()
        self._batches = Batches(None if first is None else self._pyarrow.ipc.open_stream(first).schema)

    def encode(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> bytes:
        batch = self._batches.batch(records, vectors, start)
        sink = self._pyarrow.BufferOutputStream()
        with self._pyarrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return bytes(sink.getvalue())

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        pa = self._pyarrow
        writer = None
        for chunk in chunks:
            batch = pa.ipc.open_stream(chunk).read_next_batch()
            writer = writer or pa.parquet.ParquetWriter(file, batch.schema, **self._packing(batch.schema))
            writer.write_batch(batch)
        if writer is None:  # no records at all: a table of no rows
            self.write(file, [self.encode([], self._like)])
        else:
            writer.close()

    def _packing(self, schema: Any) -> dict[str, Any]:
        others = [name for name in schema.names if name != EMBEDDING]
        floats = self._like.dtype == np.float32
        return {
            "compression": "zstd",
            "use_dictionary": others,
            "use_byte_stream_split": [f"{EMBEDDING}.list.element"] if floats else False,
        }


class Batches:
    """Records with their vectors as Arrow's record batches, which all have the schema of the first.

    The first batch decides each column's type, which an Arrow scalar brings with it.
    """

    def __init__(self, schema: Any = None) -> None:
        """``schema``: that of a batch that another process has made."""
        self._schema = schema

    def batch(self, records: Sequence[Record], vectors: Vectors, start: int = 0) -> Any:
        """One batch, of the texts from number ``start``. Raises InputError, which names the text."""
        pa = require_pyarrow()
        values = pa.array(np.ascontiguousarray(vectors).ravel())
        columns = {"id": [record.id for record in records]}
        for name in records[0].kept if records else ():
            columns[name] = [record.kept[name] for record in records]
        arrays = [self._column(pa, name, column, start) for name, column in columns.items()]
        arrays.append(pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]))
        batch = pa.record_batch(arrays, names=[*columns, EMBEDDING])
        self._schema = batch.schema
        return batch

    def _column(self, pa: Any, name: str, values: Sequence[Any], start: int) -> Any:
        kind = _type_of_values(pa, values) if self._schema is None else self._schema.field(name).type
        for number, value in enumerate(values, start):
            if not _fits(pa, value, kind):
                what = "id" if name == "id" else name
                raise InputError(
                    f"text {number}: its {what} {plain(value)!r} does not fit a column of {kind} with the "
                    f"other {what}s: write JSON lines, or make all of them texts"
                )
        return pa.array(values, kind)


def _type_of_values(pa: Any, values: Iterable[Any]) -> Any:
    """The Arrow type of a column: that of the first value, or unsigned where whole numbers need it."""
    kinds = [_type_of_value(pa, value) for value in values if value is not None]
    first = kinds[0] if kinds else pa.null()
    return pa.uint64() if first == pa.int64() and pa.uint64() in kinds else first


def _type_of_value(pa: Any, value: Any) -> Any:
    if isinstance(value, pa.Scalar):
        return value.type
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if value < 2**63 else pa.uint64()
    return pa.string() if isinstance(value, str) else pa.float64()


def _fits(pa: Any, value: Any, kind: Any) -> bool:
    """Whether a value has exactly this Arrow type."""
    if isinstance(value, int) and not isinstance(value, bool):
        lowest, above = {pa.int64(): (-(2**63), 2**63), pa.uint64(): (0, 2**64)}.get(kind, (0, 0))
        return lowest <= value < above
    return value is None or _type_of_value(pa, value) == kind


def _appends(file: BinaryIO) -> bool:
    """Whether all that is written goes to the file's end, wherever it is sought to."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return False
    return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)
