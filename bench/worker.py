"""One peer in a process of its own: loads the model, then encodes what it is sent until the pipe closes.

``python worker.py DESCRIPTOR`` is how run.py starts it; the two talk over that inherited descriptor, so that
nothing a library prints can get between them. What it imports is what every peer needs.
"""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from messages import Done, Failed, Job, Work
from peers import PEERS

WARM_UP = 2  # texts encoded before the clock starts, so that a woken process has its caches back


def peak_rss() -> int:
    """The most bytes this process has had in memory (not ru_maxrss, which a child inherits)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def serve(connection: Connection) -> None:
    """Load the peer, encode the first text, then do work until the other end closes."""
    job: Job = connection.recv()
    peer = next(peer for peer in PEERS if peer.key == job.key)
    encode = peer.load(job.files, job.threads, job.setting)
    work = Work([job.first], batch_size=1)
    answered = 0.0
    while True:
        calls = [[text] for text in work.texts] if work.single else [work.texts]
        vectors, seconds = [], []
        for call in calls:
            start = time.perf_counter()
            vectors.append(encode(call, work.batch_size))
            seconds.append(time.perf_counter() - start)
        used = time.process_time() - answered
        connection.send(Done(np.concatenate(vectors), seconds, used, peak_rss()))
        answered += used
        work = connection.recv()
        encode(work.texts[:WARM_UP], work.batch_size)


def main() -> None:
    """Serve, and say over the same pipe why when that ends badly."""
    connection = Connection(int(sys.argv[1]))
    try:
        serve(connection)
    except EOFError:
        pass
    except Exception as error:
        connection.send(Failed(f"{type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    main()
