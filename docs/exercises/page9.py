"""Page 9, Threads. Put your answers in place of the lines that raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def share(count: int, rank: int, size: int, unit: int) -> tuple[int, int]:
    """(first, last) of member ``rank``'s things, 0 <= first <= last <= count.

    The members' shares lie end to end. They begin at multiples of ``unit``, and no member has more than one
    unit more than another (a last unit that is not full counts as one).
    """
    raise NotImplementedError


def speed_up(shared: float, threads: int) -> float:
    """How many times as fast, if the share ``shared`` (0 to 1) of the work is divided among ``threads``."""
    raise NotImplementedError


def worth_a_team(work: float, forming: float, barriers: int, barrier: float, size: int) -> bool:
    """Whether ``size`` members are faster than one alone.

    ``work`` seconds of one thread are shared out evenly; forming the team takes ``forming`` seconds, and each
    of ``barriers`` barriers takes ``barrier`` seconds.
    """
    raise NotImplementedError


def sum_in_chunks(x: Float32, chunk: int) -> float:
    """Each chunk's float32 sum from left to right, then the sum of these from left to right, in float32."""
    raise NotImplementedError


def barriers_needed(steps: list[tuple[set[str], set[str]]]) -> list[int]:
    """The numbers of the steps before which there must be a barrier: as few as can be, as late as can be.

    A step is (arrays of which it reads any part, arrays of which each member writes its own share). A step
    must not read or write what a step since the last barrier writes, nor write what one since then reads.
    """
    raise NotImplementedError
