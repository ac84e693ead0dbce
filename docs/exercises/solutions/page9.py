"""Answers to page 9."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def share(count: int, rank: int, size: int, unit: int) -> tuple[int, int]:
    """Share out whole units; the last one may not be full."""
    units = -(-count // unit)
    first, last = units * rank // size, units * (rank + 1) // size
    return min(count, first * unit), min(count, last * unit)


def speed_up(shared: float, threads: int) -> float:
    """The time is what cannot be shared, and a thread's part of the rest."""
    return 1 / (1 - shared + shared / threads)


def worth_a_team(work: float, forming: float, barriers: int, barrier: float, size: int) -> bool:
    """A member's part and all the waiting, beside all the work."""
    return work / size + forming + barriers * barrier < work


def sum_in_chunks(x: Float32, chunk: int) -> float:
    """The order is the same whoever adds up which chunk."""
    total = np.float32(0)
    for start in range(0, len(x), chunk):
        part = np.float32(0)
        for value in x[start : start + chunk]:
            part += value
        total += part
    return float(total)


def barriers_needed(steps: list[tuple[set[str], set[str]]]) -> list[int]:
    """Go on until a step touches what is not settled, then begin anew."""
    needed, read, written = [], set[str](), set[str]()
    for i, (reads, writes) in enumerate(steps):
        if (reads | writes) & written or writes & read:
            needed.append(i)
            read, written = set(), set()
        read, written = read | reads, written | writes
    return needed
