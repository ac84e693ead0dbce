"""What the answers to page 3 must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from expect import model, same

from minigte.reference import bert, ops

Answer = Callable[..., Any]
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
        same(answer(query, key, value), ops.attention(query, key, value, shape[1] ** -0.5)[0])
    trace = _trace("what is the capital of China?")
    parts = [trace[f"encoder.layer.0.attention.self.{name}"][:, 64:96] for name in ("query", "key", "value")]
    same(answer(*parts), trace["encoder.layer.0.attention.self.context"][:, 64:96])


def looks_ahead(answer: Answer) -> None:
    """Of the question, and of a trace in which it is another head."""
    trace = _trace("what is the capital of China?")
    same(answer(trace), 7)
    name = "encoder.layer.3.attention.self.probs"
    same(answer({**trace, name: trace[name][:, ::-1]}), 4)


def _trace(text: str) -> dict[str, Any]:
    embedder, weights = model()
    return bert.trace(embedder.config.encoder, weights, np.array(embedder.tokenize(text)["input_ids"]))
