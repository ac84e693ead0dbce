"""How far a long call is: a bar on a terminal, and nothing for anything else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sized
from typing import Any

from minigte.errors import MissingDependencyError

PROGRESS_DELAY = 3.0  # seconds of work after which a terminal is shown a progress bar


def on_terminal() -> bool:
    """Whether somebody reads stderr as it comes; a service's may be closed, or an object of a log's."""
    return bool(getattr(sys.stderr, "isatty", bool)())


def require_tqdm() -> Any:
    """The class that draws bars. Raises MissingDependencyError."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError(
            f"a progress bar needs the tqdm package, which cannot be imported ({error}): pip install tqdm"
        ) from error
    return tqdm


class Progress:
    """How many texts of a call are read, cut and embedded; a bar shows it.

    ``show``: True always, False never, None on a terminal after PROGRESS_DELAY seconds; or something that
    shows it in another way, a context manager with tqdm's ``update`` and ``set_postfix``. ``start`` texts
    were done before the call.
    """

    def __init__(self, show: Any, texts: Iterable[str], start: int) -> None:
        self._start = start
        self.texts = 0  # that were read in this call
        self.cut = 0  # of these
        self._bar: Any = None
        if hasattr(show, "update"):
            self._bar = show
        elif sys.stderr is not None and (show or (show is None and on_terminal())):
            try:
                tqdm = require_tqdm()
            except MissingDependencyError:
                if show:
                    raise
                return  # nobody asked for a bar
            total = start + len(texts) if isinstance(texts, Sized) else None
            self._bar = tqdm(
                total=total, initial=start, desc="encode", unit="text", delay=0 if show else PROGRESS_DELAY
            )

    @property
    def position(self) -> int:
        """Of the text that is read next, in the caller's list."""
        return self._start + self.texts

    def read(self, texts: int, cut: int) -> None:
        """So many texts more are read, and so many of them were cut."""
        self.texts += texts
        self.cut += cut
        if cut and self._bar is not None:
            self._bar.set_postfix(cut=self.cut, refresh=False)

    def embedded(self, texts: int) -> None:
        """So many texts more have their vectors."""
        if self._bar is not None:
            self._bar.update(texts)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)
