"""A text's hidden states have the same bits in any batch, in any order, on any number of threads."""

import dataclasses
from functools import cache

import architectures
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", architectures.CASES)
def test_bits_of_every_architecture(name: str, dtype: str) -> None:
    """Random models of each: packed by ``pack``, and side by side in an order that it would never give."""
    for seed in range(8):
        config = architectures.random_config(name, seed)
        if hasattr(config, "max_position_embeddings"):
            config = dataclasses.replace(config, max_position_embeddings=210)
        weights = random_weights(config, seed)
        texts = random_texts(config, [1, 2, 7, 13, 16, 17, 31, 33, 64, 97, 130, 200], seed)
        single = make_engine(config, weights, dtype=dtype, threads=1)
        expected = [states for text in texts for _, states in single.last_hidden_states([make_batch([text])])]
        batches = [*pack(texts, max_texts=5, max_tokens=200), make_batch(texts)]
        seen = 0
        for batch, states in make_engine(config, weights, dtype=dtype, threads=2).last_hidden_states(batches):
            for place, first, last in zip(batch.index, batch.offsets, batch.offsets[1:], strict=False):
                np.testing.assert_array_equal(states[first:last], expected[place])
                seen += 1
        assert seen == 2 * len(texts)
