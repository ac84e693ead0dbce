"""What docs/change-it.md adds to a copy of the package: an activation and an architecture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from unittest import mock

import changed
import exact
import numpy as np
import pytest
import tiny

from minigte.loading.config import read_config
from minigte.models import bert
from minigte.models.weights import Weights
from minigte.reference import ops
from minigte.reference.bert import forward
from minigte.tokenizing.tokenizer import Tokenizer

CONFIG = tiny.config(max_position_embeddings=34)

backends = pytest.mark.parametrize("backend", exact.COMPUTING_BACKENDS)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed.changed_package(tmp_path_factory.mktemp("changed"))


def reference(folder: Path, config: bert.Config, weights: Weights) -> exact.Float32:
    """What the package as it is computes for the same texts, one by one: (N, D)."""
    written = read_config(tiny.write_model(folder, CONFIG))
    tokenizer = Tokenizer(folder, written.tokenizer, vocab_size=CONFIG.vocab_size, max_seq_length=32)
    texts = tokenizer.tokenize(changed.TEXTS)
    ids = [np.array(text.input_ids) for text in texts]
    return np.concatenate([forward(config, weights, text, np.array([0, len(text)])) for text in ids])


@backends
def test_another_activation(tmp_path: Path, package: Path, backend: str) -> None:
    config = dataclasses.replace(CONFIG, hidden_act="quick_gelu")
    model = tiny.write_model(tmp_path / "model", config)
    with mock.patch.dict(ops.ACTIVATIONS, quick_gelu=lambda x: x / (1 + np.exp(-1.702 * x))):
        want = reference(tmp_path / "bert", config, tiny.weights(config))
    got = changed.encode(package, model, backend, tmp_path / "vectors.npy")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    plain = reference(tmp_path / "plain", CONFIG, tiny.weights(CONFIG))
    assert abs(got - plain).max() > 1e-2  # GELU gives other numbers


@backends
def test_another_architecture(tmp_path: Path, package: Path, backend: str) -> None:
    """The page's is BERT under another prefix, which has to be refused where its embeddings are narrower."""
    width = CONFIG.hidden_size
    model = tiny.write_model(
        tmp_path / "model", CONFIG, model_type="electra", embedding_size=width, prefix="electra."
    )
    got = changed.encode(package, model, backend, tmp_path / "vectors.npy")
    want = reference(tmp_path / "bert", CONFIG, tiny.weights(CONFIG))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    narrower = tiny.write_model(tmp_path / "narrower", CONFIG, model_type="electra", embedding_size=8)
    with pytest.raises(AssertionError, match=f"embedding_size 8 is not hidden_size {width}"):
        changed.encode(package, narrower, backend, tmp_path / "vectors.npy")
