"""Records of each format from an open file, one at a time: JSON lines, CSV and TSV, Parquet.

What cannot be kept exactly is refused with its line or row.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, BinaryIO, NamedTuple, NoReturn

from minigte.cli.formats import ID_COLUMN, TEXT_COLUMN, require_pyarrow
from minigte.cli.ids import plain
from minigte.errors import InputError
from minigte.tokenizing.texts import check_unicode

READ_ERRORS = (OSError, EOFError, zlib.error)  # the last two of a file that gzip has not made whole

# A field of a CSV file is a whole document; the csv module's own limit is 128 KiB.
CSV_FIELD_LIMIT = 2**31 - 1


class Record(NamedTuple):
    """One text of a file."""

    id: Any  # the id column's value (see ``ids``), or else the record's number, from 0
    text: str


class Columns(NamedTuple):
    """Which columns of a table, or keys of a JSON object, hold the texts and the ids; None is the default."""

    text: str | None = None
    id: str | None = None


# JSON lines


class _Number(str):
    """The spelling of a JSON number with a fraction or an exponent, which a float might not hold exactly."""

    __slots__ = ()


class _RepeatedKeyError(ValueError):
    """An object has a key twice, and which of its values is meant nobody knows."""


def read_jsonl(lines: Iterable[str], name: str, columns: Columns) -> Iterator[Record]:
    """Read JSON lines, of which each is an object or a text alone; blank lines are none."""
    text_key, id_key = columns.text or TEXT_COLUMN, columns.id or ID_COLUMN

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            for key in (text_key, id_key):
                if sum(key == other for other, _ in pairs) > 1:
                    raise _RepeatedKeyError(key)
        return value

    decoder = json.JSONDecoder(object_pairs_hook=as_object, parse_float=_Number)
    have_ids = True if columns.id else None  # until the first record shows whether they do
    numbers = itertools.count()
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {line_number}"
        try:
            value = decoder.decode(line)
        except _RepeatedKeyError as error:
            raise InputError(f"{where}: the key {str(error)!r} stands there twice") from None
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{where}: not JSON ({error}): write one object a line, or give --input-format lines to "
                "embed each line as it is"
            ) from None
        if isinstance(value, list):
            raise InputError(
                f"{where}: a JSON array: write its members a line each, as jq -c '.[]' does, or give "
                "--input-format lines to embed each line as it is"
            )
        keys = value if isinstance(value, dict) else {} if columns.text else {text_key: value}
        if text_key not in keys:
            _refuse_column(f"{where}:", "key", text_key, keys, "--column")
        text = keys[text_key]
        if type(text) is not str:
            spelled = text if isinstance(text, _Number) else json.dumps(text)
            raise InputError(f"{where}: {text_key!r} is not a text but {spelled[:60]}")
        check_unicode(text, where)  # JSON can spell lone surrogates
        if have_ids is None:
            have_ids = id_key in keys
        if have_ids != (id_key in keys):
            if have_ids and columns.id:
                _refuse_column(f"{where}:", "key", id_key, keys, "--id-column")
            has, have = ("no", "have one") if have_ids else ("a", "have none")
            raise InputError(
                f"{where} has {has} key {id_key!r}, and the lines before it {have}: give every record an id, "
                "or none, or name another key with --id-column"
            )
        number = next(numbers)
        yield Record(_checked_id(keys[id_key], where) if have_ids else number, text)


def _checked_id(value: Any, where: str) -> Any:
    """An id as JSON gave it, a float where that is exactly what is spelled."""
    if type(value) is _Number:
        number = float(value)
        if not math.isfinite(number) or Decimal(repr(number)) != Decimal(value):
            raise InputError(f"{where}: no float64 is exactly the id {value}: write it as a text")
        return number
    if isinstance(value, float):  # NaN or Infinity, which only Python's JSON has
        raise InputError(f"{where}: the id is {value}: give texts or numbers for ids")
    if isinstance(value, (dict, list)):
        raise InputError(f"{where}: the id is {json.dumps(value)[:60]}: give texts or numbers for ids")
    if isinstance(value, str):
        check_unicode(value, f"{where}: the id")
    return value


# Tables


def _refuse_column(where: str, what: str, column: str, names: Iterable[str], option: str) -> NoReturn:
    there = ", ".join(name if name == name.strip() else repr(name) for name in names) or "none"
    raise InputError(f"{where} no {what} {column!r} ({what}s: {there}): name it with {option}")


def _chosen_columns(
    names: Sequence[str], name: str, columns: Columns, otherwise: str = ""
) -> tuple[str, str | None]:
    """The columns of the texts and of the ids, None where there are no ids.

    Raises InputError, with ``otherwise`` as another way out.
    """
    text = columns.text or TEXT_COLUMN
    if text not in names:
        _refuse_column(f"{name} has", "column", text, names, f"--column{otherwise}")
    if columns.id and columns.id not in names:
        _refuse_column(f"{name} has", "column", columns.id, names, "--id-column")
    ids = columns.id or ID_COLUMN
    for column in (text, ids):
        if names.count(column) > 1:
            raise InputError(
                f"{name} has {names.count(column)} columns {column!r}: rename them, or name another"
            )
    return text, ids if ids in names else None


def read_table(lines: Iterable[str], name: str, file_format: str, columns: Columns) -> Iterator[Record]:
    """Read CSV, or TSV, which has no way to put a tab or a line end into a field."""
    csv.field_size_limit(CSV_FIELD_LIMIT)
    if file_format == "csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    separated = "commas" if file_format == "csv" else "tabs"
    no_header = f", or put a header line first: it takes {separated} between the columns"
    numbers = itertools.count()
    header: list[str] = []
    blank = line = 0
    try:
        for row in reader:
            line = reader.line_num
            where = f"{name}, line {line}"
            if not row:
                blank = blank or line
                continue
            fields = row if file_format == "csv" else [_unquoted(field) for field in row]
            if not header:
                header, blank = fields, 0
                text_column, id_column = _chosen_columns(header, name, columns, no_header)
                continue
            if len(fields) != len(header):
                much, what = ("few", "line ends") if len(fields) < len(header) else ("many", "commas")
                way_out = (
                    f"put a text with {what} in quotation marks"
                    if file_format == "csv"
                    else "texts with tabs or line ends need CSV"
                )
                raise InputError(
                    f"{where}: too {much} fields, {len(fields)} where the header has {len(header)}: {way_out}"
                )
            if blank and len(header) == 1:
                raise InputError(f'{name}, line {blank} is empty: write "" for an empty text, or remove it')
            if file_format == "tsv" and len(header) == 1 and row[0].startswith('"') and row == fields:
                raise InputError(f"{where}: a quotation mark opens and does not close: write CSV")
            record = dict(zip(header, fields, strict=True))
            number = next(numbers)
            yield Record(number if id_column is None else record[id_column], record[text_column])
    except csv.Error as error:
        raise InputError(f"{name}, after line {line}: {error}: check the quotation marks there") from None
    if not header:
        _chosen_columns([], name, columns, no_header)


def _unquoted(field: str) -> str:
    """A field of a TSV, without the marks that spreadsheets put around it; a lone mark is a character."""
    inner = field[1:-1].replace('""', "")
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner:
        return field[1:-1].replace('""', '"')
    return field


# Parquet


def read_parquet(file: BinaryIO, name: str, columns: Columns) -> Iterator[Record]:
    """Read a Parquet file; its ids are Arrow scalars."""
    pyarrow = require_pyarrow()
    numbers = itertools.count()
    try:
        # The index is at the file's end; what is packed or comes through a pipe is held as a whole.
        seekable = file if file.seekable() else io.BytesIO(file.read())
        # Buffered: a row group may be the whole file, and is not to be held at once.
        table = pyarrow.parquet.ParquetFile(seekable, buffer_size=1 << 20, pre_buffer=False)
        schema = table.schema_arrow
        text_column, id_column = _chosen_columns(schema.names, name, columns)
        if id_column is not None:
            _check_id_type(pyarrow.types, schema.field(id_column).type, f"{name}, column {id_column!r}")
        wanted = list(dict.fromkeys([text_column, *([] if id_column is None else [id_column])]))
        for batch in table.iter_batches(batch_size=1024, columns=wanted):
            ids = itertools.repeat(None) if id_column is None else _decoded(batch.column(id_column))
            for scalar, record_id in zip(batch.column(text_column), ids, strict=False):
                number = next(numbers)
                where = f"{name}, row {number}"
                text = _value_of(scalar.as_py, where, text_column)
                if not isinstance(text, str):
                    raise InputError(f"{where}: {text_column!r} is not a text but {text!r:.60}")
                if id_column is not None:
                    _value_of(functools.partial(plain, record_id), where, id_column)
                yield Record(number if id_column is None else record_id, text)
    except (*READ_ERRORS, pyarrow.ArrowException) as error:
        raise InputError(f"{name} is not a whole Parquet file ({error})") from error


def _check_id_type(types: Any, kind: Any, where: str) -> None:
    """Raise InputError where ids of an Arrow type are neither texts, numbers, times nor bytes."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_nested(kind) or types.is_interval(kind):
        raise InputError(f"{where} holds {kind}, which are no ids: name another with --id-column")


def _decoded(ids: Any) -> Any:
    return ids.dictionary_decode() if hasattr(ids, "dictionary_decode") else ids


def _value_of(read: Callable[[], Any], where: str, column: str) -> Any:
    """What ``read`` gives. Raises InputError where that is a text that is not UTF-8; Arrow looks at none."""
    try:
        return read()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {column!r} is not UTF-8 ({error.reason} at byte {error.start})") from None
