"""Golden files: which models and inputs they hold, how they are read, and what fits them no more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import numpy.typing as npt
import tiny

Float32 = npt.NDArray[np.float32]

FORMAT = 1
LONGEST = 64  # tokens, where the model itself reads more
PAIRS = [  # that the tiny cross-encoders score
    ("the cat sat", "a dog ran on the mat"),
    ("the cat sat", ""),
    ("", ""),
    ("query: 12 cats!", "é 中 the passage sat on the mat, on the mat, on the mat"),
    ("a", "b"),
]
FOLDER = Path(__file__).resolve().parent / "golden"
REMAKE = "make the golden files again: python tools/make_golden.py --help"

TINY = architectures.golden_configs()


@dataclass(frozen=True)
class Golden:
    """One golden file: per text its ids, and the kept values of every stage."""

    weights_sha256: str
    texts: list[str]  # empty where the inputs are ids alone
    steps: list[int]
    arrays: Mapping[str, npt.NDArray[Any]]

    def inputs(self) -> Iterator[tuple[npt.NDArray[np.int32], int, dict[str, Float32]]]:
        """For each text its ids, its step, and stage -> kept values."""
        for i, step in enumerate(self.steps):
            prefix = f"{i}/"
            stages = {key.removeprefix(prefix): a for key, a in self.arrays.items() if key.startswith(prefix)}
            yield stages.pop("input_ids"), step, stages


def read(name: str, folder: Path = FOLDER) -> Golden:
    """Read ``NAME.npz``."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    provenance = json.loads(str(arrays.pop("provenance")))
    assert provenance["format"] == FORMAT, f"{name}.npz has another format: {REMAKE}"
    return Golden(provenance["weights_sha256"], provenance.get("texts", []), provenance["steps"], arrays)


def sample(stage: str, array: Float32, step: int) -> Float32:
    """The values of a stage that a golden file keeps: every ``step``-th, but of a text's vector all."""
    return array if stage in ("pooled", "normalized") else np.ascontiguousarray(array.reshape(-1)[::step])


def tiny_inputs(config: Any) -> list[list[int]]:
    """Ids for a tiny model: one token, a few, the whole vocabulary's ends, and as many as it reads."""
    rng = np.random.default_rng(1)
    longest = tiny.architecture(config).spec(config).max_tokens
    longest = rng.integers(config.vocab_size, size=min(longest, LONGEST)).tolist()
    return [[2], [2, 3], [2, 0, config.vocab_size - 1, 7, 7, 3], longest]
