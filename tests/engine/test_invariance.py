"""A text's hidden states have the same bits in any batch, in any order, on any number of threads."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import DTYPES, make_batch, make_config, make_engine, random_texts, random_weights

from minigte.engine.scheduler import Engine
from minigte.tokenizing.packing import pack

CONFIG = make_config(
    hidden_size=72, num_attention_heads=2, intermediate_size=200, max_position_embeddings=400
)
LENGTHS = [*range(1, 30), 31, 32, 33, 48, 64, 97, 130, 255, 256, 257, 399, 400]
TEXTS = random_texts(CONFIG, LENGTHS)


@cache
def engine(dtype: str, threads: int) -> Engine:
    return make_engine(CONFIG, random_weights(CONFIG), dtype=dtype, threads=threads)


@cache
def alone(dtype: str, text: int) -> np.ndarray:
    """The hidden states of one text by itself, on one thread."""
    [(_, states)] = engine(dtype, 1).last_hidden_states([make_batch([TEXTS[text]])])
    return states


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    chosen=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=40),
    max_texts=st.integers(1, 40),
    max_tokens=st.sampled_from([1, 50, 300, 1000, 4000]),
    threads=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_bits_do_not_depend_on_the_batch(
    dtype: str, chosen: list[int], max_texts: int, max_tokens: int, threads: int
) -> None:
    batches = pack([TEXTS[i] for i in chosen], max_texts=max_texts, max_tokens=max_tokens)
    seen = 0
    for batch, states in engine(dtype, threads).last_hidden_states(batches):
        for place, first, last in zip(batch.index, batch.offsets, batch.offsets[1:], strict=False):
            np.testing.assert_array_equal(states[first:last], alone(dtype, chosen[place]))
            seen += 1
    assert seen == len(chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@given(chosen=st.permutations(range(len(TEXTS))))
@settings(max_examples=5, deadline=None)
def test_bits_do_not_depend_on_the_order(dtype: str, chosen: list[int]) -> None:
    """Texts side by side in an order that ``pack`` would never give."""
    batch = make_batch([TEXTS[i] for i in chosen])
    [(_, states)] = engine(dtype, 2).last_hidden_states([batch])
    for i, first, last in zip(chosen, batch.offsets, batch.offsets[1:], strict=False):
        np.testing.assert_array_equal(states[first:last], alone(dtype, i))
