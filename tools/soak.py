"""Threads and forked workers on one model for minutes, every vector compared bit for bit: ``make soak``.

Sixteen threads share an Embedder of each dtype, and four forked workers do the same in processes of their own
that end and are forked anew all the time, while the threads compute. Each call takes some texts of very
different lengths, in any order, in batches of any size. Ends with 1 at the first vector that is not, bit for
bit, what one thread alone has made of its text.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte import Embedder
from minigte.backend import DTYPES

Float32 = npt.NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
THREADS = 16
WORKERS = 4
WORKER_SECONDS = 20.0  # the life of a forked worker
TEXTS = 200
LONGEST = 500  # words of a text; most have far fewer


def english(count: int) -> list[str]:
    """Pieces of this repository's own pages, from no word to LONGEST of them."""
    words = " ".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.md"))).split()
    chance = random.Random(0)
    texts = []
    for _ in range(count):
        length = int(LONGEST ** chance.random()) if chance.random() < 0.98 else 0
        begin = chance.randrange(len(words) - length)
        texts.append(" ".join(words[begin : begin + length]))
    return texts


class Soak:
    """The models, what their vectors must be, and the first difference that was found."""

    def __init__(self, model: str) -> None:
        self.texts = english(TEXTS)
        self.embedders = {dtype: Embedder(model, dtype=dtype, backend="auto") for dtype in DTYPES}
        self.expected: dict[str, Float32] = {}
        for dtype in DTYPES:
            alone = Embedder(model, dtype=dtype, backend="auto", threads=1)
            self.expected[dtype] = np.concatenate(
                [alone.encode([text], truncation="ignore") for text in self.texts]
            )
        self.difference: str | None = None

    def call(self, chance: random.Random) -> int:
        """Embed some texts and compare; returns how many there were."""
        dtype = chance.choice(DTYPES)
        chosen = chance.choices(range(len(self.texts)), k=int(16 ** chance.random()))
        batch_size = chance.choice((1, 3, 16, 256))
        vectors = self.embedders[dtype].encode(
            [self.texts[i] for i in chosen],
            batch_size=batch_size,
            truncation="ignore",
            show_progress_bar=False,
        )
        expected = self.expected[dtype][chosen]
        if vectors.tobytes() != expected.tobytes():
            row = int(np.flatnonzero((vectors != expected).any(axis=1) | np.isnan(vectors).any(axis=1))[0])
            words = len(self.texts[chosen[row]].split())
            wrong = np.count_nonzero(vectors[row] != expected[row])
            self.difference = (
                f"{dtype}, text {chosen[row]} ({words} words) at place {row} of {len(chosen)}, "
                f"batch_size {batch_size}, in {threading.current_thread().name} of process {os.getpid()}: "
                f"{wrong} components, by at most {np.abs(vectors[row] - expected[row]).max():.3g}"
            )
        return len(chosen)


class Counts:
    """Calls, texts and ended workers, of all threads."""

    def __init__(self) -> None:
        self.calls = self.texts = self.workers = 0
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"{self.calls:,} calls, {self.texts:,} vectors, {self.workers} forks"

    def add(self, **counts: int) -> None:
        """Add to each of them."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


def work(soak: Soak, seconds: float, seed: Any, counts: Counts) -> None:
    """Call until the time is over, or until a difference is found."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and soak.difference is None:
            texts = soak.call(chance)
            counts.add(calls=1, texts=texts)
    except Exception as error:
        soak.difference = f"{type(error).__name__}: {error}"


def keep_forking(soak: Soak, seconds: float, seed: int, counts: Counts) -> None:
    """Fork one worker after another; each ends with what it has found, on a pipe."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and soak.difference is None:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
            child = os.fork()
        if child == 0:
            own = Counts()
            try:
                work(soak, min(left, WORKER_SECONDS), f"{seed} {left}", own)
                os.write(writer, f"{own.calls} {own.texts} {soak.difference or ''}".encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123  # a pipe
            calls, _, rest = pipe.read().partition(" ")
        status = os.waitpid(child, 0)[1]
        texts, _, difference = rest.partition(" ")
        if status or not calls:
            soak.difference = f"a forked worker died with status {status}"
            return
        counts.add(calls=int(calls), texts=int(texts), workers=1)
        soak.difference = soak.difference or difference or None


def main() -> None:
    """Prepare, soak, report."""
    shared = ROOT.parent / "shared" / "models" / "gte-small"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="10 by default")
    parser.add_argument(
        "--model",
        default=os.environ.get("MINIGTE_MODEL") or (str(shared) if shared.is_dir() else "thenlper/gte-small"),
    )
    options = parser.parse_args()

    print(f"{TEXTS} texts, one thread, {', '.join(DTYPES)} ...", file=sys.stderr, flush=True)
    soak, counts, seconds = Soak(options.model), Counts(), 60 * options.minutes
    start = time.monotonic()
    members = [threading.Thread(target=work, args=(soak, seconds, seed, counts)) for seed in range(THREADS)]
    members += [
        threading.Thread(target=keep_forking, args=(soak, seconds, seed, counts)) for seed in range(WORKERS)
    ]
    for member in members:
        member.start()
    while any(member.is_alive() for member in members):
        look = time.monotonic() + 30
        for member in members:
            member.join(max(0.0, look - time.monotonic()))
        minutes = (time.monotonic() - start) / 60
        print(f"{minutes:5.1f} minutes: {counts}", file=sys.stderr, flush=True)
    if soak.difference:
        raise SystemExit(f"different: {soak.difference}")
    print(
        f"{THREADS} threads and {WORKERS} forked workers at once, {options.minutes:g} minutes: {counts}; "
        "all equal bit for bit"
    )


if __name__ == "__main__":
    main()
