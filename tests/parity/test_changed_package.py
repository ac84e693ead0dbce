"""What docs/change-it.md adds, by the reference, against transformers; make test compares the backends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import changed
import numpy as np
import pytest
import tiny
import torch
import transformers

from minigte.loading.config import read_config
from minigte.tokenizing.tokenizer import Tokenizer

CONFIG = tiny.config(max_position_embeddings=34)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed.changed_package(tmp_path_factory.mktemp("changed"))


@pytest.mark.parametrize(("kind", "hidden_act"), [("Electra", "gelu"), ("Bert", "quick_gelu")])
def test_against_transformers(tmp_path: Path, package: Path, kind: str, hidden_act: str) -> None:
    fields = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    own: dict[str, Any] = {"embedding_size": fields.hidden_size} if kind == "Electra" else {}
    config = getattr(transformers, kind + "Config")(**vars(fields), **own)
    options: dict[str, Any] = {} if kind == "Electra" else {"add_pooling_layer": False}
    model: Any = getattr(transformers, kind + "Model")(config, **options).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tiny.tensors(fields).items()})
    model.save_pretrained(tmp_path / "model")
    tiny.write_tokenizer(tmp_path / "model")

    as_bert = read_config(tiny.write_model(tmp_path / "bert", CONFIG))
    tokenizer = Tokenizer(
        tmp_path / "bert", as_bert.tokenizer, vocab_size=CONFIG.vocab_size, max_seq_length=32
    )
    texts = tokenizer.tokenize(changed.TEXTS)
    with torch.inference_mode():
        want = [model(torch.tensor([text.input_ids])).last_hidden_state[0].numpy() for text in texts]
    got = changed.encode(package, tmp_path / "model", "numpy", tmp_path / "vectors.npy")
    np.testing.assert_allclose(got, np.concatenate(want), rtol=0, atol=1e-5)
