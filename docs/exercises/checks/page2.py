"""What the answers to page 2 must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from expect import model, same

Answer = Callable[..., Any]
RNG = np.random.default_rng(2)
TABLE = RNG.normal(size=(20, 8)).astype(np.float32)


def look_up_by_product(answer: Answer) -> None:
    """Its product with a table is the look-up."""
    for ids in (np.array([3, 0, 19, 3]), np.array([7])):
        ones = answer(ids, 20)
        same(np.shape(ones), (len(ids), 20))
        same(ones @ TABLE, TABLE[ids])


def sum_of_the_parts(answer: Answer) -> None:
    """For small tables, and for gte-small's."""
    for length in (1, 5):
        ids = RNG.integers(20, size=length)
        want = TABLE[ids] + TABLE[10 : 10 + length] + TABLE[3]
        same(answer(ids, TABLE, TABLE[10:], TABLE[3:5]), want)
    embedder, weights = model()
    ids = np.array(embedder.tokenize("Beijing")["input_ids"])
    tables = weights.word_embeddings, weights.position_embeddings, weights.token_type_embeddings
    same(answer(ids, *tables), tables[0][ids] + tables[1][:3] + tables[2][:1])


def position_ids(answer: Answer) -> None:
    """Several texts, one text, and texts of one token."""
    same(answer(np.array([0, 3, 5])), np.array([0, 1, 2, 0, 1]), tolerance=0)
    same(answer(np.array([0, 4])), np.array([0, 1, 2, 3]), tolerance=0)
    same(answer(np.array([0, 1, 2, 5])), np.array([0, 0, 0, 1, 2]), tolerance=0)


def most_alike(answer: Answer) -> None:
    """A longer row is no nearer, and no row is its own neighbour."""
    table = np.array([[1, 0], [0.9, 0.1], [5, 5], [-1, 0], [0, 1]], np.float32)
    for i, want in enumerate([1, 0, 1, 4, 2]):
        same(answer(table, i), want)
    embedder, weights = model()
    tokenizer = embedder.tokenizer.tokenizer
    nearest = answer(weights.word_embeddings, tokenizer.token_to_id("china"))
    same(nearest, tokenizer.token_to_id("chinese"))
