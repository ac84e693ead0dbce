"""How a forward pass is watched: it hands every intermediate to an observer, under a name.

A pass calls ``observe(name, array)`` right after it has made the array, with the name written out; that
is how ``minigte.explain`` finds the statement that made it. The array may be overwritten afterwards, so
an observer keeps a copy.
"""

from __future__ import annotations

from collections.abc import Callable

from minigte.arrays import Float32

Observe = Callable[[str, Float32], object]


def ignore(name: str, array: Float32) -> None:
    """The observer of a pass that nobody watches."""


def prefixed(prefix: str, observe: Observe) -> Observe:
    """An observer that puts a prefix in front of every name."""
    return lambda name, array: observe(prefix + name, array)
