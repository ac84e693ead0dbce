"""Records to vectors, chunk by chunk, as every command does it that reads a file."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minigte.cli.progress import progress_for
from minigte.cli.records import Record

if TYPE_CHECKING:
    from minigte.cli.outputs import Vectors
    from minigte.embedder import Embedder


def encoded(
    embedder: Embedder, records: Iterator[Record], *, progress: bool | None, start: int = 0, **options: Any
) -> Iterator[tuple[list[Record], Vectors]]:
    """Yield some records and their (n, D) vectors at a time; only those on their way are held.

    ``progress``: see ``progress_for``. ``start`` texts were done before. ``options`` go to
    ``Embedder.encode_stream``.
    """
    waiting: collections.deque[Record] = collections.deque()

    def texts() -> Iterator[str]:
        for record in records:
            waiting.append(record)
            yield record.text

    options |= {"start": start, "show_progress_bar": progress_for(progress, start)}
    for vectors in embedder.encode_stream(texts(), **options):
        yield [waiting.popleft() for _ in vectors], vectors
