"""Threads that share one forward pass, and how many of them make sense.

Every member of a team runs the same kernel on its own share and waits for the others at barriers, inside
compiled code, without the GIL. The caller leads; helpers are Python threads that may come late, or never
(the pool is busy, the process has one core, the interpreter is shutting down), so a team is whoever has
arrived when the leader's patience ends. Nobody ever waits for a thread that has not arrived, hence nothing
can hang.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.engine.jit import kernel
from minigte.engine.simd import address, atomic_add, atomic_load, give_way, relax

# The words of a meeting point, each alone on its cache line.
MEMBERS, SIZE, ARRIVALS, GENERATION = (64 * i for i in range(4))  # byte offsets
CLOSED = 1 << 32  # added to MEMBERS when the leader stops waiting

SPINS = 4000  # looks at a word before a waiting thread starts to give way
PATIENCE = 2000  # how often the leader gives way before it starts without the missing helpers
LOYALTY = 3_000_000  # how often a helper looks for a leader that does not come, about a second
FOREVER = -1
DISSOLVED = -1


def meeting_point() -> npt.NDArray[np.int64]:
    """The memory a team meets at; one per pass, never used again."""
    return np.zeros(4 * 64 // 8, np.int64)


@kernel
def lead(meeting, wanted):
    """Open a team of at most ``wanted``, wait a little for helpers, close it; returns its size. Rank 0."""
    where = address(meeting)
    if wanted == 1:
        return 1
    spins = 0
    while atomic_load(where + MEMBERS) < wanted - 1 and spins < SPINS + PATIENCE:
        spins += 1
        if spins < SPINS:
            relax()
        else:
            give_way()
    size = atomic_add(where + MEMBERS, CLOSED) + 1
    if size > CLOSED:  # a helper has given up: see ``follow``
        return 1
    atomic_add(where + SIZE, size)
    return size


@kernel
def follow(meeting):
    """Join as a helper; returns (rank, size), or (0, 0) if the team started without this thread."""
    where = address(meeting)
    rank = atomic_add(where + MEMBERS, 1) + 1
    if rank > CLOSED:
        return 0, 0
    size = wait_for(where + SIZE, 0, LOYALTY)
    if size == 0:  # an interrupt has stopped the leader before it got here: close the team in its place
        if atomic_add(where + MEMBERS, CLOSED) < CLOSED:
            atomic_add(where + SIZE, DISSOLVED)
        size = wait_for(where + SIZE, 0, FOREVER)
    if size == DISSOLVED:
        return 0, 0
    return rank, size


@kernel
def wait_for(where, old, limit):
    """Wait until the word is no longer ``old``, looking ``limit`` times at most; returns what it is."""
    spins = 0
    while True:
        word = atomic_load(where)
        if word != old or spins == limit:
            return word
        spins += 1
        if spins < SPINS:
            relax()
        else:
            give_way()


@kernel
def barrier(meeting, size):
    """Wait until all ``size`` members are here; what they wrote before is then seen by all."""
    if size == 1:
        return
    where = address(meeting)
    generation = atomic_load(where + GENERATION)
    if atomic_add(where + ARRIVALS, 1) == size - 1:
        atomic_add(where + ARRIVALS, -size)
        atomic_add(where + GENERATION, 1)
    else:
        wait_for(where + GENERATION, generation, FOREVER)


@kernel
def share(count, rank, size, unit):
    """(first, last) of member ``rank``'s part of ``count`` things, cut at multiples of ``unit``."""
    units = (count + unit - 1) // unit
    return min(count, units * rank // size * unit), min(count, units * (rank + 1) // size * unit)


class Helpers:
    """Up to ``count`` threads, started when first needed, and again in a forked child."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._process = 0
        self._pool: ThreadPoolExecutor

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run ``function`` in a helper soon, or never if there can be none: then the future stays idle."""
        if self._process != os.getpid():  # threads do not survive a fork
            self._pool = ThreadPoolExecutor(self.count, "minigte")
            self._process = os.getpid()
        with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter is shutting down
            return self._pool.submit(function, *arguments)
        return Future()


def usable_cores() -> int:
    """How many cores this process may really use: its affinity, and its cgroup's CPU quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_cgroup_quota())))


def _cgroup_quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The CPU quota in cores: the smallest among the process's control group and those around it."""
    quota = math.inf
    with contextlib.suppress(OSError, ValueError):
        for line in proc.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "":  # version 2
                base = root
            elif "cpu" in controllers.split(","):  # version 1
                base = root / "cpu"
            else:
                continue
            group = base / name.lstrip("/")
            while group.is_relative_to(base):
                quota = min(quota, _quota_of(group))
                group = group.parent
    return quota


def _quota_of(group: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        limit, period = (group / "cpu.max").read_text().split()
        return math.inf if limit == "max" else int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        limit = (group / "cpu.cfs_quota_us").read_text()
        return int(limit) / int((group / "cpu.cfs_period_us").read_text()) if int(limit) > 0 else math.inf
    return math.inf
