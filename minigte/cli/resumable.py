"""The finished chunks of a run, kept beside its output until that is whole, so that a killed run can go on.

``OUTPUT.unfinished`` begins with MAGIC; frames follow, each a length, a sha256 and as many bytes. The first
holds the options of the run as JSON. Each of the others holds one chunk: the sha256 of the records it was
made from, and its vectors as ``outputs.Output.encode`` gives them. A frame is on the disk before the next is
begun, so a kill or a power cut costs the chunk under way; a frame that is cut short or damaged does not match
its sha256, and ends what is kept.

Only chunks of CHUNK_TEXTS texts are kept, so the chunks of a resumed run are those of a run that was never
killed, and so are the bytes of its output. The file is locked while it is open, and the lock dies with its
process.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from minigte.cli.ids import plain
from minigte.cli.records import Record
from minigte.embedder import CHUNK_TEXTS
from minigte.errors import InputError, OutputError
from minigte.runtime.replacing import followed, naming, replacing

MAGIC = b"minigte unfinished 1\n"
LENGTH_BYTES = 8
DIGEST_BYTES = 32


class Unfinished:
    """What is done of the run that writes ``output``; nobody else can open it meanwhile.

    Used in a ``with`` block: ``start``, then ``append`` for each chunk, then ``finish``. A run that ends
    before its first whole chunk leaves nothing behind. An OSError becomes an OutputError that names the
    output.
    """

    def __init__(self, output: Path, *, resume: bool) -> None:
        """Open and lock. Raises OutputError where another process writes the same output.

        Without ``resume``, raises InputError where chunks of an earlier run are kept.
        """
        self._output = output
        # Of a link to the output it is beside the file, where it also locks out a run to that file's name.
        self._target = followed(output)
        self.path = self._target.with_name(self._target.name + ".unfinished")
        self.texts = 0  # how many are done and kept, known after ``start``
        self._rest: list[bytes] = []  # the last chunk, if it is not a complete one
        self._finished = False
        with naming(self._output):
            self._file = self._open_locked()
        try:
            with naming(self._output):
                self._file.seek(0)
                if not MAGIC.startswith(self._file.read(len(MAGIC))):
                    raise InputError(f"{self.path} was not written by minigte: rename it")
                if not resume and self._holds_a_chunk():
                    raise InputError(
                        f"{self.path} holds what an earlier run has done: continue with --resume, "
                        "or delete it to start over"
                    )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(remove=self._finished or not self._holds_a_chunk())

    def start(self, options: Mapping[str, Any], records: Iterator[Record]) -> None:
        """Read past the records whose chunks are kept, and cut off what is damaged.

        ``options`` is all that decides what the vectors are, each by the name that a user knows it by. Raises
        InputError where the kept chunks were made with other options, or from other records.
        """
        with naming(self._output):
            if self._holds_a_chunk():
                self._read_past(options, records)
            else:
                self._file.truncate(0)
                self._write(MAGIC)
                self._append(json.dumps(options).encode())

    def append(self, records: Sequence[Record], chunk: bytes) -> None:
        """Keep the chunk that was made from ``records``: those that follow the last ones."""
        if len(records) < CHUNK_TEXTS:
            self._rest = [chunk]
            return
        with naming(self._output):
            self._append(_digest(records) + chunk)
        self.texts += len(records)

    def first(self) -> bytes | None:
        """The first chunk that is kept."""
        with naming(self._output):
            return next(self._chunks(), None)

    def finish(self, write: Callable[[BinaryIO, Iterable[bytes]], None]) -> None:
        """Let ``write`` put the chunks into one file, give it the output's name, and keep them no longer."""
        with naming(self._output):
            # What a kill has left here; the lock says that nobody is writing it.
            for leftover in self._target.parent.glob(f".{glob.escape(self._target.name)}.*.part"):
                leftover.unlink()
        with replacing(self._output) as file:
            write(file, self._all_chunks())
        self._finished = True

    def _all_chunks(self) -> Iterator[bytes]:
        texts = 0
        for chunk in self._chunks():
            yield chunk
            texts += CHUNK_TEXTS
        if texts != self.texts:
            raise OutputError(
                f"{self.path} was damaged after text {texts} since it was written: use --resume"
            )
        yield from self._rest

    def _chunks(self) -> Iterator[bytes]:
        return (frame[DIGEST_BYTES:] for frame in itertools.islice(self._frames(), 1, None))

    def _frames(self) -> Iterator[bytes]:
        """The whole frames from the first; after each, the file stands at its end."""
        position = len(MAGIC)
        while True:
            self._file.seek(position)
            head = self._file.read(LENGTH_BYTES + DIGEST_BYTES)
            length = int.from_bytes(head[:LENGTH_BYTES], "little")
            position += len(head) + length
            if len(head) < LENGTH_BYTES + DIGEST_BYTES or position > os.fstat(self._file.fileno()).st_size:
                return
            frame = self._file.read(length)
            if hashlib.sha256(frame).digest() != head[LENGTH_BYTES:]:
                return
            yield frame

    def _append(self, frame: bytes) -> None:
        digest = hashlib.sha256(frame).digest()
        self._write(len(frame).to_bytes(LENGTH_BYTES, "little") + digest + frame)
        os.fsync(self._file.fileno())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # a nearly full disk takes a part, and then none
            rest = rest[self._file.write(rest) :]

    def _read_past(self, options: Mapping[str, Any], records: Iterator[Record]) -> None:
        frames = self._frames()
        differences = differing_options(json.loads(next(frames)), options)
        if differences:
            raise InputError(
                f"{self.path} was made with {differences}: give the same options, or delete it to start over"
            )
        texts = 0
        for frame in frames:
            end = self._file.tell()
            if frame[:DIGEST_BYTES] != _digest(list(itertools.islice(records, CHUNK_TEXTS))):
                raise InputError(
                    f"{self.path} was made from another input (some of its texts {texts + 1} to "
                    f"{texts + CHUNK_TEXTS} differ): give the same input, or delete it to start over"
                )
            texts += CHUNK_TEXTS
        self._file.truncate(end)
        self.texts = texts

    def _holds_a_chunk(self) -> bool:
        return len(list(itertools.islice(self._frames(), 2))) == 2

    def _open_locked(self) -> Any:
        while True:
            file = self.path.open("a+b", buffering=0)
            try:
                _lock(file)
                with contextlib.suppress(FileNotFoundError):
                    # Else its last owner has removed it since it was opened.
                    if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                        return file
            except BlockingIOError:
                file.close()
                raise OutputError(
                    f"another process is writing {self._output}: wait for it, or name another output"
                ) from None
            except BaseException:
                file.close()
                raise
            file.close()

    def _close(self, *, remove: bool) -> None:
        if sys.platform == "win32":
            self._file.close()  # an open file cannot be removed there
        with naming(self._output):
            if remove:  # while the lock is held, so that nobody has opened it anew
                self.path.unlink(missing_ok=True)
        self._file.close()


def differing_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, in what an earlier run's options were others; empty where they were the same."""
    return "; ".join(
        f"{name} {before.get(name)!r}, now {now.get(name)!r}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    )


def _digest(records: Sequence[Record]) -> bytes:
    """The sha256 of records' ids and texts."""
    return hashlib.sha256(json.dumps(records, default=_for_digest).encode()).digest()


def _for_digest(record_id: Any) -> Any:
    value = plain(record_id)
    return value.hex() if isinstance(value, bytes) else value


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed. Raises BlockingIOError where another process has locked it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing is locked
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # a file system without locks
