"""What the answers to page 6 must be."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from expect import model, same

Answer = Callable[..., Any]
RNG = np.random.default_rng(6)
QUESTION = "what is the capital of China?"


def mean_pool(answer: Answer) -> None:
    """Texts of several lengths, of one token, and one text alone."""
    hidden = RNG.normal(size=(9, 4)).astype(np.float32)
    for offsets in ([0, 9], [0, 4, 5, 9], [0, 1, 2, 9]):
        parts = [hidden[start:stop] for start, stop in pairwise(offsets)]
        same(answer(hidden, np.array(offsets)), np.stack([part.sum(axis=0) / len(part) for part in parts]))


def cosine(answer: Answer) -> None:
    """The same, the opposite, a right angle, and 45 degrees, at any length."""
    a = np.array([3, 4, 0], np.float32)
    for b, want in (([6, 8, 0], 1), ([-3, -4, 0], -1), ([0, 0, 2], 0), ([3, 4, 5], 0.5**0.5)):
        same(answer(a, np.array(b, np.float32)), want)


def pairs(answer: Answer) -> None:
    """They add up to gte-small's score, and each is in its place."""
    similarity = model()[0].explain_similarity(QUESTION, "Beijing")
    got = answer(*(trace.layers[11].output.LayerNorm for trace in (similarity.a, similarity.b)))
    same(got, similarity.pairs)
    same(np.sum(got), similarity.score)


def best_match(answer: Answer) -> None:
    """Of some texts, in two orders."""
    embedder, _ = model()
    texts = ["sorting algorithms", "Paris", "Beijing", "opening hours"]
    same(answer(embedder, QUESTION, texts), 2)
    same(answer(embedder, QUESTION, texts[::-1]), 1)
