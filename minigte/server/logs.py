"""What the server writes to stderr: one line for each request and each event, as text or as JSON.

Never a text, a token or a key of a request.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import traceback
from typing import Any

logger = logging.getLogger("minigte.server")

FIELDS = "fields"  # the attribute of a log record that holds what is known beside its message


def set_up(form: str, level: str) -> None:
    """Write what minigte and uvicorn log to stderr: ``form`` is "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Text())
    for name in ("minigte", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level.upper())


def event(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log a message and what belongs to it, by name."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={FIELDS: fields})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its fields."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "process": record.process,
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str)


class Text(logging.Formatter):
    """Time, level, message, fields; on one line, but for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its fields."""
        fields = "".join(f" {name}={_plain(value)}" for name, value in getattr(record, FIELDS, {}).items())
        line = f"{_time(record)} {record.levelname.lower():<7} {_plain(record.getMessage())}{fields}"
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> str:
    """On one line: what a client sends must not begin another."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
