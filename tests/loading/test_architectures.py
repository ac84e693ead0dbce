"""Folders of every architecture: loaded, embedded and explained; and what their config.json may not say."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import architectures
import exact
import numpy as np
import pytest
import tiny

from minigte import ConfigError, CrossEncoder, Embedder, InputError
from minigte.explain.page import page
from minigte.loading.config import read_config
from minigte.loading.weights import load_weights
from minigte.models import bloom, modernbert, t5

TEXTS = ["the cat sat on the mat", "a dog", "", "the dogs, running: 3 cats!"]
each_architecture = pytest.mark.parametrize("name", architectures.CASES)


@each_architecture
def test_a_folder_is_embedded_and_explained(tmp_path: Path, name: str) -> None:
    config = architectures.CASES[name].config
    folder = tiny.write_model(tmp_path, config, seed=5)
    reference, engine = Embedder(folder, backend="numpy"), Embedder(folder)
    vectors = reference.encode(TEXTS, truncation="ignore")
    assert exact.difference(engine.encode(TEXTS, truncation="ignore"), vectors) <= exact.VECTOR_BOUND
    spec, trace = reference.config.spec, engine.explain("the cat sat")
    tokens, heads = len(trace.tokens), spec.num_attention_heads
    np.testing.assert_array_equal(trace.vector, reference.encode("the cat sat"))
    assert trace.hidden_states.shape == (spec.num_hidden_layers + 1, tokens, spec.hidden_size)
    assert trace.attentions.shape == (spec.num_hidden_layers, heads, tokens, tokens)
    np.testing.assert_allclose(trace.attentions.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(trace.contributions.sum(axis=0), trace.vector, rtol=1e-5, atol=1e-6)
    assert trace.layer_vectors.shape == (spec.num_hidden_layers + 1, spec.hidden_size)
    assert len(trace.layers) == spec.num_hidden_layers
    for stage in trace:
        found = trace.stage(stage)
        assert found.source, stage
        assert np.isfinite(found.array).all(), stage
    assert "... and layers" in repr(trace)
    score = engine.explain_similarity("the cat sat", "a dog")
    assert abs(score.pairs.sum() - score.score) < 1e-6
    assert len(page(score)) > 1000


@each_architecture
def test_no_field_may_be_missing_without_a_default(tmp_path: Path, name: str) -> None:
    config = architectures.CASES[name].config
    folder = tiny.write_model(tmp_path, config)
    whole = json.loads((folder / "config.json").read_text())
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING:
            tiny.write_json(folder / "config.json", {k: v for k, v in whole.items() if k != field.name})
            with pytest.raises(ConfigError, match=rf"config\.json has no {field.name}"):
                read_config(folder)


TINY = {name: case.config for name, case in architectures.CASES.items()}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("t5", {"feed_forward_proj": "gated-magic"}, "feed_forward_proj .gated-magic"),
        ("t5", {"relative_attention_num_buckets": 3}, "relative_attention_num_buckets 3 must be at least 4"),
        ("t5", {"relative_attention_max_distance": 8}, "relative_attention_max_distance 8 must be more"),
        ("t5", {"is_decoder": True}, "is_decoder true"),
        ("t5", {"is_gated_act": True}, "is_gated_act is True, but by the other keys it must be False"),
        ("t5", {"dense_act_fn": "gelu_new"}, "dense_act_fn is 'gelu_new', .* must be 'relu'"),
        ("t5", {"magic": 1}, "the key 'magic'"),
        ("modernbert", {"hidden_size": 25}, "hidden_size 25 is not a multiple of twice"),
        ("modernbert", {"local_attention": 1}, "local_attention 1 must be at least 2"),
        ("modernbert", {"num_hidden_layers": 10**12}, r"num_hidden_layers 10+ \(limit: 4096\)"),
        (
            "modernbert",
            {"layer_types": ["full_attention"]},
            "layer_types has 1 layers, but num_hidden_layers",
        ),
        ("modernbert", {"layer_types": ["full_attention", "other"]}, "layer_types has 'other'"),
        ("modernbert", {"layer_types": 3}, "layer_types must be a list, not 3"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers must be a positive"),
        ("modernbert", {"norm_bias": 1}, "norm_bias must be true or false, not 1"),
        ("modernbert", {"local_rope_theta": 0}, "local_rope_theta must be more than 0"),
        ("modernbert", {"rope_scaling": {"factor": 2}}, "rope_scaling"),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}},
            "rope_parameters with rope_type 'yarn'",
        ),
        ("modernbert", {"rope_parameters": {"rope_theta": 3}}, "rope_parameters must have objects under"),
        ("bloom", {"n_head": 3}, "hidden_size 20 is not a multiple of n_head 3"),
        ("bloom", {"n_inner": 7}, "n_inner is 7, but by the other keys it must be 80"),
        (
            "bloom",
            {"apply_residual_connection_post_layernorm": True},
            "apply_residual_connection_post_layernorm",
        ),
        ("bloom", {"hidden_act": "relu"}, "the key 'hidden_act'"),
    ],
    ids=str,
)
def test_what_is_refused_by_name(tmp_path: Path, name: str, fields: dict[str, Any], message: str) -> None:
    folder = tiny.write_model(tmp_path, TINY[name], **fields)
    with pytest.raises(ConfigError, match=rf"config\.json: .*{message}"):
        read_config(folder)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (TINY["t5"], {"num_hidden_layers": 2, "num_layers": None, "is_encoder_decoder": True}),
        (TINY["t5"], {"dense_act_fn": "relu", "is_gated_act": False, "tie_word_embeddings": False}),
        (TINY["bloom"], {"n_embed": 20, "hidden_size": 7, "seq_length": 2048}),
        (TINY["bloom"], {"num_attention_heads": 5, "n_head": None, "num_hidden_layers": 2, "n_layer": None}),
        (TINY["modernbert"], {"layer_types": ["full_attention", "sliding_attention"]}),
        (
            TINY["modernbert"],
            {
                "global_rope_theta": 3.0,
                "rope_parameters": {"full_attention": {"rope_theta": 160_000.0}, "sliding_attention": None},
                "layer_norm_eps": 7.0,
            },
        ),
    ],
    ids=str,
)
def test_other_ways_to_say_the_same(tmp_path: Path, config: Any, changes: dict[str, Any]) -> None:
    folder = tiny.write_model(tmp_path, config)
    stated = {**json.loads((folder / "config.json").read_text()), **changes}
    taken_out = {key for key, value in changes.items() if value is None}
    tiny.write_json(folder / "config.json", {key: stated[key] for key in stated if key not in taken_out})
    assert read_config(folder).encoder == config


@pytest.mark.parametrize(
    "names", [["encoder.embed_tokens.weight"], ["encoder.embed_tokens.weight", "shared.weight"]]
)
def test_shared_embeddings_under_either_name(tmp_path: Path, names: list[str]) -> None:
    config = TINY["t5"]
    arrays = tiny.tensors(config)
    table = arrays.pop("shared.weight")
    other = {name: table if name == names[-1] else np.zeros_like(table) for name in names}
    beside = {"decoder.embed_tokens.weight": np.zeros((3, 3), np.float32), "lm_head.weight": table}
    folder = tiny.write_model(tmp_path, config)
    for order in (other, dict(reversed(other.items()))):
        tiny.write_safetensors(folder / "model.safetensors", {**order, **arrays, **beside})
        np.testing.assert_array_equal(load_weights(folder, read_config(folder)).word_embeddings, table)


@pytest.mark.parametrize("name", ["t5", "bloom"])
def test_a_cross_encoder_without_a_head_here(tmp_path: Path, name: str) -> None:
    folder = tiny.write_model(tmp_path, TINY[name], bare=True, architectures=["XForSequenceClassification"])
    with pytest.raises(ConfigError, match=rf"config\.json: .* a {name} encoder \(known: bert"):
        CrossEncoder(folder)


def bloom_folder(folder: Path, **options: Any) -> Path:
    config = bloom.Config(vocab_size=256, hidden_size=20, n_layer=2, n_head=5)
    tiny.write_model(folder, config, seed=5)
    tiny.write_byte_tokenizer(folder)
    return tiny.write_sentence_transformers(
        folder, modes=options.pop("modes", ["weightedmean"]), normalize=False
    )


def test_a_tokenizer_that_adds_no_special_tokens(tmp_path: Path) -> None:
    embedder = Embedder(bloom_folder(tmp_path))
    assert embedder.config.assumed == ("no max_seq_length",)
    assert embedder.count_tokens(["é cat", ""]) == [6, 0]
    assert embedder.encode(["a", "a cat"]).shape == (2, 20)
    with pytest.raises(InputError, match=r"sentences\[1\] has no tokens"):
        embedder.encode(["a", ""])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long = embedder.encode("a cat " * 3000)  # no place of it is too far
    assert np.isfinite(long).all()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (
            "distilbert",
            {"sinusoidal_pos_embds": False, "tie_weights_": True, "qa_dropout": 0.1, "output_past": True},
        ),
        (
            "t5",
            {
                "n_positions": 512,
                "is_encoder_decoder": True,
                "num_decoder_layers": 12,
                "initializer_factor": 1.0,
                "output_past": True,
                "task_specific_params": {"summarization": {"num_beams": 4}},
            },
        ),
        (
            "bloom",
            {
                "attention_softmax_in_fp32": True,
                "bias_dropout_fusion": True,
                "masked_softmax_fusion": True,
                "n_inner": None,
                "offset_alibi": 100,
                "pretraining_tp": 4,
                "seq_length": 2048,
                "skip_bias_add": True,
                "skip_bias_add_qkv": False,
                "slow_but_exact": False,
                "unk_token_id": 0,
            },
        ),
        (
            "modernbert",
            {
                "classifier_pooling": "mean",
                "decoder_bias": True,
                "deterministic_flash_attn": False,
                "layer_norm_eps": 1e-05,
                "position_embedding_type": "absolute",
                "reference_compile": False,
                "repad_logits_with_grad": False,
                "sparse_pred_ignore_index": -100,
                "sparse_prediction": False,
            },
        ),
        ("roberta", {"language": "english", "name": "Roberta", "output_past": True}),
    ],
)
def test_what_published_models_say(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    """Keys of config.json that no transformers of today writes, and those of one architecture alone."""
    folder = tiny.write_model(tmp_path, architectures.CASES[name].config, **keys)
    Embedder(folder, backend="numpy")


def test_left_padding_where_it_changes_nothing(tmp_path: Path) -> None:
    folder = bloom_folder(tmp_path, modes=["weightedmean"])
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tiny.write_json(folder / "tokenizer_config.json", {**settings, "padding_side": "left"})
    assert Embedder(folder, backend="numpy").encode("a").shape == (20,)


def test_the_layers_of_modernbert_and_the_slopes_of_bloom() -> None:
    base = modernbert.Config(1, 12, 22, 6, 1)
    kinds = modernbert.spec(base).windows
    assert kinds == tuple(0 if layer % 3 == 0 else 64 for layer in range(22))
    assert modernbert.spec(base).rotary_bases[:3] == (160_000.0, 10_000.0, 10_000.0)
    assert bloom.slopes(8) == tuple(2.0**-i for i in range(1, 9))
    assert bloom.slopes(3) == (2.0**-4, 2.0**-8, 2.0**-2)
    assert t5.Config(1, 1, 1, 1, 1, feed_forward_proj="gated-gelu").hidden_act == "gelu_new"
    assert t5.Config(1, 1, 1, 1, 1, feed_forward_proj="gelu").hidden_act == "gelu"
