"""Random models of any size, engines that run them, and texts for them."""

from __future__ import annotations

import dataclasses
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny

from minigte import backend
from minigte.engine import library
from minigte.engine.kernels import Kernels
from minigte.engine.processor import machine
from minigte.engine.scheduler import Engine
from minigte.engine.weights import to_bfloat16
from minigte.models.architecture import Tensor
from minigte.models.batch import Batch
from minigte.models.bert import Config
from minigte.models.spec import Spec
from minigte.models.weights import LayerWeights, Weights

DTYPES = ("float32", "bfloat16", "int8")


def make_config(**changes: object) -> Config:
    """A small model whose sizes are whole panels on every processor, but for the changes."""
    sizes = {
        "vocab_size": 50,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 80,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    return Config(**{**sizes, **changes})


def random_weights(config: Any, seed: int = 0) -> Weights:
    """Weights that keep hidden states of order 1, attention uneven and the activation's input wide."""
    rng = np.random.default_rng(seed)

    def draw(tensor: Tensor) -> np.ndarray:
        scale = 0.5
        if tensor.layer is not None and len(tensor.shape) == 2:
            scale = 1.5 / np.sqrt(tensor.shape[-1])
            if tensor.field == "query_weight" and spec(config).attention_scale == 1:  # is in the weights
                scale /= np.sqrt(spec(config).head_size)
        mean = 1 if tensor.field.endswith("norm_weight") else 0
        array = rng.normal(mean, scale, tensor.shape).astype(np.float32)
        array.flags.writeable = False
        return array

    fields: dict[int | None, dict[str, np.ndarray]] = {None: {}}
    for tensor in tiny.architecture(config).tensors(config):
        fields.setdefault(tensor.layer, {})[tensor.field] = draw(tensor)
    own = fields.pop(None)
    return Weights(**own, layers=tuple(LayerWeights(**layer) for layer in fields.values()))


def in_bfloat16(weights: Weights) -> Weights:
    """The same model with every matrix of its layers rounded to bfloat16."""

    def rounded(array: np.ndarray) -> np.ndarray:
        if array.ndim < 2:
            return array
        return (to_bfloat16(array).astype(np.uint32) << 16).view(np.float32)

    layers = (
        LayerWeights(**{name: rounded(array) for name, array in vars(layer).items()})
        for layer in weights.layers
    )
    return dataclasses.replace(weights, layers=tuple(layers))


def spec(config: Any) -> Spec:
    """What the engine knows of a model of this config."""
    return tiny.architecture(config).spec(config)


@cache
def kernels() -> Kernels:
    """The kernels under test: an Embedder's, or those of the backend or library that is named."""
    if folder := os.environ.get("MINIGTE_TEST_LIBRARY"):
        name = library.file_name(sys.platform, machine())
        return library.Library(Path(folder), name).kernels(os.environ["MINIGTE_CPU"])
    return backend.kernels(backend.choose_backend(os.environ.get("MINIGTE_TEST_BACKEND", "auto"), "int8"))


def make_engine(
    config: Any, weights: Weights, *, dtype: str = "float32", threads: int | None = None
) -> Engine:
    return Engine(spec(config), weights, kernels(), dtype=dtype, threads=threads)


def make_batch(texts: list[np.ndarray]) -> Batch:
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return Batch(np.concatenate(texts).astype(np.int32), offsets, np.arange(len(texts)))


def random_texts(config: Any, lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, config.vocab_size, length).astype(np.int32) for length in lengths]


def embed(states: np.ndarray, batch: Batch) -> np.ndarray:
    """The mean of each text's rows, normalised: (B, D)."""
    means = np.stack([states[a:b].mean(0) for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)
