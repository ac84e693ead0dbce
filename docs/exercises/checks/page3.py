"""What the answers to page 3 must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from expect import model, same

from minigte.reference import ops

Answer = Callable[..., Any]
QUESTION = "what is the capital of China?"
RNG = np.random.default_rng(3)


def softmax(answer: Answer) -> None:
    """One axis and three, and scores whose powers no float32 holds."""
    for shape in ((5,), (2, 3, 4)):
        scores = RNG.normal(size=shape).astype(np.float32)
        same(answer(scores.copy()), ops.softmax(scores))
    large = np.array([[1000, 999, 0], [-1000, -1001, -1000]], np.float32)
    same(answer(large.copy()), ops.softmax(large))


def split_heads(answer: Answer) -> None:
    """Head h of token t is a part of row t."""
    a = RNG.normal(size=(5, 12)).astype(np.float32)
    for heads in (1, 3, 4):
        width = 12 // heads
        same(answer(a, heads), np.stack([a[:, h * width : (h + 1) * width] for h in range(heads)]))


def attention(answer: Answer) -> None:
    """Random rows, and head 2 of gte-small's first layer."""
    for shape in ((1, 4), (6, 3)):
        query, key, value = RNG.normal(size=(3, *shape)).astype(np.float32)
        probs = ops.softmax(ops.attention_scores(query, key, shape[1] ** -0.5))
        same(answer(query, key, value), probs @ value)
    stages = model()[0].explain(QUESTION).layers[0].attention.self
    parts = [stages[name][:, 64:96] for name in ("query", "key", "value")]
    same(answer(*parts), stages.context[:, 64:96])


def looks_ahead(answer: Answer) -> None:
    """Of the question, and of attentions in which it is another head."""
    attentions = model()[0].explain(QUESTION).attentions
    same(answer(attentions), 7)
    same(answer(attentions[:, ::-1]), 4)
