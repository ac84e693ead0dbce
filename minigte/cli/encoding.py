"""Records to vectors, chunk by chunk, as every command does it that reads a file."""

from __future__ import annotations

import collections
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minigte.cli.progress import Share, progress_for, unknown
from minigte.cli.records import Record
from minigte.embedder import CHUNK_TEXTS
from minigte.errors import InputError
from minigte.runtime.progress import Progress
from minigte.tokenizing.tokenizer import cut_warning

if TYPE_CHECKING:
    from minigte.arrays import Float32
    from minigte.cli.earlier import Earlier
    from minigte.cli.outputs import Vectors
    from minigte.embedder import Embedder


def encoded(
    embedder: Embedder,
    records: Iterator[Record],
    *,
    progress: bool | None,
    start: int = 0,
    share: Share = unknown,
    **options: Any,
) -> Iterator[tuple[list[Record], Vectors]]:
    """Yield some records and their (n, D) vectors at a time; only those on their way are held.

    ``progress``, ``share``: see ``progress_for``. ``start`` texts were done before. ``options`` go to
    ``Embedder.encode_stream``.
    """
    waiting: collections.deque[Record] = collections.deque()

    def texts() -> Iterator[str]:
        for record in records:
            waiting.append(record)
            yield record.text

    options |= {"start": start, "show_progress_bar": progress_for(progress, start, share)}
    for vectors in embedder.encode_stream(texts(), **options):
        yield [waiting.popleft() for _ in vectors], vectors


def encoded_anew(
    embedder: Embedder,
    records: Iterator[Record],
    earlier: Earlier,
    store: Callable[[Float32], Vectors],
    *,
    progress: bool | None,
    start: int,
    share: Share,
    truncation: str,
    **options: Any,
) -> Iterator[tuple[list[Record], Vectors]]:
    """As ``encoded``, of vectors that ``store`` has put into their precision; only new texts are embedded."""
    embedded = 0
    quiet = "ignore" if truncation == "warn" else truncation  # one warning for all chunks, below
    with Progress(progress_for(progress, start, share), iter(()), start) as shown:
        while chunk := list(itertools.islice(records, CHUNK_TEXTS)):
            rows = earlier.rows(chunk)  # (n,)
            new = (rows < 0).nonzero()[0].tolist()
            part = Part(shown)
            encode = functools.partial(
                embedder.encode_stream, show_progress_bar=part, truncation=quiet, **options
            )
            try:
                found = [store(x) for x in encode([chunk[i].text for i in new])]
            except InputError:
                for i in new:  # the same once more, by the number that the text has for the caller
                    list(encode([chunk[i].text], start=shown.position + i))
                raise
            like = store(np.empty((0, embedder.embedding_dimension), np.float32))
            vectors = np.empty((len(chunk), like.shape[1]), like.dtype)
            if new:
                vectors[new] = np.concatenate(found)
            if len(new) < len(chunk):
                vectors[rows >= 0] = earlier.vectors(rows[rows >= 0])
            embedded += len(new)
            shown.read(len(chunk), part.cut)
            shown.embedded(len(chunk) - len(new))
            yield chunk, vectors
    if shown.cut and truncation == "warn":
        warnings.warn(cut_warning(shown.cut, embedded, embedder.max_seq_length), stacklevel=2)


class Part:
    """Shows the progress of one of many calls as a part of the whole's, and counts what it has cut."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole
        self.cut = 0

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, texts: int) -> None:
        """So many texts more are done."""
        self._whole.embedded(texts)

    def set_postfix(self, *, cut: int, refresh: bool) -> None:
        """So many were cut."""
        self.cut = cut
