"""Cross-encoders: the scores and ranks that sentence-transformers gives, over tiny random models."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
import sentence_transformers
import tiny
import torch

from minigte import CrossEncoder, InputError
from minigte.loading.cross_encoder_config import ACTIVATION_FNS

TEXTS = [
    "the cat sat on the mat",
    "a dog",
    "",
    "run, run: the cats sat on 12 mats!",
    "é 中 " * 9,
    "cat " * 50,
]
PAIRS = [(a, b) for a in TEXTS for b in TEXTS]
ONE = PAIRS[7]
NAMES = list(architectures.WITH_HEAD)


def theirs(folder: Path, **options: Any) -> Any:
    return sentence_transformers.CrossEncoder(str(folder), device="cpu", **options)


def write(folder: Path, name: str, **options: Any) -> Path:
    return tiny.write_cross_encoder(folder, architectures.CASES[name].config, **options)


@pytest.mark.parametrize("backend", ["numpy", "auto"])
@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_scores(tmp_path: Path, name: str, num_labels: int, backend: str) -> None:
    folder = write(tmp_path, name, num_labels=num_labels)
    expected, model = theirs(folder), CrossEncoder(folder, backend=backend)
    assert model.max_seq_length == expected.max_seq_length or name in ("mpnet", "roberta")
    scores = model.predict(PAIRS, truncation="ignore")
    if name in ("mpnet", "roberta"):  # transformers does not know that their first rows are no places
        expected = theirs(folder, max_length=model.max_seq_length)
    atol = 3e-6 if num_labels == 1 else 1e-5  # from 0 to 1, or logits, of order 10
    np.testing.assert_allclose(scores, expected.predict(PAIRS), rtol=0, atol=atol)
    np.testing.assert_allclose(model.predict(ONE), expected.predict(ONE), rtol=0, atol=atol)
    logits = expected.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(
        model.predict(PAIRS, activation_fn=torch.nn.Identity(), truncation="ignore"),
        logits,
        rtol=0,
        atol=1e-5,
    )
    if num_labels > 1:
        np.testing.assert_allclose(
            model.predict(PAIRS, apply_softmax=True, truncation="ignore"),
            expected.predict(PAIRS, apply_softmax=True),
            rtol=0,
            atol=3e-6,
        )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
@pytest.mark.parametrize("bias", [False, True])
def test_the_head_that_config_json_describes(
    tmp_path: Path, pooling: str, activation: str, bias: bool
) -> None:
    said = {
        "classifier_pooling": pooling,
        "classifier_activation": activation,
        "classifier_bias": bias,
        "norm_eps": 0.1,
    }
    config = dataclasses.replace(architectures.CASES["modernbert"].config, norm_bias=bias, norm_eps=0.1)
    folder = tiny.write_cross_encoder(tmp_path, config, num_labels=2, **said)
    model = CrossEncoder(folder, backend="numpy")
    np.testing.assert_allclose(
        model.predict(PAIRS, truncation="ignore"),
        theirs(folder, max_length=model.max_seq_length).predict(PAIRS),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("max_length", [4, 5, 8, 13, 31])
def test_cut_pairs(tmp_path: Path, max_length: int) -> None:
    folder = write(tmp_path, "bert")
    expected = theirs(folder, max_length=max_length).predict(PAIRS)
    model = CrossEncoder(folder, max_length=max_length, backend="numpy")
    np.testing.assert_allclose(model.predict(PAIRS, truncation="ignore"), expected, rtol=0, atol=3e-6)


def test_ranks(tmp_path: Path) -> None:
    folder = write(tmp_path, "bert")
    expected, model = theirs(folder), CrossEncoder(folder, backend="numpy")
    for options in ({}, {"top_k": 3}, {"return_documents": True}, {"top_k": 100}):
        ranked = model.rank("the cat", TEXTS, truncation="ignore", **options)
        others = expected.rank("the cat", TEXTS, **options)
        assert [hit["corpus_id"] for hit in ranked] == [hit["corpus_id"] for hit in others]
        assert [set(hit) for hit in ranked] == [set(hit) for hit in others]
        for hit, other in zip(ranked, others, strict=True):
            assert hit["score"] == pytest.approx(other["score"], abs=3e-6)
            assert hit.get("text") == other.get("text")


@pytest.mark.parametrize(
    "said",
    [
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.1.0"}},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Softplus"}},
        {"sentence_transformers": {"activation_fn": "own.module.Activation"}},
        {
            "sentence_transformers": {"activation_fn": "own.module.Activation"},
            "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
        },
    ],
    ids=str,
)
def test_the_models_own_activation(tmp_path: Path, said: dict[str, Any]) -> None:
    folder = write(tmp_path, "bert", **said)
    expected = theirs(folder).predict(PAIRS)
    model = CrossEncoder(folder, backend="numpy")
    np.testing.assert_allclose(model.predict(PAIRS, truncation="ignore"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("saved", ["own.module.Activation", "torch.nn.modules.activation.Tanh", None])
def test_the_activation_of_a_saved_folder(tmp_path: Path, saved: str | None) -> None:
    """What is not torch's is not run, and an older file's word counts."""
    folder = write(tmp_path / "a", "bert", sbert_ce_default_activation_function="torch.nn.Identity")
    theirs(folder).save_pretrained(str(tmp_path / "saved"))
    settings_path = tmp_path / "saved" / "config_sentence_transformers.json"
    settings = json.loads(settings_path.read_text())
    tiny.write_json(settings_path, {**settings, "activation_fn": saved})
    config = json.loads((folder / "config.json").read_text())
    tiny.write_json(tmp_path / "saved" / "config.json", config)
    expected = theirs(tmp_path / "saved").predict(PAIRS)
    model = CrossEncoder(tmp_path / "saved", backend="numpy")
    np.testing.assert_allclose(model.predict(PAIRS, truncation="ignore"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATION_FNS)
def test_activations_of_torch(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, "bert", num_labels=3)
    activation_fn = getattr(torch.nn, name)().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a softmax whose axis is not said
        expected = theirs(folder).predict(PAIRS, activation_fn=activation_fn)
    scores = CrossEncoder(folder, backend="numpy").predict(
        PAIRS, activation_fn=activation_fn, truncation="ignore"
    )
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "module", [torch.nn.LeakyReLU(0.2), torch.nn.GELU("tanh"), torch.nn.PReLU()], ids=str
)
def test_what_else_torch_has_is_refused(tmp_path: Path, module: torch.nn.Module) -> None:
    with pytest.raises(InputError, match="made without arguments"):
        CrossEncoder(write(tmp_path, "bert"), backend="numpy", activation_fn=module)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_sentence_transformers_has_saved(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "a", name)
    max_length = CrossEncoder(folder, backend="numpy").max_seq_length
    expected = theirs(folder, max_length=max_length, activation_fn=torch.nn.Identity())
    expected.save_pretrained(str(tmp_path / "saved"))
    model = CrossEncoder(tmp_path / "saved", backend="numpy")
    assert model.max_seq_length == max_length
    np.testing.assert_allclose(
        model.predict(PAIRS, truncation="ignore"), expected.predict(PAIRS), rtol=0, atol=1e-5
    )
