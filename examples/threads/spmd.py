"""One program, several threads: every member runs the same function on its own share (SPMD).

``centre`` takes the mean away from every number. That needs two phases: all must have added up their share
before anyone can subtract, so the members meet at a barrier between them.

    python examples/threads/spmd.py
"""

from __future__ import annotations

from threading import Thread

import numpy as np
import numpy.typing as npt

from minigte.engine.jit import kernel
from minigte.engine.team import barrier, follow, lead, share
from minigte.engine.workspace import meeting_point

Float32 = npt.NDArray[np.float32]

CHUNK = 1024  # numbers that are added up in one go, by one member


@kernel
def centre_share(x, sums, meeting, wanted):
    """What every member runs. The leader says how many are ``wanted``; helpers say 0."""
    rank, size = (0, lead(meeting, wanted)) if wanted > 0 else follow(meeting)
    if size == 0:  # too late: the others have begun without this thread
        return 0
    first, last = share(len(sums), rank, size, 1)  # my chunks
    for chunk in range(first, last):
        sums[chunk] = 0
        for i in range(chunk * CHUNK, min(len(x), (chunk + 1) * CHUNK)):
            sums[chunk] += x[i]
    barrier(meeting, size)  # now all chunks have been added up

    total = np.float32(0)
    for chunk in range(len(sums)):  # everyone adds them in the same order
        total += sums[chunk]
    mean = total / np.float32(len(x))
    for i in range(first * CHUNK, min(len(x), last * CHUNK)):
        x[i] -= mean
    barrier(meeting, size)  # now all of x is done
    return size


def centre(x: Float32, threads: int) -> int:
    """x - mean(x), in place, by at most so many threads; gives how many came: (n,) -> (n,)."""
    sums = np.empty(-(-len(x) // CHUNK), np.float32)
    meeting = meeting_point()
    helpers = [Thread(target=centre_share, args=(x, sums, meeting, 0)) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    size: int = centre_share(x, sums, meeting, threads)
    for helper in helpers:
        helper.join()
    return size


if __name__ == "__main__":
    numbers = np.random.default_rng(0).normal(3, 1, 1_000_000).astype(np.float32)
    for threads in (1, 2):
        x = numbers.copy()
        members = centre(x, threads)
        print(
            f"{members} of {threads} threads: mean {x.mean(dtype=np.float64):.1e}, bits {hash(x.tobytes()):x}"
        )
