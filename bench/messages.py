"""What run.py and its workers say to each other (a module that neither runs as its main one, for pickle)."""

from __future__ import annotations

from dataclasses import dataclass

from peers import Files, Float32


@dataclass(frozen=True)
class Job:
    """What a worker is started for."""

    key: str
    setting: str
    files: Files
    threads: int
    first: str  # the text of the first vector


@dataclass(frozen=True)
class Work:
    """Texts to encode: in one call, or ``single``, one call a text."""

    texts: list[str]
    batch_size: int
    single: bool = False


@dataclass(frozen=True)
class Done:
    """The vectors, and what they took."""

    vectors: Float32
    seconds: list[float]  # of every call
    cpu_seconds: float  # of all the process's threads since its last answer
    peak_rss: int  # bytes, the most the process has had so far


@dataclass(frozen=True)
class Failed:
    """What went wrong."""

    message: str
