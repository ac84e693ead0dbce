"""Dense modules in a model folder: read, computed, explained; and everything that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import state_dicts
import tiny

from minigte import CheckpointError, ConfigError, Embedder
from minigte.loading.config import read_config
from minigte.loading.required_files import required_files
from minigte.vectors.head import DenseConfig, Normalize

IDENTITY = "torch.nn.modules.linear.Identity"


def test_the_config(tmp_path: Path) -> None:
    second = {"out_features": 30, "bias": False, "activation_function": IDENTITY}
    config = read_config(tiny.write_dense(tmp_path, {}, second))
    assert config.head == (
        DenseConfig("2_Dense", 20, 7, True, "Tanh"),
        DenseConfig("3_Dense", 7, 30, False, "Identity"),
        Normalize(),
    )
    assert (config.pooled_dimension, config.embedding_dimension, config.normalize) == (20, 30, True)
    assert {"2_Dense/config.json", "3_Dense/config.json"} <= set(required_files(tmp_path))
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    assert "2_Dense/model.safetensors" in set(required_files(tmp_path))


def test_the_vectors_and_their_stages(tmp_path: Path) -> None:
    second = {"out_features": 30, "bias": False, "activation_function": IDENTITY}
    embedder = Embedder(tiny.write_dense(tmp_path, {}, second), backend="numpy")
    plain = Embedder(tiny.write_model(tmp_path / "plain", seed=5), backend="numpy")
    assert embedder.num_parameters == plain.num_parameters + 20 * 7 + 7 + 7 * 30
    trace = embedder.explain("the cat")
    np.testing.assert_array_equal(trace.pooled, plain.explain("the cat").pooled)
    first, last = embedder.head[0], embedder.head[1]
    np.testing.assert_allclose(trace["dense.0.linear"], first.weight @ trace.pooled + first.bias, rtol=1e-5)
    np.testing.assert_allclose(trace.dense[0].activation_function, np.tanh(trace.dense[0].linear), rtol=1e-6)
    np.testing.assert_allclose(
        trace.dense[1].linear, last.weight @ trace.dense[0].activation_function, rtol=1e-5
    )
    np.testing.assert_array_equal(trace.normalized, embedder.encode("the cat"))
    for name in ("dense.0.linear", "dense.1.activation_function", "normalized"):
        assert trace.stage(name).file == "vectors/head.py"
        assert trace.stage(name).source
    assert trace.layer_vectors.shape == (3, 30)


def test_a_linear_head_is_a_sum_over_tokens(tmp_path: Path) -> None:
    embedder = Embedder(
        tiny.write_dense(tmp_path, {"bias": False, "activation_function": IDENTITY}), backend="numpy"
    )
    explained = embedder.explain_similarity("the cat sat", "a dog")
    vectors = embedder.encode(["the cat sat", "a dog"])
    assert abs(explained.pairs.sum() - float(vectors[0] @ vectors[1])) < 1e-6
    np.testing.assert_allclose(explained.a.contributions.sum(axis=0), vectors[0], rtol=1e-5, atol=1e-6)


def test_a_vector_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    embedder = Embedder(tiny.write_dense(tmp_path, {}))
    texts = ["the cat", "a dog sat on the mat", "", "the"]
    whole = embedder.encode(texts)
    for text, vector in zip(texts, whole, strict=True):
        np.testing.assert_array_equal(embedder.encode(text), vector)
    np.testing.assert_array_equal(embedder.encode(texts, batch_size=2), whole)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_features": 19}, r"2_Dense.config\.json: in_features is 19, .* gives 20"),
        ({"in_features": ...}, r"in_features must be a positive integer, not None"),
        (
            {"activation_function": "torch.nn.modules.activation.PReLU"},
            r"activation_function '.*PReLU' .*Tanh",
        ),
        ({"activation_function": "my.Tanh"}, r"activation_function 'my\.Tanh'"),
        ({"activation_function": None}, r"activation_function None"),
        ({"bias": 1}, r"bias must be true or false, not 1"),
        ({"use_residual": True}, r"use_residual true \(known: false\)"),
        ({"module_input_name": "token_embeddings"}, r"module_input_name .token_embeddings"),
        ({"magic": 1}, r"the key 'magic'"),
    ],
    ids=str,
)
def test_a_config_that_is_refused_by_name(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(tiny.write_dense(tmp_path, config))


def test_no_config(tmp_path: Path) -> None:
    tiny.write_dense(tmp_path, {})
    (tmp_path / "2_Dense" / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json in .*2_Dense.* download the complete folder"):
        read_config(tmp_path)


def test_a_dense_before_pooling(tmp_path: Path) -> None:
    modules = json.loads((tiny.write_dense(tmp_path, {}) / "modules.json").read_text())
    tiny.write_json(tmp_path / "modules.json", [modules[0], modules[2], modules[1]])
    with pytest.raises(ConfigError, match="Dense comes before Pooling"):
        read_config(tmp_path)


WEIGHT, BIAS = np.ones((7, 20), np.float32), np.ones(7, np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, r"no model\.safetensors or pytorch_model\.bin in .*2_Dense"),
        ({"linear.weight": WEIGHT}, r"no tensor linear\.bias \(expected shape \(7,\)\)"),
        (
            {"linear.weight": WEIGHT.T.copy(), "linear.bias": BIAS},
            r"linear\.weight has shape \(20, 7\), .* \(7, 20\)",
        ),
        ({"linear.weight": WEIGHT, "linear.bias": BIAS, "more": BIAS}, r"a tensor more"),
        ({"linear.weight": WEIGHT * np.float32(np.nan), "linear.bias": BIAS}, r"linear\.weight holds NaN"),
    ],
)
def test_weights_that_are_refused_by_name(tmp_path: Path, arrays: Any, message: str) -> None:
    path = tiny.write_dense(tmp_path, {}) / "2_Dense" / "model.safetensors"
    if arrays is None:
        path.unlink()
    else:
        tiny.write_safetensors(path, arrays)
    with pytest.raises(CheckpointError, match=message):
        Embedder(tmp_path, backend="numpy")


@pytest.mark.parametrize("write", [state_dicts.write, state_dicts.write_old_form])
def test_a_state_dict(tmp_path: Path, write: Any) -> None:
    """As older releases of sentence-transformers wrote it, with torch since 1.6 and before."""
    tiny.write_dense(tmp_path, {})
    expected = Embedder(tmp_path, backend="numpy").encode("the cat")
    path = state_dicts.put_in_place_of(tmp_path / "2_Dense" / "model.safetensors", write)
    assert path.name == "pytorch_model.bin"
    np.testing.assert_array_equal(Embedder(tmp_path, backend="numpy").encode("the cat"), expected)


def test_a_head_that_overflows_is_refused(tmp_path: Path) -> None:
    tiny.write_dense(tmp_path, {"activation_function": IDENTITY})
    arrays = {"linear.weight": WEIGHT * np.float32(3e38), "linear.bias": BIAS}
    tiny.write_safetensors(tmp_path / "2_Dense" / "model.safetensors", arrays)
    with pytest.raises(CheckpointError, match="overflow"):
        Embedder(tmp_path, backend="numpy").encode("the cat")
