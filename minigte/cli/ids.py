"""What records are called: their ids, kept exactly or refused.

From JSON lines, CSV and TSV an id is a str, int, float, bool or None. From Parquet it is an Arrow scalar,
which keeps its type: a timestamp in nanoseconds or a 64-bit hash has no equal in Python or JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

from minigte.errors import InputError

OUT_OF_RANGE = "<value out of range"  # so Arrow spells a time beyond its calendar


def as_json(record_id: Any, where: str) -> str | int | float | bool | None:
    """The id as JSON writes it. Raises InputError, which says ``where``, if JSON has nothing of its kind."""
    value = plain(record_id)
    if (
        isinstance(value, bytes)
        or (isinstance(value, float) and not math.isfinite(value))
        or (isinstance(value, str) and value is not record_id and value.startswith(OUT_OF_RANGE))
    ):
        raise InputError(f"{where}: JSON cannot hold the id {value!r}: write Parquet, or name other ids")
    return value


def as_text(record_id: Any) -> str:
    """The id on one line, for a reader."""
    value = plain(record_id)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)


def plain(record_id: Any) -> str | int | float | bool | bytes | None:
    """An id without its Arrow type; times and decimals are spelled as Arrow spells them, with every digit."""
    if record_id is None or isinstance(record_id, (str, int, float, bool)):
        return record_id
    import pyarrow as pa

    if pa.types.is_temporal(record_id.type) or pa.types.is_decimal(record_id.type):
        return record_id.cast(pa.string()).as_py()
    value = record_id.as_py()
    return value if value is None or isinstance(value, (str, int, float, bytes)) else str(value)  # a UUID
