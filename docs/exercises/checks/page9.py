"""What the answers to page 9 must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from expect import WrongError, same

Float32 = npt.NDArray[np.float32]


def share(answer: Callable[[int, int, int, int], tuple[int, int]]) -> None:
    """Nothing left out, nothing twice, evenly, for teams of any size."""
    for count, size, unit in ((12, 2, 1), (13, 2, 6), (100, 3, 6), (5, 4, 6), (0, 2, 1), (24, 24, 1)):
        shares = [answer(count, rank, size, unit) for rank in range(size)]
        end = 0
        for first, last in shares:
            if first != end or last < first:
                raise WrongError(f"of {count} things in units of {unit}, {size} members get {shares}")
            end = last
        same(end, count)
        units = [-(-(last - first) // unit) for first, last in shares]
        if max(units) - min(units) > 1 or any(first % unit for first, last in shares if last > first):
            raise WrongError(f"of {count} things in units of {unit}, {size} members get {shares}")


def speed_up(answer: Callable[[float, int], float]) -> None:
    """All, nothing, and nine tenths."""
    same(answer(1.0, 2), 2.0)
    same(answer(0.0, 8), 1.0)
    same(answer(0.9, 2), 1 / 0.55)
    same(answer(0.5, 1000), 1 / 0.5005)


def worth_a_team(answer: Callable[[float, float, int, float, int], bool]) -> None:
    """A long text, a tiny one, and one that is lost at its barriers."""
    same(answer(50e-3, 50e-6, 111, 0.2e-6, 2), True)
    same(answer(90e-6, 50e-6, 111, 0.2e-6, 2), False)
    same(answer(1e-3, 50e-6, 111, 0.2e-6, 2), True)
    same(answer(1e-3, 50e-6, 1000, 0.6e-6, 2), False)


def sum_in_chunks(answer: Callable[[Float32, int], float]) -> None:
    """Bit by bit, with and without a last chunk that is not full."""
    x = np.random.default_rng(9).normal(1, 1, 5000).astype(np.float32)
    for chunk in (5000, 1024, 7):
        sums = np.float32([np.cumsum(x[start : start + chunk])[-1] for start in range(0, len(x), chunk)])
        same(answer(x, chunk), float(np.cumsum(sums)[-1]), tolerance=0)


def barriers_needed(answer: Callable[[list[tuple[set[str], set[str]]]], list[int]]) -> None:
    """The example of the page, a layer's attention, and steps that need none."""
    same(answer([({"x"}, {"sums"}), ({"sums", "x"}, {"x"})]), [1])
    same(answer([({"x"}, {"q"}), ({"x"}, {"k"}), ({"q", "k"}, {"context"}), ({"context"}, {"y"})]), [2, 3])
    same(answer([({"x"}, {"a"}), ({"x"}, {"b"}), (set(), {"c"})]), [])
    same(answer([({"x"}, {"y"}), ({"y"}, {"x"}), ({"z"}, {"y"})]), [1, 2])
