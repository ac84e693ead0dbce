"""Texts with their ids from a file or stdin: what it is, gzip taken off, its lines decoded, its records.

Nothing is held but the records on their way, so files may be larger than memory. Nothing is lost and nothing
made up: what cannot be kept exactly is refused with its line or row. Parquet needs the ``pyarrow`` package.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import io
import itertools
import os
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from minigte.cli.formats import (
    DOCUMENT,
    DOCUMENT_SUFFIXES,
    FOREIGN_MAGICS,
    GZIP_MAGIC,
    GZIP_SUFFIX,
    INPUT_FORMATS,
    PARQUET_MAGIC,
    STREAM,
    TEXT_COLUMN,
    input_format_of,
)
from minigte.cli.records import (
    KEEP_ALL,
    READ_ERRORS,
    Columns,
    Record,
    read_jsonl,
    read_parquet,
    read_table,
)
from minigte.errors import InputError

# So much of an input is looked at to tell its format; not more, so that lines are embedded as they come.
HEAD_BYTES, HEAD_LINES = 1 << 16, 20


class Records:
    """The records of some files, one after the other, and how much of the files has been read for them."""

    def __init__(
        self, sources: Sequence[_Source], sizes: Sequence[int | None], first: BinaryIO, columns: Columns
    ) -> None:
        """``sizes``: those that ``_size`` gives; ``first`` is the first of the sources, open."""
        known = [size for size in sizes if size is not None]
        # How many bytes there are up to the end of each source; none where one is not known.
        self._ends = [0, *itertools.accumulate(known)] if len(known) == len(sizes) else [0]
        self._place, self._file = 0, first  # what is being read
        self._records = self._all(sources, columns)

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def __next__(self) -> Record:
        return next(self._records)

    def close(self) -> None:
        """Read no more."""
        self._records.close()

    def share(self) -> float | None:
        """How much of all the bytes has been read; None where that is not known, as of stdin and Parquet."""
        if not self._ends[-1]:
            return None
        try:
            position = self._ends[self._place] + self._file.tell()
        except (OSError, ValueError):  # it has been closed at its end
            position = self._ends[self._place + 1]
        return position / self._ends[-1]

    def _all(self, sources: Sequence[_Source], columns: Columns) -> Generator[Record, None, None]:
        """Those without ids are numbered through."""
        numbers = itertools.count()
        for self._place, source in enumerate(sources):
            if self._place:
                self._file = _opened(source.path)
            with self._file as file:
                if source.file_format == DOCUMENT:
                    yield _document(file, source, columns)
                else:
                    name = "stdin" if source.path == STREAM else source.path
                    yield from read_records(file, name, source.file_format, columns, numbers)


def _size(path: str, file: Any) -> int | None:
    """The bytes of an open file that is read from its beginning to its end; None of any other."""
    if path == STREAM:
        return None
    status = os.fstat(file.fileno())
    with contextlib.suppress(*READ_ERRORS):  # an error comes again where the file is read
        if stat.S_ISREG(status.st_mode) and not file.peek(len(PARQUET_MAGIC)).startswith(PARQUET_MAGIC):
            return status.st_size
    return None


@contextlib.contextmanager
def open_records(paths: Sequence[str], file_format: str | None, columns: Columns) -> Iterator[Records]:
    """Open files, stdin, or the texts of folders as records, one after the other.

    A path is a file, a folder, whose .txt and .md files are a text each, or a pattern such as "notes/*.md".
    Raises InputError where one cannot be opened, before any record is read.
    """
    sources = [source for path in paths for source in _sources(path, file_format)]
    first = _opened(sources[0].path)
    with first:
        sizes = [_size(sources[0].path, first)]
        for source in sources[1:]:
            with _opened(source.path) as file:  # for its error, too
                sizes.append(_size(source.path, file))
        with contextlib.closing(Records(sources, sizes, first, columns)) as records:
            yield records


class _Source(NamedTuple):
    """A file of texts, or a file that is one text, with what that is called."""

    path: str
    file_format: str | None
    id: str


def _sources(path: str, file_format: str | None) -> list[_Source]:
    """The files that a path stands for."""
    if path == STREAM or Path(path).is_file() or not (Path(path).is_dir() or glob.has_magic(path)):
        return [_Source(path, file_format, path)]
    if Path(path).is_dir():
        if file_format not in (None, DOCUMENT):
            raise InputError(f"{path} is a folder, in which each file is one text: omit --input-format")
        files = sorted(
            file.relative_to(path).as_posix()
            for suffix in DOCUMENT_SUFFIXES
            for file in Path(path).rglob("*" + suffix)
            if file.is_file()
        )
        if not files:
            raise InputError(f"{path} is a folder without {' or '.join(DOCUMENT_SUFFIXES)} files")
        return [_Source(str(Path(path) / file), DOCUMENT, file) for file in files]
    found = sorted(file for file in glob.glob(path, recursive=True) if Path(file).is_file())  # noqa: PTH207
    if not found:
        raise InputError(f"no file matches {path}")
    return [_Source(file, file_format, file) for file in found]


def _opened(path: str) -> BinaryIO:
    if path == STREAM:
        return sys.stdin.buffer
    try:
        return open(path, "rb")  # noqa: PTH123 - a path with a closing slash stays one
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _document(file: BinaryIO, source: _Source, columns: Columns) -> Record:
    """A file that is one text."""
    if columns.text or columns.id:
        option = "--column" if columns.text else "--id-column"
        raise InputError(f"{source.path} is read as one text, which has no columns: omit {option}")
    unpacked, _ = _unpacked(file, source.path)
    text = "".join(_decoded_lines(unpacked, source.path))
    return Record(source.id, text, _kept_text(text, columns, source.path))


def _kept_text(text: str, columns: Columns, name: str) -> dict[str, str]:
    """What is carried along of an input that has no columns: its text, if it is asked for."""
    other = [column for column in columns.keep if (column,) != KEEP_ALL and column != TEXT_COLUMN]
    if other:
        raise InputError(f"{name} has no column {other[0]!r}, only its texts: give --keep {TEXT_COLUMN}")
    return {TEXT_COLUMN: text} if columns.keep else {}


def read_records(
    file: BinaryIO,
    name: str,
    file_format: str | None = None,
    columns: Columns | None = None,
    numbers: Iterator[int] | None = None,
) -> Iterator[Record]:
    r"""Read records from an open file; ``name`` is what errors call it.

    Without a ``file_format`` the file's name tells it, or else how it begins. A record of a file without ids
    is called by the next of ``numbers``, from 0. A JSON line may also be a text alone. A line ends in "\n",
    "\r\n" or "\r"; of lines an empty one is an empty text. Raises InputError, which names the line or row.
    """
    columns = columns or Columns()
    numbers = numbers or itertools.count()
    file, head = _unpacked(file, name)
    for magic, (what, way_out) in FOREIGN_MAGICS.items():
        if head.startswith(magic):
            raise InputError(f"{name} is {what}: {way_out}")
    if head.startswith(PARQUET_MAGIC) and file_format != "parquet":
        if file_format is not None:
            raise InputError(f"{name} is a Parquet file, not {file_format}: omit --input-format")
        file_format = "parquet"
    file_format = file_format or input_format_of(name, _first_lines(head), columns.text or TEXT_COLUMN)
    if file_format == "parquet":
        yield from read_parquet(file, name, columns, numbers)
        return
    lines = _decoded_lines(file, name)
    if file_format == "jsonl":
        yield from read_jsonl(lines, name, columns, numbers)
    elif file_format == "lines":
        if columns.text or columns.id:
            option = "--column" if columns.text else "--id-column"
            raise InputError(
                f"{name} is read as lines, which have no columns: omit {option}, or give "
                f"--input-format, one of {', '.join(INPUT_FORMATS[1:-1])}"
            )
        for line in lines:
            text = _without_end(line)
            yield Record(next(numbers), text, _kept_text(text, columns, name))
    else:
        yield from read_table(lines, name, file_format, columns, numbers)


def _unpacked(file: BinaryIO, name: str) -> tuple[BinaryIO, bytes]:
    """The file as it is before gzip packs it, at its beginning, and how it begins."""
    head = _read_head(file)
    file = _rewound(file, head)
    if not head.startswith(GZIP_MAGIC) and not name.lower().endswith(GZIP_SUFFIX):
        return file, head
    if not head:
        raise InputError(f"{name} is empty, which a gzipped file never is: compress it again")
    unpacked: Any = gzip.GzipFile(fileobj=file)
    head = _read_head(unpacked)
    return _Prefixed.stream(head, unpacked), head


def _read_head(file: Any) -> bytes:
    """HEAD_LINES lines from where the file stands, if it has so many in HEAD_BYTES, and what came with them.

    An error will come again where the file is read.
    """
    head = b""
    with contextlib.suppress(*READ_ERRORS):
        while len(head) < HEAD_BYTES and len(head.splitlines()) <= HEAD_LINES:
            more = file.read1(HEAD_BYTES - len(head))
            if not more:
                break
            head += more
    return head


def _rewound(file: BinaryIO, head: bytes) -> BinaryIO:
    """The file as it was before ``head`` was read."""
    if file.seekable():
        file.seek(-len(head), os.SEEK_CUR)
        return file
    return _Prefixed.stream(head, file)


class _Prefixed(io.RawIOBase):
    """What has been read of a stream, and then the rest of it."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    @classmethod
    def stream(cls, head: bytes, rest: BinaryIO) -> BinaryIO:
        return io.BufferedReader(cls(head, rest), HEAD_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _first_lines(head: bytes) -> list[str]:
    """The lines that a file begins with, without the last if it may be cut."""
    lines = list(io.StringIO(head.decode("utf-8-sig", "replace"), newline=None))
    return lines[:-1][:HEAD_LINES] if len(head) == HEAD_BYTES and len(lines) > 1 else lines[:HEAD_LINES]


def _decoded_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """UTF-8 lines, each with its line end; a byte order mark at the start is dropped."""
    # What is no UTF-8 comes as lone surrogates, so that the line is known in which it stands.
    lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            where = f"{name}, line {number}"
            if not line.isascii():
                _refuse_bytes(line, where)
            if "\0" in line:
                raise InputError(
                    f"{where} holds a NUL byte, as UTF-16 and files that are not text do: "
                    "convert it with iconv"
                )
            yield line
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {name} after line {number}: {reason}") from None
    finally:
        with contextlib.suppress(ValueError):  # it is closed already
            lines.detach()  # else it would close the file


def _refuse_bytes(line: str, where: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00  # where errors="surrogateescape" puts it
        raise InputError(
            f"{where}: not UTF-8 (byte 0x{byte:02x} after {error.start} characters): convert it with iconv"
        ) from None


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
