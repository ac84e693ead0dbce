"""What a file of texts or of vectors is: told by its name, and where that says nothing, by how it begins.

A file of lines may be anything, so it is looked into: JSON lines or a table that came on stdin or under a
name of its own must not be embedded brace by brace. What is certain is read as what it is; what only looks
like it is refused, and the caller says what it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigte.errors import InputError, MissingDependencyError

DOCUMENT = "document"  # a file that is one text, as those of a folder are
INPUT_FORMATS = ("lines", "jsonl", "csv", "tsv", "parquet", DOCUMENT)
OUTPUT_FORMATS = ("jsonl", "csv", "npy", "parquet", "sqlite", "duckdb", "lancedb", "postgresql")
DATABASES = OUTPUT_FORMATS[4:]  # that grow; what is not among them is a file that is written anew
DOCUMENT_SUFFIXES = (".txt", ".md")

INPUT_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
OUTPUT_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".npy": "npy",
    ".parquet": "parquet",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".duckdb": "duckdb",
    ".lancedb": "lancedb",
}
URLS = ("postgresql://", "postgres://")  # how the name of a PostgreSQL database begins
TEXT_COLUMN, ID_COLUMN = "text", "id"  # of tables and JSON objects, where the caller names no others
STREAM = "-"  # the name of stdin as an input, of stdout as an output
GZIP_SUFFIX = ".gz"  # after the suffix of an input

PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"

# What begins so is not read; what it is, and the way out.
FOREIGN_MAGICS = {
    GZIP_MAGIC: ("packed by gzip twice", "unpack it once with gunzip"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "unpack it: zstd -dc FILE | minigte embed"),
    b"\xfd7zXZ\x00": ("packed by xz", "unpack it: xz -dc FILE | minigte embed"),
    b"BZh91AY&SY": ("packed by bzip2", "unpack it: bzip2 -dc FILE | minigte embed"),
    b"PK\x03\x04": ("a zip archive, as .xlsx and .docx are too", "export its texts as CSV or lines"),
    b"%PDF-": ("a PDF", "extract its text first"),
    b"ARROW1": ("an Arrow file", "write it as Parquet"),
    b"\x93NUMPY": ("a NumPy array", "give a file of texts"),
    b"SQLite format 3": ("an SQLite database", "export its texts as CSV"),
    b"\xff\xfe\0\0": ("UTF-32", "convert it: iconv -f UTF-32 -t UTF-8"),
    b"\xff\xfe": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
}

# What may stand between the columns of a table: in words, and the format if it is read.
DELIMITERS = {
    ",": ("commas", "csv"),
    "\t": ("tabs", "tsv"),
    ";": ("semicolons", None),
    "|": ("bars", None),
}

# Commas between thousands separate no fields.
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_COLUMN_NAME = re.compile(r"[^\W\d][\w.-]*")


def output_format_of(path: Path) -> str:
    """The format that an output's suffix stands for. Raises InputError where it stands for none."""
    suffix = path.suffix.lower()
    if suffix in OUTPUT_SUFFIXES:
        return OUTPUT_SUFFIXES[suffix]
    what = f"minigte writes no {suffix} files" if suffix else "it has no suffix that tells its format"
    hint = " (to pack it, write to stdout and pipe that into gzip)" if suffix == GZIP_SUFFIX else ""
    raise InputError(
        f"cannot write {path}: {what}: name it .jsonl, .csv, .npy, .parquet, .db, .duckdb or .lancedb, or "
        f"postgresql://..., or give --output-format{hint}"
    )


def input_format_of(name: str, head: Sequence[str], column: str) -> str:
    """The format of a text file by its suffix, and else by its first lines, ``head``.

    Raises InputError where it looks like something that cannot be read without being told.
    """
    path = name.lower().removesuffix(GZIP_SUFFIX)
    suffix = Path(path).suffix
    if suffix in INPUT_SUFFIXES:
        return INPUT_SUFFIXES[suffix]
    found = _recognise([line for line in head if line.strip()], name, column)
    if found == "lines" and suffix == ".json":
        raise InputError(f"{name} is not JSON: say what it is with --input-format, {_or(INPUT_FORMATS)}")
    return found


def _recognise(head: Sequence[str], name: str, column: str) -> str:
    if not head:
        return "lines"
    first = head[0].strip()
    if first[0] in "{[" and _begins_json(first):
        return "jsonl"
    if all(_is_json_text(line) for line in head):
        raise InputError(
            f"{name}: every line is in quotation marks: give --input-format jsonl if they are JSON's, csv if "
            "the first line is a header, lines if they belong to the texts"
        )
    if len(head) > 1 and first == column:
        raise InputError(
            f"{name}: the first line is {column!r}: give --input-format csv if it is a header, lines if it "
            "is a text"
        )
    for delimiter, (word, found) in DELIMITERS.items():
        if not _looks_like_table(head, delimiter, column):
            continue
        if found is None or len(head) == 1 or column not in _fields(first, delimiter):
            way_out = f"give --input-format {found}" if found else "write it with commas or tabs"
            raise InputError(
                f"{name} looks like a table with {word} between its columns: {way_out}, or --input-format "
                "lines to embed each line as it is"
            )
        return found
    return "lines"


def _begins_json(first: str) -> bool:
    """Whether a first line that begins with a bracket is JSON, or the beginning of a JSON document."""
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return re.match(r'[{\[]\s*($|["{\[])', first) is not None
    return True


def _is_json_text(line: str) -> bool:
    try:
        return isinstance(json.loads(line), str)
    except (ValueError, RecursionError):
        return False


def _looks_like_table(head: Sequence[str], delimiter: str, column: str) -> bool:
    """Whether lines have what prose has not: a header, or the same number of fields each."""
    header, *rows = (_fields(_THOUSANDS.sub("", line), delimiter) for line in head)
    if len(header) == 1:
        return False
    if not rows:
        return column in header
    if column in (field.strip() for field in header) or all(map(_COLUMN_NAME.fullmatch, header)):
        return len(rows[0]) >= len(header)
    return {len(row) for row in rows} == {len(header)} and not any(
        field.startswith(" ") for row in [header, *rows] for field in row
    )


def _fields(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [""])


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def require_pyarrow() -> Any:
    """The package that reads and writes Parquet. Raises MissingDependencyError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet needs the pyarrow package, which cannot be imported ({error}): pip install pyarrow"
        ) from error
    return pyarrow
