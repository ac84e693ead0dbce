"""A progress bar for long work on a terminal, and nothing for anything else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sized
from typing import Any

PROGRESS_DELAY = 3.0  # seconds of work after which a terminal is shown a progress bar


def progress_bar(show: bool | None, texts: Iterable[str], start: int = 0) -> Any:
    """A tqdm bar when asked for, or (None) on a terminal after PROGRESS_DELAY seconds; otherwise None.

    ``start`` texts were done before.
    """
    if show is False or (show is None and not sys.stderr.isatty()):
        return contextlib.nullcontext()
    from tqdm import tqdm

    total = start + len(texts) if isinstance(texts, Sized) else None
    return tqdm(total=total, initial=start, desc="encode", unit="text", delay=0 if show else PROGRESS_DELAY)
