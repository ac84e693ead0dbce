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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    kept: Mapping[str, Any] = {}  # the columns that are carried along, each value as an id is


class Columns(NamedTuple):
    """Which columns of a table, or keys of a JSON object, hold the texts and the ids; None is the default."""

    text: str | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()  # columns that are carried along; KEEP_ALL is all but the ids'


KEEP_ALL = ("all",)


# JSON lines


class _Number(str):
    """The spelling of a JSON number with a fraction or an exponent, which a float might not hold exactly."""

    __slots__ = ()


class _RepeatedKeyError(ValueError):
    """An object has a key twice, and which of its values is meant nobody knows."""


def read_jsonl(lines: Iterable[str], name: str, columns: Columns, numbers: Iterator[int]) -> Iterator[Record]:
    """Read JSON lines, of which each is an object or a text alone; blank lines are none.

    ``numbers`` are the ids of records that have none.
    """
    text_key, id_key = columns.text or TEXT_COLUMN, columns.id or ID_COLUMN
    kept_keys = () if columns.keep == KEEP_ALL else columns.keep  # of all of them the first record tells

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            for key in (text_key, id_key, *kept_keys):
                if sum(key == other for other, _ in pairs) > 1:
                    raise _RepeatedKeyError(key)
        return value

    decoder = json.JSONDecoder(object_pairs_hook=as_object, parse_float=_Number)
    have_ids = True if columns.id else None  # until the first record shows whether they do
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {line_number}"
        try:
            value = decoder.decode(line)
        except _RepeatedKeyError as error:
            raise InputError(f"{where}: the key {str(error)!r} appears twice") from None
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
        if columns.keep == KEEP_ALL:
            kept_keys = kept_keys or tuple(key for key in keys if key != id_key)
            for key in keys:
                if key != id_key and key not in kept_keys:
                    raise InputError(
                        f"{where} has the key {key!r}, which the first record does not have: "
                        "name the keys to keep with --keep"
                    )
        kept = {key: _exact(keys.get(key), where, repr(key)) for key in kept_keys}
        number = next(numbers)
        yield Record(_exact(keys[id_key], where, "the id") if have_ids else number, text, kept)


def _exact(value: Any, where: str, what: str) -> Any:
    """An id, or what is carried along, as JSON gave it; a float where that is exactly what is spelled."""
    if type(value) is _Number:
        number = float(value)
        if not math.isfinite(number) or Decimal(repr(number)) != Decimal(value):
            raise InputError(f"{where}: no float64 is exactly {what} {value}: write it as a text")
        return number
    if isinstance(value, float):  # NaN or Infinity, which only Python's JSON has
        raise InputError(f"{where}: {what} is {value}: give texts or numbers")
    if isinstance(value, (dict, list)):
        raise InputError(f"{where}: {what} is {json.dumps(value)[:60]}: give texts or numbers")
    if isinstance(value, str):
        check_unicode(value, f"{where}: {what}")
    return value


# Tables


def _refuse_column(where: str, what: str, column: str, names: Iterable[str], option: str) -> NoReturn:
    there = ", ".join(name if name == name.strip() else repr(name) for name in names) or "none"
    raise InputError(f"{where} no {what} {column!r} ({what}s: {there}): name it with {option}")


def _chosen_columns(
    names: Sequence[str], name: str, columns: Columns, otherwise: str = ""
) -> tuple[str, str | None, tuple[str, ...]]:
    """The columns of the texts and of the ids, None where there are no ids, and those carried along.

    Raises InputError, with ``otherwise`` as another way out.
    """
    text = columns.text or TEXT_COLUMN
    if text not in names:
        _refuse_column(f"{name} has", "column", text, names, f"--column{otherwise}")
    if columns.id and columns.id not in names:
        _refuse_column(f"{name} has", "column", columns.id, names, "--id-column")
    ids = columns.id or ID_COLUMN
    keep = tuple(other for other in names if other != ids) if columns.keep == KEEP_ALL else columns.keep
    for column in keep:
        if column not in names:
            _refuse_column(f"{name} has", "column", column, names, "--keep")
    for column in (text, ids, *keep):
        if names.count(column) > 1:
            raise InputError(
                f"{name} has {names.count(column)} columns {column!r}: rename them, or name another"
            )
    return text, ids if ids in names else None, keep


def read_table(
    lines: Iterable[str], name: str, file_format: str, columns: Columns, numbers: Iterator[int]
) -> Iterator[Record]:
    """Read CSV, or TSV, which has no way to put a tab or a line end into a field.

    ``numbers`` are the ids of records that have none.
    """
    csv.field_size_limit(CSV_FIELD_LIMIT)
    if file_format == "csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    separated = "commas" if file_format == "csv" else "tabs"
    no_header = f", or put a header line first: it takes {separated} between the columns"
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
                text_column, id_column, keep = _chosen_columns(header, name, columns, no_header)
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
                raise InputError(f"{where}: a quotation mark is never closed: write CSV")
            record = dict(zip(header, fields, strict=True))
            number = next(numbers)
            kept = {column: record[column] for column in keep}
            yield Record(number if id_column is None else record[id_column], record[text_column], kept)
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


def read_parquet(file: BinaryIO, name: str, columns: Columns, numbers: Iterator[int]) -> Iterator[Record]:
    """Read a Parquet file; its ids, and what is carried along, are Arrow scalars.

    ``numbers`` are the ids of records that have none.
    """
    pyarrow = require_pyarrow()
    try:
        # The index is at the file's end; what is packed or comes through a pipe is held as a whole.
        seekable = file if file.seekable() else io.BytesIO(file.read())
        # Buffered: a row group may be the whole file, and is not to be held at once.
        table = pyarrow.parquet.ParquetFile(seekable, buffer_size=1 << 20, pre_buffer=False)
        schema = table.schema_arrow
        text_column, id_column, keep = _chosen_columns(schema.names, name, columns)
        for column in (*(() if id_column is None else (id_column,)), *keep):
            option = "--id-column" if column == id_column else "--keep"
            _check_type(pyarrow.types, schema.field(column).type, f"{name}, column {column!r}", option)
        wanted = list(dict.fromkeys([text_column, *([] if id_column is None else [id_column]), *keep]))
        row = itertools.count()
        for batch in table.iter_batches(batch_size=1024, columns=wanted):
            ids = itertools.repeat(None) if id_column is None else _decoded(batch.column(id_column))
            others = zip(*(_decoded(batch.column(column)) for column in keep), strict=True)
            for scalar, record_id, values in zip(
                batch.column(text_column), ids, others if keep else itertools.repeat(()), strict=False
            ):
                number = next(numbers)
                where = f"{name}, row {next(row)}"
                text = _value_of(scalar.as_py, where, text_column)
                if not isinstance(text, str):
                    raise InputError(f"{where}: {text_column!r} is not a text but {text!r:.60}")
                if id_column is not None:
                    _value_of(functools.partial(plain, record_id), where, id_column)
                for column, value in zip(keep, values, strict=True):
                    _value_of(functools.partial(plain, value), where, column)
                kept = dict(zip(keep, values, strict=True))
                yield Record(number if id_column is None else record_id, text, kept)
    except (*READ_ERRORS, pyarrow.ArrowException) as error:
        raise InputError(f"{name} is not a complete Parquet file ({error})") from error


def _check_type(types: Any, kind: Any, where: str, option: str) -> None:
    """Raise InputError where values of an Arrow type are neither texts, numbers, times nor bytes."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_nested(kind) or types.is_interval(kind):
        what = "are no ids" if option == "--id-column" else "cannot be kept"
        raise InputError(f"{where} holds {kind}, which {what}: name another with {option}")


def _decoded(ids: Any) -> Any:
    return ids.dictionary_decode() if hasattr(ids, "dictionary_decode") else ids


def _value_of(read: Callable[[], Any], where: str, column: str) -> Any:
    """What ``read`` gives. Raises InputError where that is a text that is not UTF-8; Arrow looks at none."""
    try:
        return read()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {column!r} is not UTF-8 ({error.reason} at byte {error.start})") from None
