"""How far a long run is: a bar on a terminal, and for a log a line a minute and one at the end."""

from __future__ import annotations

import time
from types import TracebackType

import click

from minigte.errors import MissingDependencyError
from minigte.runtime.progress import on_terminal, require_tqdm

SECONDS = 60.0  # from one line to the next


def progress_for(progress: bool | None, start: int = 0) -> bool | ProgressLines | None:
    """What shows the progress of ``Embedder.encode_stream``: a bar, lines, or nothing.

    ``progress``: what the caller wants; None is a bar on a terminal, where it can be drawn, and else lines.
    ``start``: how many texts were done before. Raises MissingDependencyError where a bar is asked for and
    cannot be drawn.
    """
    if progress is False or (progress is None and not on_terminal()):
        return False if progress is False else ProgressLines(start)
    try:
        require_tqdm()  # the library draws with it
    except MissingDependencyError:
        if progress is None:
            return ProgressLines(start)
        raise
    return progress


class ProgressLines:
    """Lines on stderr: once a minute how many texts are done, and at the end the sum of what took longer.

    Used as a bar of tqdm's is; see ``minigte.runtime.progress``.
    """

    def __init__(self, start: int = 0) -> None:
        """``start`` texts were done before."""
        self._start = start
        self._texts = self._cut = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> ProgressLines:
        self._began = self._said = time.monotonic()
        return self

    def update(self, texts: int) -> None:
        """Count some more texts, and say how many they are now if a minute has gone by."""
        self._texts += texts
        now = time.monotonic()
        if now - self._said >= SECONDS:
            self._said = now
            self._say("after")

    def set_postfix(self, *, cut: int, refresh: bool) -> None:
        """Keep how many texts were cut; no line is written for it."""
        self._cut = cut

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._said > self._began:
            self._say("done in")

    def _say(self, words: str) -> None:
        seconds = time.monotonic() - self._began
        click.echo(
            f"minigte: {self._start + self._texts:,} texts {words} {seconds / 60:.0f} min, "
            f"{self._texts / seconds:,.1f} a second, {self._cut:,} cut",
            err=True,
        )
