"""A progress bar for long work on a terminal, and nothing for anything else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sized
from typing import Any

PROGRESS_DELAY = 3.0  # seconds of work after which a terminal is shown a progress bar


def on_terminal() -> bool:
    """Whether somebody reads stderr as it comes; a service's may be closed, or an object of a log's."""
    return bool(getattr(sys.stderr, "isatty", bool)())


def progress_bar(show: bool | None, texts: Iterable[str], start: int = 0) -> Any:
    """A tqdm bar when asked for, or (None) on a terminal after PROGRESS_DELAY seconds; otherwise None.

    ``start`` texts were done before.
    """
    if sys.stderr is None or show is False or (show is None and not on_terminal()):
        return contextlib.nullcontext()
    from tqdm import tqdm

    total = start + len(texts) if isinstance(texts, Sized) else None
    return tqdm(total=total, initial=start, desc="encode", unit="text", delay=0 if show else PROGRESS_DELAY)
