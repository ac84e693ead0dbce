"""Threads that share one forward pass.

Every member of a team runs the same kernel on its own share and waits for the others at barriers, inside
compiled code, without the GIL. The caller leads; helpers are Python threads that may come late, or never
(the pool is busy, the process has one core, the interpreter is shutting down), so a team is whoever has
arrived when the leader's patience ends. Nobody ever waits for a thread that has not arrived, hence nothing
can hang.
"""

from __future__ import annotations

from minigte.engine.jit import kernel
from minigte.engine.simd import address, atomic_add, atomic_load, nap, relax, sleep_on, wake_all

# The words of ``workspace.meeting_point``, each alone on its cache line.
MEMBERS, SIZE, ARRIVALS, GENERATION = (64 * i for i in range(4))  # byte offsets
CLOSED = 1 << 32  # added to MEMBERS when the leader stops waiting

SPINS = 8000  # looks at a word, about 0.1 ms, before a waiting thread goes to sleep; to wake it takes as long
PATIENCE = 8  # naps, some tenths of a millisecond, before the leader starts without the missing helpers
LOYALTY = 5000  # naps, some tenths of a second, before a helper gives up a leader that does not come
DISSOLVED = -1  # the size of a team whose leader did not come


@kernel
def lead(meeting, wanted):
    """Open a team of at most ``wanted``, wait a little for helpers, close it; returns its size. Rank 0."""
    if wanted == 1:
        return 1
    where = address(meeting)
    for look in range(SPINS + PATIENCE):
        if atomic_load(where + MEMBERS) == wanted - 1:
            break
        if look < SPINS:
            relax()
        else:
            nap()
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
    for look in range(SPINS + LOYALTY):
        if atomic_load(where + SIZE) != 0:
            break
        if look < SPINS:
            relax()
        else:
            nap()
    # If an interrupt has stopped the leader before it came, close the team in its place.
    if atomic_load(where + SIZE) == 0 and atomic_add(where + MEMBERS, CLOSED) < CLOSED:
        atomic_add(where + SIZE, DISSOLVED)
    while atomic_load(where + SIZE) == 0:  # set right after MEMBERS
        nap()
    size = atomic_load(where + SIZE)
    return (0, 0) if size == DISSOLVED else (rank, size)


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
        wake_all(where + GENERATION)
        return
    for _ in range(SPINS):
        if atomic_load(where + GENERATION) != generation:
            return
        relax()
    while atomic_load(where + GENERATION) == generation:
        sleep_on(where + GENERATION, generation)


@kernel
def share(count, rank, size, unit):
    """(first, last) of member ``rank``'s part of ``count`` things, cut at multiples of ``unit``."""
    units = (count + unit - 1) // unit
    return min(count, units * rank // size * unit), min(count, units * (rank + 1) // size * unit)
