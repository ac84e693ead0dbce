"""Random models of any size, engines that run them, and texts for them."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import numpy as np

from minigte import backend
from minigte.engine import library
from minigte.engine.kernels import Kernels
from minigte.engine.processor import machine
from minigte.engine.scheduler import Engine
from minigte.models.batch import Batch
from minigte.models.bert import EMBEDDING_PARAMETERS, LAYER_PARAMETERS, Config, LayerWeights, Weights

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


def random_weights(config: Config, seed: int = 0) -> Weights:
    """Weights that keep hidden states of order 1, attention uneven and the activation's input wide."""
    rng = np.random.default_rng(seed)

    def draw(name: str, axes: tuple[str, ...]) -> np.ndarray:
        shape = [getattr(config, axis) for axis in axes]
        scale = 1.5 / np.sqrt(shape[-1]) if len(shape) == 2 and "embeddings" not in name else 0.5
        array = rng.normal(1 if "norm_weight" in name else 0, scale, shape).astype(np.float32)
        array.flags.writeable = False
        return array

    def layer() -> LayerWeights:
        return LayerWeights(**{p.field: draw(p.field, p.shape) for p in LAYER_PARAMETERS})

    return Weights(
        **{p.field: draw(p.field, p.shape) for p in EMBEDDING_PARAMETERS},
        layers=tuple(layer() for _ in range(config.num_hidden_layers)),
    )


@cache
def kernels() -> Kernels:
    """The kernels under test: an Embedder's, or those of the backend or library that is named."""
    if folder := os.environ.get("MINIGTE_TEST_LIBRARY"):
        name = library.file_name(sys.platform, machine())
        return library.Library(Path(folder), name).kernels(os.environ["MINIGTE_CPU"])
    return backend.kernels(backend.choose_backend(os.environ.get("MINIGTE_TEST_BACKEND", "auto"), "int8"))


def make_engine(
    config: Config, weights: Weights, *, dtype: str = "float32", threads: int | None = None
) -> Engine:
    return Engine(config, weights, kernels(), dtype=dtype, threads=threads)


def make_batch(texts: list[np.ndarray]) -> Batch:
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return Batch(np.concatenate(texts).astype(np.int32), offsets, np.arange(len(texts)))


def random_texts(config: Config, lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, config.vocab_size, length).astype(np.int32) for length in lengths]


def embed(states: np.ndarray, batch: Batch) -> np.ndarray:
    """The mean of each text's rows, normalised: (B, D)."""
    means = np.stack([states[a:b].mean(0) for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)
