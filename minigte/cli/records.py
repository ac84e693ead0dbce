"""Texts with their ids from files, and vectors with their ids to files; one record at a time.

Input: lines, JSONL, CSV, TSV, Parquet, also packed by gzip. Output: JSONL, .npy, Parquet. Nothing is
held but the records on their way, so files may be larger than memory. Parquet needs the ``pyarrow`` package.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from minigte.errors import InputError, MissingDependencyError
from minigte.tokenizing.texts import check_unicode

Vectors = npt.NDArray[Any]

INPUT_FORMATS = ("lines", "jsonl", "csv", "tsv", "parquet")
OUTPUT_FORMATS = ("jsonl", "npy", "parquet")
SUFFIXES = {
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",  # neither read nor written, and as lines its brackets and keys would be texts
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".npy": "npy",
}

GZIP = ".gz"  # after a suffix of an input: the file is unpacked while it is read
READ_ERRORS = (OSError, EOFError, zlib.error)  # the last two of a file that gzip has not made whole

# A field of a CSV file is a whole document; the csv module's own limit is 128 KiB.
CSV_FIELD_LIMIT = 2**31 - 1


class Record(NamedTuple):
    """One text of a file."""

    id: Any  # the id column's value, or else the record's number, from 0
    text: str


def format_of(path: str, formats: Sequence[str], what: str) -> str:
    """The format that a file name's suffix stands for. Raises InputError where it stands for none of them."""
    name = path.lower()
    found = SUFFIXES.get(Path(name.removesuffix(GZIP) if what == "input" else name).suffix)
    if found is not None and found in formats:
        return found
    if what == "input" and found is None:
        return "lines"
    raise InputError(
        f"cannot tell the {what} format of {path!r}: give --{what}-format, one of {', '.join(formats)}"
    )


def read_records(
    file: BinaryIO, name: str, file_format: str, column: str = "text", id_column: str = "id"
) -> Iterator[Record]:
    r"""Read records from an open file; ``name`` is what errors call it.

    ``column`` and ``id_column`` name a JSON object's keys or a table's columns; a record without the id
    column is called by its number, from 0. A JSONL line may also be a string alone. Of lines, a line end
    is "\n" or "\r\n"; an empty line is an empty text. Raises InputError, which names the line.
    """
    if file_format == "parquet":
        yield from _read_parquet(file, name, column, id_column)
        return
    lines = _decoded_lines(file, name)
    if file_format == "lines":
        for number, line in enumerate(lines):
            yield Record(number, line.removesuffix("\n").removesuffix("\r"))
    elif file_format == "jsonl":
        yield from _read_jsonl(lines, name, column, id_column)
    else:
        yield from _read_csv(lines, name, "\t" if file_format == "tsv" else ",", column, id_column)


def _decoded_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """UTF-8 lines, each with its line end; a byte order mark at the start is dropped."""
    number = 0
    try:
        for number, line in enumerate(file, 1):
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}, line {number}: not UTF-8 ({error.reason} at byte {error.start}): convert it with iconv"
        ) from None
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {name} after line {number}: {reason}") from None


def _read_jsonl(lines: Iterable[str], name: str, column: str, id_column: str) -> Iterator[Record]:
    number = 0
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {line_number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error})") from None
        if isinstance(value, dict):
            if column not in value:
                raise InputError(
                    f"{where}: no key {column!r} (keys: {', '.join(value)}): name it with --column"
                )
            record = Record(value.get(id_column, number), value[column])
        else:
            record = Record(number, value)
        if not isinstance(record.text, str):
            raise InputError(f"{where}: {column!r} is not a text but {json.dumps(record.text)[:60]}")
        check_unicode(record.text, where)  # JSON can spell lone surrogates
        yield record
        number += 1


def _read_csv(
    lines: Iterable[str], name: str, delimiter: str, column: str, id_column: str
) -> Iterator[Record]:
    csv.field_size_limit(CSV_FIELD_LIMIT)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        fields = reader.fieldnames or []
        if column not in fields:
            raise InputError(
                f"{name} has no column {column!r} (columns: {', '.join(fields)}): name it with --column"
            )
        for number, row in enumerate(reader):
            if row[column] is None:
                raise InputError(f"{name}, line {reader.line_num}: too few fields, no {column!r}")
            yield Record(row.get(id_column, number), row[column])
    except csv.Error as error:
        raise InputError(f"{name}, after line {reader.line_num}: {error}") from None


def _read_parquet(file: BinaryIO, name: str, column: str, id_column: str) -> Iterator[Record]:
    pyarrow = _pyarrow()
    try:
        # The index is at the file's end, and in gzip's form each step back is a start from the beginning.
        in_place = file.seekable() and not isinstance(file, gzip.GzipFile)
        seekable = file if in_place else io.BytesIO(file.read())
        # Buffered: a row group may be the whole file, and is not to be held at once.
        table = pyarrow.parquet.ParquetFile(seekable, buffer_size=1 << 20, pre_buffer=False)
        names = table.schema_arrow.names
        if column not in names:
            raise InputError(
                f"{name} has no column {column!r} (columns: {', '.join(names)}): name it with --column"
            )
        columns = [column, id_column] if id_column in names else [column]
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=columns):
            texts = batch.column(column).to_pylist()
            ids = (
                batch.column(id_column).to_pylist()
                if id_column in names
                else range(number, number + len(texts))
            )
            for record in map(Record, ids, texts):
                if not isinstance(record.text, str):
                    raise InputError(
                        f"{name}, row {number}: {column!r} is not a text but {record.text!r:.60}"
                    )
                yield record
                number += 1
    except (*READ_ERRORS, pyarrow.ArrowException) as error:
        raise InputError(f"{name} is not a whole Parquet file ({error})") from error


class Output(Protocol):
    """A form of vectors with their ids: chunk by chunk to bytes, and the chunks to one file."""

    def encode(self, ids: Sequence[Any], vectors: Vectors) -> bytes:
        """One chunk, (n, D) vectors."""

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

    def encode(self, ids: Sequence[Any], vectors: Vectors) -> bytes:
        lines = []
        for record_id, vector in zip(ids, vectors, strict=True):
            numbers = vector.tolist() if vector.dtype.kind in "iu" else [float(str(x)) for x in vector]
            lines.append(json.dumps({"id": record_id, "embedding": numbers}, ensure_ascii=False, default=str))
        return "".join(line + "\n" for line in lines).encode()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            file.write(chunk)
        file.flush()


class _Npy:
    """NumPy's own format, rows in the order of the input; the header is written again with the count."""

    def __init__(self, like: Vectors) -> None:
        self._dimension = like.shape[1]
        self._dtype = like.dtype

    def encode(self, ids: Sequence[Any], vectors: Vectors) -> bytes:
        return np.ascontiguousarray(vectors).tobytes()

    def write(self, file: BinaryIO, chunks: Iterable[bytes]) -> None:
        if not file.seekable():
            raise InputError(
                "an .npy file begins with its length, so it cannot be written to a pipe: name a file"
            )
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

    A Parquet file ends with its index, so an encoded chunk is a stream in Arrow's own format.
    """

    def __init__(self, like: Vectors, first: bytes | None) -> None:
        self._like = like
        self._pyarrow = _pyarrow()
        self._schema = None if first is None else self._pyarrow.ipc.open_stream(first).schema

    def encode(self, ids: Sequence[Any], vectors: Vectors) -> bytes:
        pa = self._pyarrow
        values = pa.array(np.ascontiguousarray(vectors).ravel())
        embedding = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
        try:
            id_array = pa.array(ids, None if self._schema is None else self._schema.field("id").type)
        except pa.ArrowException:
            raise InputError("ids of different types cannot share a Parquet column: write JSONL") from None
        batch = pa.record_batch([id_array, embedding], names=["id", "embedding"])
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


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs the pyarrow package: pip install 'minigte[parquet]'"
        ) from error
    return pyarrow
