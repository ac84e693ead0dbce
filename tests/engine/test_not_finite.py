"""Infinities and NaN on the way: the engine ends in them where the reference does, and spoils no other."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny
from random_models import DTYPES, make_batch, make_config, make_engine, random_texts, random_weights

from minigte import CheckpointError, Embedder
from minigte.engine.finishes import ACTIVATIONS
from minigte.models.batch import Batch
from minigte.models.bert import LAYER_PARAMETERS, Config
from minigte.models.weights import Weights
from minigte.reference import bert as reference

pytestmark = pytest.mark.slow

SPOILERS = (3e38, -3e38, 1.7e38, 1e30, 1e20, -1e20)  # a flipped bit of an exponent makes such numbers


def spoilt(weights: Weights, field: str, value: float) -> Weights:
    """The weights with one number of the first layer changed."""
    first, *others = weights.layers
    array = getattr(first, field).copy()
    array.flat[5] = value
    return dataclasses.replace(weights, layers=(dataclasses.replace(first, **{field: array}), *others))


def overflows(config: Config, weights: Weights, batch: Batch) -> bool:
    """Whether the reference ends in infinities or NaN."""
    with np.errstate(all="ignore"):
        states = reference.forward(config, weights, batch.input_ids, batch.offsets)
    return not np.isfinite(states).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_not_finite_in_the_reference_is_not_in_the_engine(activation: str, dtype: str) -> None:
    config = make_config(hidden_act=activation)
    weights = random_weights(config)
    batch = make_batch(random_texts(config, [1, 2, 3, 7, 16, 17, 33, 80]))
    hidden = []
    tried = 0
    for field in (parameter.field for parameter in LAYER_PARAMETERS):
        for value in SPOILERS:
            changed = spoilt(weights, field, value)
            wanted = overflows(config, changed, batch)
            if dtype == "int8":  # its numbers are some percent off, and may stay just below the largest float
                wanted &= overflows(config, spoilt(weights, field, 0.9 * value), batch)
            if not wanted:
                continue
            tried += 1
            [(_, states)] = make_engine(config, changed, dtype=dtype, threads=1).last_hidden_states([batch])
            if np.isfinite(states).all():
                hidden.append((field, value))
    assert hidden == []
    assert tried > 10  # of the spoilt models, whose number the activation decides


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden_size", [64, 36])  # whole panels, and not
def test_the_next_text_is_right(hidden_size: int, dtype: str) -> None:
    """A text whose numbers overflow leaves nothing in the memory that the next one is computed in."""
    config = make_config(hidden_size=hidden_size, intermediate_size=71)
    weights = random_weights(config)
    words = weights.word_embeddings.copy()
    words[7] = 3e38 * (-1) ** np.arange(hidden_size)
    weights = dataclasses.replace(weights, word_embeddings=words)
    bad, good = make_batch([np.array([1, 7, 2])]), make_batch([np.array([1, 6, 2, 5])])
    engine = make_engine(config, weights, dtype=dtype, threads=1)
    [(_, before)] = engine.last_hidden_states([good])
    [(_, states)] = engine.last_hidden_states([bad])
    assert not np.isfinite(states).any()
    [(_, after)] = engine.last_hidden_states([good])
    np.testing.assert_array_equal(after, before)


# A weight of which numbers overflow on the way; one that makes the last numbers too large to square.
@pytest.mark.parametrize(
    ("layer", "value", "output_value"),
    [(0, 1.66e38, "sentence_embedding"), (0, 1.66e38, "token_embeddings"), (1, 1e22, "sentence_embedding")],
)
@pytest.mark.parametrize(("backend", "dtype"), [("numpy", "float32"), *(("auto", d) for d in DTYPES)])
def test_an_embedder_refuses_weights_that_overflow(
    backend: str, dtype: str, layer: int, value: float, output_value: str, tmp_path: Path
) -> None:
    tensors = tiny.tensors()
    tensors[f"encoder.layer.{layer}.output.LayerNorm.weight"][3] = value
    folder = tiny.write_model(tmp_path / "model", hidden_act="relu")
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    embedder = Embedder(folder, backend=backend, dtype=dtype)
    with pytest.raises(CheckpointError, match="overflow") as error:
        embedder.encode(["the cat sat on the mat", "dog"], output_value=output_value)
    assert str(folder) in str(error.value)
