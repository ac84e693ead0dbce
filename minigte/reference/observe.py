"""How a forward pass is watched: it hands every intermediate to an observer, under a name.

A pass calls ``observe(name, array)`` right after it has made the array, with the name written out; that
is how ``minigte.explain`` finds the statement that made it. The array may be overwritten afterwards, so
an observer keeps a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minigte.arrays import Float32

Observe = Callable[[str, Float32], object]
Forward = Callable[..., Float32]  # (config, weights, input_ids, offsets, observe) -> (N, D)


class Names(NamedTuple):
    """What an architecture calls the intermediates that every architecture has."""

    layer: str  # what a layer's names begin with; {} is its number
    embeddings: str  # what the first layer gets, (N, D)
    probs: str  # of a layer: the attention probabilities, (texts, H, T, T)
    attended: str  # of a layer: what attention adds, (N, D)
    fed: str  # of a layer: what feed-forward adds, (N, D)
    output: str  # of a layer: what the next one gets, (N, D)
    last: str = ""  # the last hidden state, where it is not the last layer's output, (N, D)


def ignore(name: str, array: Float32) -> None:
    """The observer of a pass that nobody watches."""


def prefixed(prefix: str, observe: Observe) -> Observe:
    """An observer that puts a prefix in front of every name."""
    return lambda name, array: observe(prefix + name, array)
