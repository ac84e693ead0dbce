"""Outliers that a norm's weights show cost int8 nothing, wherever the norm stands before a product."""

import dataclasses

import numpy as np
import pytest
from random_models import embed, make_batch, make_engine, random_texts, random_weights

from minigte.models import bloom, modernbert, t5
from minigte.models.weights import Weights

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
