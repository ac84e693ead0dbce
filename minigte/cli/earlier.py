"""The vectors that an earlier run wrote to a file, for one with ``--update``, which embeds only new texts.

Beside OUTPUT stands ``OUTPUT.digests``: a line of JSON with the options that decide the vectors and the
sha256 of OUTPUT, and behind it for each row DIGEST_BYTES of its text. A text has the same bits in every run,
so what such a run writes is byte for byte what it would write without the earlier one, whatever has moved.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Int64
from minigte.cli.outputs import EMBEDDING, Vectors
from minigte.cli.records import CSV_FIELD_LIMIT, Record
from minigte.cli.resumable import differing_options
from minigte.cli.stored import open_stored
from minigte.errors import InputError
from minigte.loading.hashes import sha256_of
from minigte.runtime.replacing import followed, replacing

DIGEST_BYTES = 16
IRRELEVANT = ("--keep", "--chunk-tokens", "--chunk-overlap")  # a text's vector does not depend on them

Digests = npt.NDArray[np.uint64]  # (n, 2)


class Earlier:
    """What is known of an output's texts: of the earlier run's, and, for the next run, of this one's."""

    def __init__(self, output: Path) -> None:
        self._output = output
        target = followed(output)
        self._path = target.with_name(target.name + ".digests")
        self._options: dict[str, Any] = {}
        self._noted = bytearray()  # a digest for each record of this run
        self._first = np.empty(0, np.uint64)  # the first halves of the earlier digests, in rising order
        self._digests: Digests = np.empty((0, 2), np.uint64)  # in the same order
        self._places = np.empty(0, np.int64)  # of their rows in the file
        self._vectors: Vectors | None = None
        self.reused = 0  # texts whose vectors were there

    def start(self, options: Mapping[str, Any], like: Vectors, *, resume: bool) -> None:
        """Read what the earlier run has left; ``like`` (0, D) has the width and dtype of its vectors.

        Raises InputError where the output is there and is not, or may not be, that of an earlier run with
        the same options. A run that is resumed holds what it needs itself.
        """
        self._options = {name: value for name, value in options.items() if name not in IRRELEVANT}
        if not self._output.exists():
            return
        if not self._path.exists():
            if resume:
                return
            raise InputError(
                f"{self._output} was written without --update, so its texts are not known: choose another "
                "output, or delete it to start over"
            )
        with self._path.open("rb") as file:
            head, digests = file.readline(), file.read()
        try:
            before = json.loads(head)
            self._digests = np.frombuffer(digests, "<u8").reshape(-1, 2)
            changed = before["sha256"] != sha256_of(self._output)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._path} was not written by minigte: rename it") from None
        if changed:
            if resume:
                self._digests = self._digests[:0]
                return
            raise InputError(
                f"{self._output} has changed since minigte wrote it: choose another output, or delete it to "
                "start over"
            )
        differences = differing_options(before["options"], self._options)
        if differences:
            raise InputError(
                f"{self._output} was made with {differences}: give the same options, or another output"
            )
        self._vectors = _vectors_of(self._output, options["--output-format"], like)
        self._places = np.argsort(self._digests[:, 0], kind="stable")
        self._digests = self._digests[self._places]
        self._first = np.ascontiguousarray(self._digests[:, 0])

    def noting(self, records: Iterator[Record]) -> Iterator[Record]:
        """The same records; ``write`` will tell of them."""
        for record in records:
            self._noted += _digest(record.text)
            yield record

    def rows(self, records: Sequence[Record]) -> Int64:
        """For each record the row that holds the vector of its text, -1 where none does: (n,)."""
        rows = np.full(len(records), -1)
        if not len(self._first):
            return rows
        wanted = np.frombuffer(b"".join(_digest(record.text) for record in records), "<u8").reshape(-1, 2)
        places = np.minimum(np.searchsorted(self._first, wanted[:, 0]), len(self._first) - 1)
        found = (self._digests[places] == wanted).all(axis=1)
        rows[found] = self._places[places[found]]
        return rows

    def vectors(self, rows: Int64) -> Vectors:
        """The vectors (n, D) of these rows, as they are stored."""
        assert self._vectors is not None  # since some row was found
        self.reused += len(rows)
        return np.asarray(self._vectors[rows])

    def write(self) -> None:
        """Keep the digests of this run's texts for the next one, once the output is there."""
        head = {"options": self._options, "sha256": sha256_of(self._output)}
        with replacing(self._path) as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.write(self._noted)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def _vectors_of(path: Path, file_format: str, like: Vectors) -> Vectors:
    """The rows (N, D) of a file that ``minigte embed`` has written, mapped."""
    if file_format == "npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    rows = 0
    with tempfile.TemporaryFile(dir=followed(path).parent) as file:  # it is gone with its map
        for part in _parts_of(path, file_format, like):
            file.write(np.ascontiguousarray(part, like.dtype).data)
            rows += len(part)
        file.flush()
        return np.memmap(file, like.dtype, "r", shape=(rows, like.shape[1])) if rows else like


def _parts_of(path: Path, file_format: str, like: Vectors) -> Iterator[Vectors]:
    if file_format == "parquet":
        stored = open_stored(str(path), "")
        assert stored is not None  # it is what minigte wrote, by its sha256
        yield from stored.parts()
    elif file_format == "jsonl":
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield np.array([json.loads(line)[EMBEDDING]], like.dtype)
    else:
        csv.field_size_limit(CSV_FIELD_LIMIT)
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            next(rows)
            for fields in rows:
                yield np.array([json.loads(fields[-1])], like.dtype)
