"""Outliers: which channels the weights show, which inputs make them, and what int8 loses to them then."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from random_models import embed, make_batch, make_engine, random_texts, random_weights

from minigte.engine.outliers import LARGE, MOST, largest_inputs, outlier_channels
from minigte.models import bloom, modernbert, t5
from minigte.models.weights import Weights


def norm(large: Mapping[int, float]) -> np.ndarray:
    """A norm's weights: 0.5, but for the channels in ``large``, which have so many times that."""
    weight = np.full(40, 0.5, np.float32)
    for channel, times in large.items():
        weight[channel] *= times
    return weight


def test_a_norm_that_makes_a_channel_large_tells_it() -> None:
    assert outlier_channels([norm({}), norm({7: 5}), norm({})]).tolist() == [7]
    assert outlier_channels([norm({7: -5})]).tolist() == [7]
    assert outlier_channels([norm({7: 5}) * np.float32(1e-3)]).tolist() == [7]  # the others count


@pytest.mark.parametrize("norms", [[], [norm({})], [norm({7: LARGE})], [np.empty(0, np.float32)]])
def test_no_outliers(norms: list[np.ndarray]) -> None:
    assert outlier_channels(norms).tolist() == []


def test_the_largest_channels_of_all_norms_come_first() -> None:
    norms = [norm({1: 5, 3: 9}), norm({1: 7, 6: 8})]
    assert outlier_channels(norms).tolist() == [3, 6, 1]


def test_there_are_at_most_so_many() -> None:
    assert outlier_channels([norm({i: 10 + i for i in range(MOST + 2)})]).tolist() == [5, 4, 3, 2]
    assert outlier_channels([norm(dict.fromkeys(range(MOST + 2), 10))]).tolist() == [0, 1, 2, 3]


def test_a_norm_that_is_mostly_zeros_tells_nothing() -> None:
    weight = np.zeros(40, np.float32)
    weight[2] = 1
    assert outlier_channels([weight]).tolist() == []
    assert outlier_channels([weight, norm({7: 5})]).tolist() == [7]


def test_the_inputs_of_an_outlier_are_those_with_its_largest_weights() -> None:
    weight = np.zeros((3, 8), np.float32)  # (outputs, inputs)
    weight[1] = [0, -6, 1, 5, 0, 2, 9, 3]
    weight[2] = 100  # no outlier
    assert largest_inputs(weight, np.array([1])).tolist() == [6, 1, 3, 7]


def test_the_inputs_of_several_outliers_count_by_their_sum() -> None:
    weight = np.zeros((3, 8), np.float32)
    weight[0, [0, 1]] = 5, 4
    weight[2, [1, 2]] = -4, 3
    assert largest_inputs(weight, np.array([2, 0])).tolist() == [1, 0, 2, 3]  # the rest by position


def test_without_outliers_no_input_is_one() -> None:
    none = np.empty(0, np.int64)
    assert largest_inputs(np.ones((3, 8), np.float32), none).tolist() == []


def test_a_product_with_fewer_inputs_than_it_could_take() -> None:
    assert largest_inputs(np.array([[1, 3]], np.float32), np.array([0])).tolist() == [1, 0]


# Wherever the norm stands before a product, such outliers cost int8 nothing.

T5 = t5.Config(vocab_size=50, d_model=64, num_layers=3, num_heads=2, d_ff=128, d_kv=32)
NORM_FIRST = {
    "t5": T5,
    "t5, gated": dataclasses.replace(T5, feed_forward_proj="gated-gelu"),
    "bloom": bloom.Config(vocab_size=50, hidden_size=64, n_layer=3, n_head=2),
    "modernbert": modernbert.Config(50, 64, 3, 2, 128, norm_bias=True),
}
READ_BY = {
    "attention_norm": ("query_weight", "key_weight", "value_weight"),
    "feed_forward_norm": ("intermediate_weight", "gate_weight"),
}
CHANNELS, SIZE = [7, 30, 61], np.float32(64)


def with_outliers(weights: Weights, norm: str) -> Weights:
    """The same model, in which this norm makes CHANNELS larger by SIZE, and their weights make up for it."""
    layers = []
    for layer in weights.layers:
        changed = {name: array.copy() for name, array in vars(layer).items() if array.size}
        for name in (f"{norm}_weight", f"{norm}_bias"):
            if name in changed:
                changed[name][CHANNELS] *= SIZE
        for name in READ_BY[norm]:
            if name in changed and f"{norm}_weight" in changed:  # ModernBERT's first layer has no norm here
                changed[name][:, CHANNELS] /= SIZE
        layers.append(dataclasses.replace(layer, **changed))
    return dataclasses.replace(weights, layers=tuple(layers))


@pytest.mark.parametrize("norm", READ_BY)
@pytest.mark.parametrize("name", NORM_FIRST)
def test_outliers_of_a_norm_cost_int8_nothing(name: str, norm: str) -> None:
    config = NORM_FIRST[name]
    plain = random_weights(config)
    batch = make_batch(random_texts(config, [5, 9, 17, 30, 40]))
    vectors, losses = {}, {}
    for model, weights in {"plain": plain, "outliers": with_outliers(plain, norm)}.items():
        for dtype in ("float32", "int8"):
            [(_, states)] = make_engine(config, weights, dtype=dtype).last_hidden_states([batch])
            vectors[model, dtype] = embed(states, batch)
        losses[model] = 1 - (vectors[model, "int8"] * vectors[model, "float32"]).sum(axis=1).mean()
    np.testing.assert_array_equal(vectors["outliers", "float32"], vectors["plain", "float32"])
    assert losses["outliers"] < 1.5 * losses["plain"]
