"""How far a long run is: a bar on a terminal, and for a log a line a minute and one at the end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import click

from minigte.errors import MissingDependencyError
from minigte.runtime.progress import on_terminal

SECONDS = 60.0  # from one line to the next


def shows_bar(progress: bool | None) -> bool | None:
    """What to ask of a bar: as ``progress`` says, or None where there is a terminal to show one on.

    Raises MissingDependencyError where one is asked for and cannot be drawn.
    """
    wanted = None if progress is None and on_terminal() else bool(progress)
    if wanted is not False:
        try:
            import tqdm  # noqa: F401 - the library draws with it
        except ImportError as error:
            if wanted:
                raise MissingDependencyError(
                    f"a progress bar needs the tqdm package, which cannot be imported ({error}): "
                    "pip install tqdm"
                ) from error
            return False
    return wanted


@contextlib.contextmanager
def progress_lines(show: bool, start: int = 0) -> Iterator[Callable[[int], None]]:
    """Say on stderr once a minute how many texts are done, and sum up at the end of what took longer.

    Gives a function to call with how many more are done. ``start`` were done before.
    """
    began = time.monotonic()
    texts = lines = 0
    ended = threading.Event()

    def add(more: int) -> None:
        nonlocal texts
        texts += more

    def say(words: str) -> None:
        seconds = time.monotonic() - began
        rate = f"{texts / seconds:,.1f} a second"
        click.echo(f"minigte: {start + texts:,} texts {words} {seconds / 60:.0f} min, {rate}", err=True)

    def every_minute() -> None:
        nonlocal lines
        while not ended.wait(SECONDS):
            lines += 1
            say("after")

    if not show:
        yield add
        return
    thread = threading.Thread(target=every_minute, name="minigte progress", daemon=True)
    thread.start()
    try:
        yield add
    finally:
        ended.set()
        thread.join()
    if lines:
        say("done in")
