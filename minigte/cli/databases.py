"""Vectors with their ids into a table of a database, which a later run brings up to date.

SQLite, DuckDB, LanceDB, and PostgreSQL with pgvector.

A row has the record's ``id``, what is carried along, its ``embedding``, and in ``digest`` what it was made
from. What decides the vectors of a table stands in the table TABLES, so that no table ever holds those of two
models. A chunk is written whole or not at all: a run that was killed goes on with ``--update``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from minigte.cli.ids import plain
from minigte.cli.outputs import EMBEDDING, Batches, Vectors, numbers_of
from minigte.cli.records import Record
from minigte.cli.resumable import differing_options
from minigte.errors import InputError, MissingDependencyError, OutputError

TABLES = "minigte_tables"  # a row for each table: its name, and its options as JSON
DIGEST = "digest"
OWN = ("id", EMBEDDING, DIGEST)  # columns that nothing carried along may be called


class Database(Protocol):
    """A table of vectors in a database; the methods raise what the database raises."""

    def options(self) -> str | None:
        """What the table was made with, as JSON; None where there is no such table yet."""

    def columns(self) -> Sequence[str]:
        """The names of the table's columns."""

    def digests(self) -> Iterator[tuple[Any, str]]:
        """The id of each row with its digest."""

    def write(
        self, records: Sequence[Record], vectors: Vectors, digests: Sequence[str], options: str | None
    ) -> None:
        """Put one row for each record, in the place of one with its id; all of it or nothing.

        ``options`` are given where the table is to be made first.
        """

    def close(self) -> None:
        """Let go of the database."""


class Table:
    """A table that this run makes, or brings up to date. Used in a ``with`` block, after ``start``."""

    def __init__(self, kind: str, where: Path | str, name: str, *, update: bool) -> None:
        """Open the database, of which ``where`` is the path or the URL.

        Raises InputError where the table is there and ``update`` was not asked for.
        """
        path = without_password(where) if isinstance(where, str) else where
        self._path, self._name = path, name
        self.skipped = 0  # texts that were there already, and are the same
        self._known: dict[Any, str] = {}
        self._seen: set[Any] = set()
        self._options: str | None = None
        with self._naming():
            self._database = KINDS[kind](where, name)
            try:
                before = self._database.options()
            except BaseException:
                self._database.close()
                raise
        if before is not None and not update:
            self._database.close()
            raise InputError(
                f"{path} already has a table {name!r}: add what is new or changed with --update, "
                "or choose another --table"
            )
        self._before = before

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def start(self, options: Mapping[str, Any]) -> None:
        """Compare with what the table was made with. Raises InputError where the vectors would be others."""
        if self._before is None:
            self._options = json.dumps(options)
            return
        differences = differing_options(json.loads(self._before), options)
        if differences:
            raise InputError(
                f"the table {self._name!r} of {self._path} was made with {differences}: give "
                "the same options, or another --table"
            )
        with self._naming():
            self._known = dict(self._database.digests())

    def changed(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records that are not in the table, or not as they are now.

        Raises InputError, which names the text, for an id that is null or appears twice.
        """
        for number, record in enumerate(records):
            key = plain(record.id)
            if key is None or key in self._seen:
                what = "no id" if key is None else f"the id {key!r}, which an earlier one has"
                raise InputError(f"text {number} has {what}: a table needs one id per row (see --id-column)")
            self._seen.add(key)
            if self._known.get(key) == _digest(record):
                self.skipped += 1
            else:
                yield record

    def write(self, records: Sequence[Record], vectors: Vectors) -> None:
        """Put one row for each record, in the place of one with its id."""
        if not records:
            return
        with self._naming():
            if self._options is None:
                columns = ["id", *records[0].kept, EMBEDDING, DIGEST]
                there = self._database.columns()
                if sorted(columns) != sorted(there):
                    raise InputError(
                        f"the table {self._name!r} of {self._path} has the columns {', '.join(there)}, and "
                        f"these records {', '.join(columns)}: give the same --keep, or another --table"
                    )
            self._database.write(records, vectors, [_digest(record) for record in records], self._options)
            self._options = None

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn the databases' errors into one that names the file."""
        try:
            yield
        except (InputError, MissingDependencyError, OutputError):
            raise
        except Exception as error:
            raise OutputError(f"cannot write {self._path}: {str(error).splitlines()[0]}") from error


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host, query=""))


def _digest(record: Record) -> str:
    """What a row was made from, in short."""
    kept = {name: plain(value) for name, value in record.kept.items()}
    source = json.dumps([record.text, kept], default=repr)
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _foreign(name: str) -> InputError:
    return InputError(f"the table {name!r} was not written by minigte embed: choose another with --table")


def _digests_of(table: Any) -> Iterator[tuple[Any, str]]:
    """The rows of an Arrow table of ids and digests."""
    for key, digest in zip(table["id"], table[DIGEST], strict=True):
        yield plain(key), digest.as_py()


def _quoted(name: str) -> str:
    """A name of a table or of a column, as SQL spells any."""
    return '"' + name.replace('"', '""') + '"'


class _Sqlite:
    """Vectors as BLOBs, little end first, which sqlite-vec and minigte.integrations.sqlite read."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = _quoted(name)
        self._connection = sqlite3.connect(path)
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLES} (name PRIMARY KEY, options)")
        self._key = name

    def options(self) -> str | None:
        there = "SELECT name FROM sqlite_master WHERE name = ?"
        row = self._connection.execute(f"SELECT options FROM {TABLES} WHERE name = ?", [self._key]).fetchone()
        if row is None and self._connection.execute(there, [self._key]).fetchone():
            raise _foreign(self._key)
        return None if row is None else row[0]

    def columns(self) -> list[str]:
        return [row[1] for row in self._connection.execute(f"PRAGMA table_info({self._name})")]

    def digests(self) -> Iterator[tuple[Any, str]]:
        yield from self._connection.execute(f"SELECT id, {DIGEST} FROM {self._name}")

    def write(
        self, records: Sequence[Record], vectors: Vectors, digests: Sequence[str], options: str | None
    ) -> None:
        names = list(map(_quoted, ["id", *records[0].kept, EMBEDDING, DIGEST]))
        little = vectors.astype(vectors.dtype.newbyteorder("<"), copy=False)
        rows = [
            [plain(record.id), *map(plain, record.kept.values()), vector.tobytes(), digest]
            for record, vector, digest in zip(records, little, digests, strict=True)
        ]
        with self._connection:
            if options is not None:
                columns = ", ".join([f"{names[0]} PRIMARY KEY", *names[1:]])
                self._connection.execute(f"CREATE TABLE {self._name} ({columns})")
                self._connection.execute(f"INSERT INTO {TABLES} VALUES (?, ?)", [self._key, options])
            places = ", ".join("?" * len(names))
            self._connection.executemany(
                f"INSERT OR REPLACE INTO {self._name} ({', '.join(names)}) VALUES ({places})", rows
            )

    def close(self) -> None:
        self._connection.close()


class _Duckdb:
    """Vectors as FLOAT[D]."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise MissingDependencyError(
                f"DuckDB needs the duckdb package ({error}): pip install duckdb"
            ) from None
        self._name, self._key = _quoted(name), name
        self._connection = duckdb.connect(str(path))
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLES} (name VARCHAR, options VARCHAR)")
        self._batches = Batches()

    def options(self) -> str | None:
        # All rows are fetched: DuckDB does nothing else on a connection while some are left.
        rows = self._connection.execute(
            f"SELECT options FROM {TABLES} WHERE name = ?", [self._key]
        ).fetchall()
        there = "SELECT 1 FROM information_schema.tables WHERE table_name = ?"
        if not rows and self._connection.execute(there, [self._key]).fetchall():
            raise _foreign(self._key)
        return rows[0][0] if rows else None

    def columns(self) -> list[str]:
        return [row[0] for row in self._connection.execute(f"DESCRIBE {self._name}").fetchall()]

    def digests(self) -> Iterator[tuple[Any, str]]:
        return _digests_of(self._connection.sql(f"SELECT id, {DIGEST} FROM {self._name}").to_arrow_table())

    def write(
        self, records: Sequence[Record], vectors: Vectors, digests: Sequence[str], options: str | None
    ) -> None:
        rows = _with_digests(self._batches.batch(records, vectors), digests)
        columns = ", ".join(map(_quoted, rows.schema.names))
        self._connection.register("minigte_rows", rows)
        self._connection.execute("BEGIN")
        try:
            if options is not None:
                self._connection.execute(
                    f"CREATE TABLE {self._name} AS SELECT {columns} FROM minigte_rows LIMIT 0"
                )
                self._connection.execute(f"INSERT INTO {TABLES} VALUES (?, ?)", [self._key, options])
            self._connection.execute(f"DELETE FROM {self._name} WHERE id IN (SELECT id FROM minigte_rows)")
            self._connection.execute(
                f"INSERT INTO {self._name} ({columns}) SELECT {columns} FROM minigte_rows"
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        finally:
            self._connection.unregister("minigte_rows")

    def close(self) -> None:
        self._connection.close()


class _Lancedb:
    """Vectors as Arrow's lists of fixed length, which LanceDB indexes."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            import lancedb
        except ImportError as error:
            raise MissingDependencyError(
                f"LanceDB needs the lancedb package ({error}): pip install lancedb"
            ) from None
        self._database, self._name = lancedb.connect(str(path)), name
        self._batches = Batches()

    def _has(self, name: str) -> bool:
        try:
            self._database.open_table(name)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def options(self) -> str | None:
        rows = self._database.open_table(TABLES).to_arrow().to_pylist() if self._has(TABLES) else []
        found = [row["options"] for row in rows if row["name"] == self._name]
        if self._has(self._name):
            if not found:
                raise _foreign(self._name)
            return found[-1]
        return None  # its options are written first

    def columns(self) -> list[str]:
        return list(self._database.open_table(self._name).schema.names)

    def digests(self) -> Iterator[tuple[Any, str]]:
        return _digests_of(self._database.open_table(self._name).to_arrow().select(["id", DIGEST]))

    def write(
        self, records: Sequence[Record], vectors: Vectors, digests: Sequence[str], options: str | None
    ) -> None:
        import pyarrow as pa

        rows = pa.table(_with_digests(self._batches.batch(records, vectors), digests))
        if options is not None:
            row = pa.table({"name": [self._name], "options": [options]})
            if self._has(TABLES):
                self._database.open_table(TABLES).add(row)
            else:
                self._database.create_table(TABLES, row)
            self._database.create_table(self._name, rows)
            return
        merge = self._database.open_table(self._name).merge_insert("id")
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def close(self) -> None:
        pass  # nothing is open between two writes


def _with_digests(batch: Any, digests: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.table(batch).append_column(DIGEST, pa.array(digests, pa.string()))


class _Postgresql:
    """Vectors as pgvector's types: vector(D), of float16 halfvec(D), of ubinary bit(D)."""

    def __init__(self, url: str, name: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingDependencyError(
                f"PostgreSQL needs the psycopg package ({error}): pip install 'psycopg[binary]'"
            ) from None
        self._name, self._key = _quoted(name), name
        self._connection = psycopg.connect(url, autocommit=True)
        try:
            self._connection.execute("SET client_min_messages = warning")
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLES} (name text PRIMARY KEY, options text)"
            )
        except psycopg.errors.FeatureNotSupported:
            self._connection.close()
            raise OutputError(
                f"{without_password(url)} has no pgvector: install it in the server, as Debian's "
                "postgresql-15-pgvector does"
            ) from None
        except BaseException:
            self._connection.close()
            raise

    def options(self) -> str | None:
        row = self._connection.execute(
            f"SELECT options FROM {TABLES} WHERE name = %s", [self._key]
        ).fetchone()
        if row is None and self.columns():
            raise _foreign(self._key)
        return None if row is None else row[0]

    def columns(self) -> list[str]:
        found = self._connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
            "AND NOT attisdropped",
            [self._name],
        )
        return [row[0] for row in found]

    def digests(self) -> Iterator[tuple[Any, str]]:
        yield from self._connection.execute(f"SELECT id, {DIGEST} FROM {self._name}")

    def write(
        self, records: Sequence[Record], vectors: Vectors, digests: Sequence[str], options: str | None
    ) -> None:
        names = ["id", *records[0].kept, EMBEDDING, DIGEST]
        rows = [
            [plain(record.id), *map(plain, record.kept.values()), _as_pgvector(vector), digest]
            for record, vector, digest in zip(records, vectors, digests, strict=True)
        ]
        columns = ", ".join(map(_quoted, names))
        with self._connection.transaction():
            if options is not None:
                kinds = [_postgresql_type([row[i] for row in rows]) for i in range(len(names) - 2)]
                kinds = [*kinds, _pgvector_type(vectors), "text"]
                kinds[0] += " PRIMARY KEY"
                described = [f"{_quoted(name)} {kind}" for name, kind in zip(names, kinds, strict=True)]
                self._connection.execute(f"CREATE TABLE {self._name} ({', '.join(described)})")
                self._connection.execute(f"INSERT INTO {TABLES} VALUES (%s, %s)", [self._key, options])
            self._connection.execute(
                f"CREATE TEMP TABLE minigte_rows ON COMMIT DROP AS SELECT {columns} FROM {self._name} LIMIT 0"
            )
            with (
                self._connection.cursor() as cursor,
                cursor.copy(f"COPY minigte_rows ({columns}) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in map(_quoted, names[1:]))
            self._connection.execute(
                f"INSERT INTO {self._name} ({columns}) SELECT {columns} FROM minigte_rows "
                f"ON CONFLICT (id) DO UPDATE SET {changes}"
            )

    def close(self) -> None:
        self._connection.close()


def _pgvector_type(vectors: Vectors) -> str:
    if vectors.dtype == np.uint8:
        return f"bit({8 * vectors.shape[1]})"
    return f"{'halfvec' if vectors.dtype == np.float16 else 'vector'}({vectors.shape[1]})"


def _as_pgvector(vector: Vectors) -> str:
    """One vector as pgvector's types read it."""
    if vector.dtype == np.uint8:
        return "".join(map(str, np.unpackbits(vector).tolist()))
    return json.dumps(numbers_of(vector), separators=(",", ":"))


def _postgresql_type(values: Sequence[Any]) -> str:
    """The type of a column: that of the first value."""
    first = next((value for value in values if value is not None), "")
    kinds = {bool: "boolean", int: "bigint", float: "double precision", bytes: "bytea"}
    return kinds.get(type(first), "text")


KINDS: dict[str, Callable[[Any, str], Database]] = {  # by the path, or the URL, and the table's name
    "sqlite": _Sqlite,
    "duckdb": _Duckdb,
    "lancedb": _Lancedb,
    "postgresql": _Postgresql,
}
