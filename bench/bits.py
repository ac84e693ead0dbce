"""What fewer bits cost gte-small, on real texts: the figures of the course's page 8.

    python bench/bits.py [--data DIR] [--model DIR] [--json FILE]

First the engine's vectors in bfloat16 and int8 beside its float32 ones. Then, to see where the loss comes
from, the reference with the inputs and the weights of chosen products rounded as the engine rounds them.
``course.py`` makes the tables and pictures from the JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import numpy as np
import numpy.typing as npt
import ops as kernels
import texts

from minigte import Embedder
from minigte.backend import DTYPES, NumPyBackend
from minigte.engine.kernels import JustInTime
from minigte.engine.scheduler import Engine
from minigte.engine.target import LEVEL
from minigte.engine.weights import Matrix, pack_model, to_bfloat16
from minigte.loading.weights import load_weights, stored_weights
from minigte.models.weights import ABSENT, Weights
from minigte.reference import bert, ops

Float32 = npt.NDArray[np.float32]
Rounded = dict[
    int, tuple[str, Float32]
]  # id of a weight -> what its product is rounded to, the rounded weight

DOCUMENTS = 128
SAMPLE = 24  # every so many sentences where each costs several passes of the reference
LOWEST = 6  # sentences that are looked at one by one
NOISE = 0.1  # of a word embedding's length
PRODUCTS = ("query", "key", "value", "attention_output", "intermediate", "output")
ENGINE_INT8 = dict.fromkeys(PRODUCTS, "int8") | {"value": "bfloat16"}  # see engine/formats.py


def distances(a: Float32, b: Float32) -> Float32:
    """1 - cosine of each pair of unit vectors: (B, D), (B, D) -> (B,); half the square of their distance."""
    return np.square(a - b).sum(axis=1) / 2


def round_rows(a: Float32, dtype: str) -> Float32:
    """Each number as ``dtype`` holds it; int8 has one scale a row: 127 steps to its largest number."""
    if dtype == "bfloat16":
        return (to_bfloat16(np.ascontiguousarray(a)).astype(np.uint32) << 16).view(np.float32)
    scale = np.abs(a).max(axis=1, keepdims=True) / np.float32(127)
    return np.rint(a / np.where(scale > 0, scale, 1)) * scale


def choose(weights: Weights, dtypes: dict[str, str], layers: Iterator[int] | range) -> Rounded:
    """Round these products, ``{"query": "int8", ...}``, in these layers."""
    found = {}
    for i in layers:
        for product, dtype in dtypes.items():
            weight = getattr(weights.layers[i], f"{product}_weight")
            found[id(weight)] = dtype, round_rows(weight, dtype)
    return found


@contextlib.contextmanager
def rounding(rounded: Rounded) -> Iterator[None]:
    """While this lasts, the reference's linear layers multiply rounded numbers where they are chosen."""
    exact = ops.linear

    def linear(x: Float32, weight: Float32, bias: Float32 = ABSENT, **out: Any) -> Float32:
        if id(weight) in rounded:
            dtype, weight = rounded[id(weight)]
            x = round_rows(x, dtype)
        return exact(x, weight, bias, **out)

    with mock.patch.object(ops, "linear", linear):
        yield


class Study:
    """gte-small on the reference, its products rounded at will."""

    def __init__(self, model: Path) -> None:
        self.embedder = Embedder(model, backend="numpy")
        self.weights = load_weights(model, self.embedder.config)
        self.embedder.backend = NumPyBackend(self.embedder.config, self.weights)
        self.layers = range(len(self.weights.layers))

    def encode(self, sentences: list[str], rounded: Rounded) -> Float32:
        """Vectors with the chosen products rounded: (B, D)."""
        with rounding(rounded):
            return self.embedder.encode(sentences)

    def watch(self, sentence: str, rounded: Rounded) -> dict[str, Float32]:
        """The hidden states (T, D) and attention probabilities (1, H, T, T) of one sentence, by name."""
        input_ids = np.array(self.embedder.tokenize(sentence)["input_ids"])
        kept: dict[str, Float32] = {}

        def keep(name: str, array: Float32) -> None:
            if name.endswith(("LayerNorm", "probs")):
                kept[name] = array.copy()

        config = self.embedder.config.encoder
        with rounding(rounded):
            bert.forward(config, self.weights, input_ids, np.array([0, len(input_ids)]), keep)
        return kept

    def growth(self, exact: dict[str, Float32], moved: dict[str, Float32]) -> list[float]:
        """How far the hidden states are from the exact ones after each layer, relative to their length."""
        names = ["embeddings.LayerNorm", *(f"encoder.layer.{i}.output.LayerNorm" for i in self.layers)]
        return [float(np.linalg.norm(moved[n] - exact[n]) / np.linalg.norm(exact[n])) for n in names]

    def tipped(self, exact: dict[str, Float32], moved: dict[str, Float32]) -> list[dict[str, Any]]:
        """In each layer, the attention probability that has changed most: head, tokens from and to."""
        found = []
        for i in self.layers:
            name = f"encoder.layer.{i}.attention.self.probs"
            before, after = exact[name][0], moved[name][0]  # (H, T, T)
            head, to, source = np.unravel_index(abs(after - before).argmax(), before.shape)
            place = int(head), int(to), int(source)
            found.append({"place": place, "before": float(before[place]), "after": float(after[place])})
        return found


def packed_bytes(study: Study, dtype: str) -> int:
    """The memory of the layers' weights as the engine packs them."""
    embedder = study.embedder
    weights = stored_weights(embedder.source.folder, embedder.config)  # which knows what 16 bits hold
    model = pack_model(embedder.config.spec, weights, dtype, LEVEL)
    return sum(array.nbytes for field in model if isinstance(field, Matrix) for array in field)


def noisy(study: Study, sentences: list[str]) -> Float32:
    """The engine's float32 vectors when every word embedding has moved by NOISE of its length."""
    table = study.weights.word_embeddings
    step = np.random.default_rng(0).normal(0, 1, table.shape).astype(np.float32)
    step *= NOISE * np.linalg.norm(table, axis=1, keepdims=True) / np.linalg.norm(step, axis=1, keepdims=True)
    moved = dataclasses.replace(study.weights, word_embeddings=table + step)
    embedder = Embedder(study.embedder.source.folder, backend="auto")
    embedder.backend = Engine(study.embedder.config.spec, moved, JustInTime())
    return embedder.encode(sentences)


def measure(data: Path, model: Path) -> dict[str, Any]:
    """All of it, as it goes into the JSON."""
    print("the engine's vectors ...", file=sys.stderr)
    study = Study(model)
    workloads = {
        "sentences": texts.read_sentences(data),
        "documents": texts.read_documents(data)[:DOCUMENTS],
    }
    vectors = {
        name: {
            dtype: Embedder(model, backend="auto", dtype=dtype).encode(some, truncation="ignore")
            for dtype in DTYPES
        }
        for name, some in workloads.items()
    }
    lost = {
        name: {dtype: distances(v[dtype], v["float32"]) for dtype in ("bfloat16", "int8")}
        for name, v in vectors.items()
    }

    print("products and layers, one at a time ...", file=sys.stderr)
    sentences = workloads["sentences"]
    sample = sentences[::SAMPLE]
    whole = choose(study.weights, ENGINE_INT8, study.layers)
    exact, simulated = study.encode(sample, {}), study.encode(sample, whole)
    engine = vectors["sentences"]["int8"][::SAMPLE]

    def cost(dtypes: dict[str, str], layers: range = study.layers) -> float:
        return float(distances(study.encode(sample, choose(study.weights, dtypes, layers)), exact).mean())

    everything = dict.fromkeys(PRODUCTS, "int8")
    products = {
        product: {
            "alone": cost({product: "int8"}),
            "all the others": cost({p: "int8" for p in PRODUCTS if p != product}),
        }
        for product in PRODUCTS
    }
    layers = [cost(everything, range(i, i + 1)) for i in study.layers]
    noise = distances(noisy(study, sentences), vectors["sentences"]["float32"])

    def follow(index: int) -> dict[str, Any]:
        text = sentences[index]
        before, after = study.watch(text, {}), study.watch(text, whole)
        return {
            "index": index,
            "tokens": study.embedder.explain(text).tokens,
            "distance": float(lost["sentences"]["int8"][index]),
            "growth": study.growth(before, after),
            "tipped": study.tipped(before, after),
        }

    print("sentences, layer by layer ...", file=sys.stderr)
    lowest = np.argsort(-lost["sentences"]["int8"])[:LOWEST]
    return {
        "machine": machine.facts(),
        "processor": kernels.processor(),
        "instructions": {dtype: LEVEL.instructions(dtype) for dtype in DTYPES},
        "bytes": {dtype: packed_bytes(study, dtype) for dtype in DTYPES},
        "distances": {
            name: {dtype: [float(f"{d:.3g}") for d in values] for dtype, values in some.items()}
            for name, some in lost.items()
        },
        "noise": [float(f"{d:.3g}") for d in noise],
        "simulation": {
            "lost": float(distances(simulated, exact).mean()),
            "lost by the engine": float(lost["sentences"]["int8"][::SAMPLE].mean()),
            "apart": float(distances(simulated, engine).mean()),
        },
        "everything": cost(everything),
        "products": products,
        "layers": layers,
        "ordinary": [follow(i)["growth"] for i in range(0, len(sentences), SAMPLE)],
        "lowest": [follow(int(i)) | {"text": sentences[i]} for i in lowest],
    }


def main() -> None:
    """Measure, and write."""
    arguments = texts.read_arguments(__doc__)
    result = measure(arguments.data, arguments.model)
    print(
        json.dumps(
            {k: result[k] for k in ("bytes", "simulation", "everything", "products", "layers")}, indent=1
        )
    )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
