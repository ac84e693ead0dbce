"""Vectors that are stored, read a part at a time: .npy, Parquet, a table of SQLite; and what their rows are.

An .npy file is mapped, and holds vectors alone: its rows are called by their numbers. Rows of the others have
an id, and a text where one was kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minigte.cli.databases import DIGEST, TABLES
from minigte.cli.formats import ID_COLUMN, PARQUET_MAGIC, require_pyarrow
from minigte.cli.ids import plain
from minigte.cli.outputs import EMBEDDING, Vectors
from minigte.errors import InputError

NPY_MAGIC, SQLITE_MAGIC = b"\x93NUMPY", b"SQLite format 3\0"
PART = 8192  # rows that are read and compared at a time


class Stored(Protocol):
    """A file of vectors."""

    def parts(self) -> Iterator[Vectors]:
        """Its rows (N, width) in their order, at most PART at a time."""

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Of each of these rows its id, and what is kept with it."""


def open_stored(path: str, table: str) -> Stored | None:
    """The vectors of a file; None where it holds texts. ``table`` is that of a database.

    Raises InputError where it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            magic = file.read(16)
    except OSError:  # a folder, stdin, a pattern; what is not there is named where texts are read
        return None
    if magic.startswith(NPY_MAGIC):
        return Npy(path)
    if magic.startswith(SQLITE_MAGIC):
        return _Sqlite(path, table)
    return _Parquet.of_vectors(path) if magic.startswith(PARQUET_MAGIC) else None


class Npy:
    """An .npy file, mapped."""

    def __init__(self, path: str) -> None:
        try:
            # Still mapped: of np.memmap's own class every small slice would cost more than its rows.
            self._rows = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}") from None
        if self._rows.ndim != 2:
            raise InputError(f"{path} holds an array of shape {self._rows.shape}, not vectors (N, D)")

    @property
    def rows(self) -> Vectors:
        """All of them, mapped."""
        return self._rows

    def parts(self) -> Iterator[Vectors]:
        """Its rows, a part at a time."""
        for start in range(0, len(self._rows), PART):
            yield self._rows[start : start + PART]

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Of each of these rows its number."""
        return [{"id": row} for row in rows]


class _Parquet:
    """A file with a column ``embedding`` of lists."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file

    @classmethod
    def of_vectors(cls, path: str) -> _Parquet | None:
        """The file, where it has vectors; None where it has none."""
        pa = require_pyarrow()
        try:
            file = pa.parquet.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not a complete Parquet file ({error})") from None
        return cls(path, file) if EMBEDDING in file.schema_arrow.names else None

    def parts(self) -> Iterator[Vectors]:
        for batch in self._file.iter_batches(PART, columns=[EMBEDDING]):
            column = batch.column(0)
            if column.null_count:
                raise InputError(f"{self._path}: some rows have no {EMBEDDING}: leave them out")
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if len(column) and len(flat) % len(column):
                raise InputError(f"{self._path}: its rows of {EMBEDDING} have different lengths")
            yield flat.reshape(len(column), -1)

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        names = [name for name in self._file.schema_arrow.names if name != EMBEDDING]
        found: dict[int, dict[str, Any]] = {}
        start = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            wanted = [row for row in rows if start <= row < start + count]
            if wanted:
                table = self._file.read_row_group(group, columns=names)
                for row in wanted:
                    found[row] = {name: plain(table[name][row - start]) for name in names}
            start += count
        return [{ID_COLUMN: row, **found[row]} for row in rows]


FLOAT32 = np.dtype("<f4")
DTYPES = {"float16": "<f2", "int8": "i1", "binary": "i1", "ubinary": "u1"}  # of BLOBs, by --precision


def _dtype_of(connection: sqlite3.Connection, table: str) -> np.dtype[Any]:
    """What a table's BLOBs hold: what it was made with says so."""
    row = connection.execute(f"SELECT options FROM {TABLES} WHERE name = ?", [table]).fetchone()
    return FLOAT32 if row is None else np.dtype(DTYPES.get(json.loads(row[0])["--precision"], FLOAT32))


class _Sqlite:
    """A table of SQLite: one that ``minigte embed`` has written, or another with float32 in BLOBs."""

    def __init__(self, path: str, table: str) -> None:
        self._path = path
        self._table = '"' + table.replace('"', '""') + '"'
        try:
            with contextlib.closing(self._connect()) as connection:
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({self._table})")]
                tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
                self._dtype = _dtype_of(connection, table) if TABLES in tables else FLOAT32
        except sqlite3.Error as error:
            raise InputError(f"cannot read {path}: {error}") from None
        if EMBEDDING not in names:
            there = ", ".join(tables) or "none"
            raise InputError(
                f"{path} has no table {table!r} of vectors (tables: {there}): name it with --table"
            )
        self._names = [name for name in names if name not in (EMBEDDING, DIGEST)]
        self._rowids: list[int] = []  # of the rows that were read, in their order

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{Path(self._path).absolute().as_uri()}?mode=ro", uri=True)

    def parts(self) -> Iterator[Vectors]:
        self._rowids = []
        with contextlib.closing(self._connect()) as connection:
            found = connection.execute(f"SELECT rowid, {EMBEDDING} FROM {self._table} ORDER BY rowid")
            while rows := found.fetchmany(PART):
                self._rowids += [rowid for rowid, _ in rows]
                sizes = {len(blob) if isinstance(blob, bytes) else None for _, blob in rows}
                if len(sizes) > 1 or None in sizes:
                    raise InputError(
                        f"{self._path}: its {EMBEDDING}s have different lengths, or are not BLOBs"
                    )
                yield np.frombuffer(b"".join(blob for _, blob in rows), self._dtype).reshape(len(rows), -1)

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        columns = ", ".join('"' + name.replace('"', '""') + '"' for name in self._names)
        described = []
        with contextlib.closing(self._connect()) as connection:
            for row in rows:
                found = connection.execute(
                    f"SELECT {columns} FROM {self._table} WHERE rowid = ?", [self._rowids[row]]
                ).fetchone()
                described.append(dict(zip(self._names, found, strict=True)))
        return described


def in_precision(parts: Iterator[Vectors], dim: int, path: str) -> tuple[str, Iterator[Vectors]]:
    """What the vectors are, for a model of ``dim`` components, and they themselves.

    Gives "float32", "float16", "int8", "binary" or "ubinary". Raises InputError for vectors of another width
    than the model's.
    """
    first = next(parts, None)
    if first is None:
        return "float32", iter(())
    width, kind = first.shape[1], first.dtype
    again = itertools.chain([first], parts)
    if width == dim and kind in (np.float64, np.float32, np.float16, np.int8):
        return "float32" if kind == np.float64 else kind.name, again
    if 8 * width == dim and kind in (np.int8, np.uint8):
        return "binary" if kind == np.int8 else "ubinary", again
    raise InputError(
        f"{path} holds rows of {width} {kind}, and the model's vectors have {dim} components: give the "
        "--model and --truncate-dim they were made with"
    )
