"""How far a long run is: a bar on a terminal, and for a log a line a minute and one at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

from minigte.errors import MissingDependencyError
from minigte.runtime.progress import PROGRESS_DELAY, on_terminal, require_tqdm

SECONDS = 60.0  # from one line to the next

Share = Callable[[], float | None]  # how much of the input has been read; None where nobody knows


def unknown() -> None:
    """The share of an input that may go on for ever."""


def progress_for(
    progress: bool | None, start: int = 0, share: Share = unknown
) -> bool | ProgressLines | ProgressBar:
    """What shows the progress of ``Embedder.encode_stream``: a bar, lines, or nothing.

    ``progress``: what the caller wants; None is a bar on a terminal, where it can be drawn, and else lines.
    ``start``: how many texts were done before. ``share`` tells how much time is left. Raises
    MissingDependencyError where a bar is asked for and cannot be drawn.
    """
    if progress is False or (progress is None and not on_terminal()):
        return False if progress is False else ProgressLines(start, share)
    try:
        tqdm = require_tqdm()
    except MissingDependencyError:
        if progress is None:
            return ProgressLines(start, share)
        raise
    if sys.stderr is None:  # of a program without a console
        return False
    delay = 0 if progress else PROGRESS_DELAY
    return ProgressBar(tqdm(initial=start, desc="encode", unit="text", delay=delay), start, share)


class ProgressBar:
    """A bar whose end is where the input's will be, as far as it can be told from how much is read."""

    def __init__(self, bar: Any, start: int, share: Share) -> None:
        """``bar`` is tqdm's."""
        self._bar, self._texts, self._share = bar, start, share

    def __enter__(self) -> ProgressBar:
        self._bar.__enter__()
        return self

    def update(self, texts: int) -> None:
        """Count some more texts, and guess how many there are."""
        self._texts += texts
        share = self._share()
        if share:
            self._bar.total = max(self._texts, round(self._texts / share))
        self._bar.update(texts)

    def set_postfix(self, *, cut: int, refresh: bool) -> None:
        """Show how many texts were cut."""
        self._bar.set_postfix(cut=cut, refresh=refresh)

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)


class ProgressLines:
    """Lines on stderr: once a minute how many texts are done, and at the end the sum of what took longer.

    Used as a bar of tqdm's is; see ``minigte.runtime.progress``.
    """

    def __init__(self, start: int = 0, share: Share = unknown) -> None:
        """``start`` texts were done before."""
        self._start, self._share = start, share
        self._before = 0.0  # the share that was read before the first text
        self._texts = self._cut = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> ProgressLines:
        self._began = self._said = time.monotonic()
        self._before = self._share() or 0.0
        return self

    def update(self, texts: int) -> None:
        """Count some more texts, and say how many they are now if a minute has gone by."""
        self._texts += texts
        now = time.monotonic()
        if now - self._said >= SECONDS:
            self._said = now
            self._say("after", self._left(now - self._began))

    def set_postfix(self, *, cut: int, refresh: bool) -> None:
        """Keep how many texts were cut; no line is written for it."""
        self._cut = cut

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._said > self._began:
            self._say("done in")

    def _left(self, seconds: float) -> str:
        """How long it will take still, where that can be told after so many seconds."""
        share = self._share()
        if share is None or share <= self._before:
            return ""
        return f", {seconds * (1 - share) / (share - self._before) / 60:.0f} min left"

    def _say(self, words: str, left: str = "") -> None:
        seconds = time.monotonic() - self._began
        click.echo(
            f"minigte: {self._start + self._texts:,} texts {words} {seconds / 60:.0f} min, "
            f"{self._texts / seconds:,.1f} a second, {self._cut:,} cut{left}",
            err=True,
        )
