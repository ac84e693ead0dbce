"""The real gte-small, where it is at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minigte.models.bert import (
    EMBEDDING_PARAMETERS,
    ENCODER_LAYER,
    LAYER_PARAMETERS,
    Config,
    LayerWeights,
    Weights,
)


@pytest.fixture(scope="session")
def gte_small() -> tuple[Config, Weights, Callable[[list[str]], list[np.ndarray]]]:
    """gte-small's config and weights, and its tokenizer as a function."""
    beside = Path(__file__).resolve().parents[2] / ".." / "shared" / "models" / "gte-small"
    folder = Path(os.environ.get("MINIGTE_MODEL", beside))
    if not (folder / "model.safetensors").is_file():
        pytest.skip("gte-small is not here; set MINIGTE_MODEL to its folder")
    load_file = pytest.importorskip("safetensors.numpy").load_file
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    fields = json.loads((folder / "config.json").read_text())
    config = Config(**{name: fields[name] for name in Config.__dataclass_fields__})
    arrays = {
        name: array.astype(np.float32) for name, array in load_file(folder / "model.safetensors").items()
    }
    layers = tuple(
        LayerWeights(**{p.field: arrays[ENCODER_LAYER.format(i) + p.name] for p in LAYER_PARAMETERS})
        for i in range(config.num_hidden_layers)
    )
    weights = Weights(**{p.field: arrays[p.name] for p in EMBEDDING_PARAMETERS}, layers=layers)
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.max_position_embeddings)

    def tokenize(texts: list[str]) -> list[np.ndarray]:
        return [np.array(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(texts)]

    return config, weights, tokenize
