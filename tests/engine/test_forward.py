"""The whole pass against ``minigte.reference``, for every kind of configuration and the real gte-small."""

import dataclasses
from pathlib import Path

import architectures
import numpy as np
import pytest
from random_models import (
    DTYPES,
    embed,
    in_bfloat16,
    kernels,
    make_batch,
    make_config,
    make_engine,
    random_texts,
    random_weights,
    spec,
)

from minigte.engine.level import BLOCK_TILES
from minigte.engine.scheduler import UNIT_TOKENS
from minigte.errors import InputError
from minigte.loading.config import read_config
from minigte.loading.weights import load_weights
from minigte.models.batch import Batch
from minigte.reference import TEXTBOOKS
from minigte.reference import bert as reference
from minigte.tokenizing.packing import pack
from minigte.tokenizing.tokenizer import Tokenizer

CONFIGS = {
    "plain": {},
    "one layer": {"num_hidden_layers": 1},
    "no layer": {"num_hidden_layers": 0},
    "five layers": {"num_hidden_layers": 5},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "wide epsilon": {"layer_norm_eps": 0.1},
    "one head": {"num_attention_heads": 1},
    "head size 4": {"hidden_size": 48, "num_attention_heads": 12, "intermediate_size": 100},
    "odd head size": {"hidden_size": 35, "num_attention_heads": 5, "intermediate_size": 71},
    "head size 1": {"hidden_size": 3, "num_attention_heads": 3, "intermediate_size": 5},
    "nothing divides": {
        "hidden_size": 77,
        "num_attention_heads": 7,
        "intermediate_size": 131,
        "vocab_size": 17,
    },
    "head size 64": {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "one position": {"max_position_embeddings": 1},
}
LENGTHS = [80, 79, 33, 32, 31, 17, 16, 15, 12, 11, 7, 3, 2, 1, 1]
# On either side of where a block of rows ends, in each dtype.
ROWS = {kernels().level.rows(narrow=narrow) for narrow in (False, True)}
BLOCKS = {BLOCK_TILES * rows + by for rows in ROWS for by in (-1, 0, 1)}
HIDDEN_STATE = {"float32": 1e-5, "bfloat16": 0.2, "int8": 0.5}  # largest difference, of order 1
COSINE = {"float32": 1 - 1e-6, "bfloat16": 0.9995, "int8": 0.995}  # smallest, for random weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_reference(name: str, dtype: str) -> None:
    config = make_config(**CONFIGS[name])
    weights = random_weights(config)
    lengths = [min(length, config.max_position_embeddings) for length in LENGTHS]
    batch = make_batch(random_texts(config, lengths))
    wanted = reference.forward(config, weights, batch.input_ids, batch.offsets)
    for threads in (1, 3):
        [(same, states)] = make_engine(config, weights, dtype=dtype, threads=threads).last_hidden_states(
            [batch]
        )
        assert same is batch
        assert states.shape == wanted.shape
        assert states.dtype == np.float32
        np.testing.assert_allclose(states, wanted, rtol=0, atol=HIDDEN_STATE[dtype])
        cosine = (embed(states, batch) * embed(wanted, batch)).sum(axis=1)
        assert cosine.min() >= COSINE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", architectures.CASES)
def test_every_architecture_equals_its_reference(name: str, seed: int, dtype: str) -> None:
    config = architectures.random_config(name, seed)
    weights, longest = random_weights(config, seed), spec(config).max_tokens
    batch = make_batch(random_texts(config, [min(length, longest) for length in LENGTHS], seed))
    forward = TEXTBOOKS[name].forward
    wanted = forward(config, weights, batch.input_ids, batch.offsets)
    atol = HIDDEN_STATE[dtype] * max(1, np.abs(wanted).max())
    if dtype != "float32":  # some random models turn the rounding of their weights alone into much
        rounded = forward(config, in_bfloat16(weights), batch.input_ids, batch.offsets)
        atol = max(atol, 3 * np.abs(rounded - wanted).max())
    for threads in (1, 3):
        engine = make_engine(config, weights, dtype=dtype, threads=threads)
        [(_, states)] = engine.last_hidden_states([batch])
        np.testing.assert_allclose(states, wanted, rtol=0, atol=atol)
        if dtype == "float32":
            cosine = (embed(states, batch) * embed(wanted, batch)).sum(axis=1)
            assert cosine.min() >= COSINE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", sorted({1, *BLOCKS, UNIT_TOKENS + 1, 600}))
def test_one_text_of_any_length_by_a_team(length: int, dtype: str) -> None:
    config = make_config(max_position_embeddings=600)
    weights = random_weights(config)
    batch = make_batch(random_texts(config, [length]))
    wanted = reference.forward(config, weights, batch.input_ids, batch.offsets)
    [(_, states)] = make_engine(config, weights, dtype=dtype, threads=4).last_hidden_states([batch])
    np.testing.assert_allclose(states, wanted, rtol=0, atol=HIDDEN_STATE[dtype])


def test_batches_come_back_in_order_and_are_read_lazily() -> None:
    config = make_config()
    engine = make_engine(config, random_weights(config), threads=2)
    batches = [make_batch(random_texts(config, [5, 4], seed)) for seed in range(100)]
    taken = 0

    def stream():
        nonlocal taken
        for batch in batches:
            taken += 1
            yield batch

    states = engine.last_hidden_states(stream())
    assert next(states)[0] is batches[0]
    assert taken < 20
    assert [batch for batch, _ in states] == batches[1:]


def test_no_batches_and_empty_batches() -> None:
    config = make_config()
    engine = make_engine(config, random_weights(config), threads=2)
    assert list(engine.last_hidden_states([])) == []
    no_texts = Batch(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64))
    no_tokens = Batch(np.zeros(0, np.int32), np.zeros(3, np.int64), np.arange(2))
    assert [states.shape for _, states in engine.last_hidden_states([no_texts, no_tokens])] == [(0, 64)] * 2
    some = make_batch([np.array([], np.int32), np.array([1, 2], np.int32), np.array([], np.int32)])
    [(_, states)] = engine.last_hidden_states([some])
    wanted = reference.forward(config, random_weights(config), some.input_ids, np.array([0, 2]))
    np.testing.assert_allclose(states, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("input_ids", "offsets"),
    [
        ([50], [0, 1]),
        ([-1], [0, 1]),
        ([1], [0, 2]),
        ([1], [1, 1]),
        ([1, 2], [0, 2, 1, 2]),
        ([1] * 81, [0, 81]),
    ],
)
def test_numbers_that_would_point_outside_the_arrays_are_refused(
    input_ids: list[int], offsets: list[int]
) -> None:
    config = make_config()
    engine = make_engine(config, random_weights(config), threads=1)
    batch = Batch(np.array(input_ids, np.int32), np.array(offsets, np.int64), np.zeros(1, np.int64))
    with pytest.raises(InputError):
        list(engine.last_hidden_states([batch]))


def test_unknown_dtype_and_thread_count_are_refused() -> None:
    config = make_config()
    weights = random_weights(config)
    with pytest.raises(InputError, match="float16"):
        make_engine(config, weights, dtype="float16")
    with pytest.raises(InputError, match="threads"):
        make_engine(config, weights, threads=0)


SENTENCES = [
    "what is the capital of China?",
    "how to implement quick sort in python?",
    "Beijing",
    "sorting algorithms",
    "A man is playing a large flute.",
    "Statins are among the most widely prescribed drugs to lower cholesterol. " * 40,
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gte_small(gte_small: Path, dtype: str) -> None:
    folder_config = read_config(gte_small)
    config, weights = folder_config.encoder, load_weights(gte_small, folder_config)
    tokenized = Tokenizer(
        gte_small,
        folder_config.tokenizer,
        vocab_size=config.vocab_size,
        max_seq_length=folder_config.max_seq_length,
    ).tokenize(SENTENCES)
    [batch] = pack([text.input_ids for text in tokenized], max_texts=8, max_tokens=4096)
    wanted = reference.forward(config, weights, batch.input_ids, batch.offsets)
    [(_, states)] = make_engine(config, weights, dtype=dtype, threads=2).last_hidden_states([batch])
    cosine = (embed(states, batch) * embed(wanted, batch)).sum(axis=1)
    if dtype == "float32":
        np.testing.assert_allclose(states, wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(embed(states, batch), embed(wanted, batch), rtol=0, atol=1e-6)
    assert cosine.min() >= {"float32": 0.999999, "bfloat16": 0.99999, "int8": 0.998}[dtype]


def test_texts_are_held_against_the_arrays() -> None:
    """A table may have fewer rows than the config says; the kernel reads where the texts point."""
    config = make_config(max_position_embeddings=40)
    weights = random_weights(config)
    cut = dataclasses.replace(
        weights,
        position_embeddings=weights.position_embeddings[:30],
        word_embeddings=weights.word_embeddings[:20],
    )
    engine = make_engine(config, cut)
    with pytest.raises(InputError, match=r"31 tokens.*at most 30"):
        list(engine.last_hidden_states([make_batch([np.zeros(31, np.int32)])]))
    with pytest.raises(InputError, match="between 0 and 19"):
        list(engine.last_hidden_states([make_batch([np.array([1, 20])])]))
    [(_, states)] = engine.last_hidden_states([make_batch([np.zeros(30, np.int32)])])
    assert np.isfinite(states).all()
