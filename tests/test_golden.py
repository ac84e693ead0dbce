"""Every stage of the forward pass against transformers' values in tests/golden, which need no torch."""

from __future__ import annotations

from pathlib import Path

import exact
import golden_files as golden
import numpy as np
import numpy.typing as npt
import pytest
import tiny

from minigte import Embedder
from minigte.backend import load_backend
from minigte.loading.config import ModelConfig, read_config
from minigte.loading.weights import load_weights
from minigte.models.batch import Batch
from minigte.models.weights import Weights
from minigte.vectors.pooling import normalize, pool

Float32 = npt.NDArray[np.float32]

backends = pytest.mark.parametrize("backend", exact.COMPUTING_BACKENDS)


@pytest.fixture(scope="module", params=[*golden.TINY, "gte-small"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, golden.Golden, ModelConfig, Weights]:
    """A model with its golden file, which must have been made from the same weights."""
    name = request.param
    if name == "gte-small":
        folder: Path = request.getfixturevalue("gte_small")
    else:
        folder = tiny.write_model(tmp_path_factory.mktemp(name), golden.TINY[name])
    config = read_config(folder)
    weights = load_weights(folder, config)
    file = golden.read(name)
    assert exact.tensors_sha256(exact.named(config.encoder, weights)) == file.weights_sha256, (
        f"{name}'s weights are not those of {name}.npz: {golden.REMAKE}"
    )
    return name, file, config, weights


def test_every_stage_of_the_reference_equals_transformers(
    case: tuple[str, golden.Golden, ModelConfig, Weights],
) -> None:
    name, file, config, weights = case
    for input_ids, step, want in file.inputs():
        got = exact.trace(config.encoder, weights, input_ids)
        kept = {stage: golden.sample(stage, array, step) for stage, array in got.items()}
        exact.assert_stages_equal(f"golden {name}", kept, want, exact.largest_scores(got, config.encoder))


@backends
def test_last_hidden_state_and_vector_equal_transformers(
    case: tuple[str, golden.Golden, ModelConfig, Weights], backend: str
) -> None:
    name, file, config, weights = case
    inputs = list(file.inputs())
    offsets = np.cumsum([0] + [len(ids) for ids, _, _ in inputs])
    packed = Batch(np.concatenate([ids for ids, _, _ in inputs]), offsets, np.arange(len(inputs)))
    loaded = load_backend(backend, config, weights, dtype="float32")
    [(_, hidden)] = loaded.last_hidden_states([packed])
    vectors = normalize(pool(hidden, offsets, ("mean",)))
    for i, (_, step, want) in enumerate(inputs):
        stage = exact.last_stage(config.encoder)
        kept = golden.sample(stage, hidden[offsets[i] : offsets[i + 1]], step)
        exact.assert_stages_equal(
            f"golden {name}, {backend}, packed",
            {stage: kept, "normalized": vectors[i]},
            {stage: want[stage], "normalized": want["normalized"]},
        )


@backends
def test_embedder_equals_transformers_from_text_to_vector(gte_small: Path, backend: str) -> None:
    file = golden.read("gte-small")
    embedder = Embedder(gte_small, backend=backend)
    want = np.stack([stages["normalized"] for _, _, stages in file.inputs()])
    assert embedder.tokenize(file.texts)["input_ids"] == [ids.tolist() for ids, _, _ in file.inputs()]
    vectors = embedder.encode(file.texts, truncation="ignore")
    exact.assert_stages_equal(
        f"golden gte-small, {backend}, encode",
        {"normalized": vectors},
        {"normalized": want},
    )
