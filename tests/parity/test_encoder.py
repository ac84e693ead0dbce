"""Every stage of every architecture's forward pass against transformers, run beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import architectures
import exact
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import tiny
import torch
import transformers
from nasty import LONG

from minigte import Embedder
from minigte.backend import load_backend
from minigte.errors import ConfigError
from minigte.loading.config import ModelConfig, read_config
from minigte.loading.weights import load_weights
from minigte.models.spec import HIDDEN_ACTS
from minigte.models.weights import Weights
from minigte.reference import ops
from minigte.tokenizing.packing import pack

Float32 = npt.NDArray[np.float32]

backends = pytest.mark.parametrize("backend", exact.COMPUTING_BACKENDS)


SEEDS = 24  # random configs of each architecture


def random_ids(config: Any, seed: int) -> list[list[int]]:
    """Texts as long as the model reads, of one token, and of lengths between, two of them equal."""
    rng = np.random.default_rng(seed)
    spec = tiny.architecture(config).spec(config)
    longest = min(spec.max_tokens, 130)
    lengths = [longest, 1, longest, *rng.integers(1, longest + 1, size=4)]
    return [rng.integers(spec.vocab_size, size=length).tolist() for length in lengths]


def assert_traces_equal(
    comparison: str, config: Any, weights: Weights, model: Any, texts: Sequence[Sequence[int]]
) -> None:
    """Compare every stage of every text, alone."""
    for text in texts:
        got = exact.trace(config, weights, np.array(text))
        exact.assert_stages_equal(
            comparison, got, oracle.trace(model, text), exact.largest_scores(got, config)
        )


def assert_packed_equal(
    comparison: str,
    config: ModelConfig,
    weights: Weights,
    backend: str,
    model: Any,
    texts: Sequence[Sequence[int]],
) -> None:
    """Compare the last hidden state of texts packed together with what transformers gives for each alone."""
    last = exact.last_stage(config.encoder)
    loaded = load_backend(backend, config, weights, dtype="float32")
    seen = []
    for batch, hidden in loaded.last_hidden_states(pack(texts, max_texts=8, max_tokens=100)):
        for i, rows in zip(batch.index, np.split(hidden, batch.offsets[1:-1]), strict=True):
            want = oracle.trace(model, texts[i])[last]
            exact.assert_stages_equal(f"{comparison}, {backend}, packed", {last: rows}, {last: want})
            seen.append(i)
    assert sorted(seen) == list(range(len(texts)))


def save(folder: Path, config: Any, seed: int, kind: str | None = None, **options: Any) -> Path:
    """Have transformers save a model of the named class, whose encoder holds ``tiny.tensors``."""
    encoder_kind = oracle.CLASSES[tiny.architecture(config).name][1]
    model = getattr(transformers, kind or encoder_kind)(oracle.make_config(config))
    encoder = model if kind is None else getattr(model, model.base_model_prefix, model)
    oracle.fill(encoder, tiny.tensors(config, seed))
    model.to(options.pop("dtype", torch.float32)).save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize("hidden_act", HIDDEN_ACTS)
def test_activations_by_any_of_their_names(hidden_act: str) -> None:
    x = np.linspace(-30, 30, 6001, dtype=np.float32)
    want = transformers.activations.ACT2FN[hidden_act](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ops.ACTIVATIONS[HIDDEN_ACTS[hidden_act]](x), want, rtol=1e-6, atol=1e-6)


each_architecture = pytest.mark.parametrize("name", architectures.CASES)


@each_architecture
def test_the_random_configs_change_every_field(name: str) -> None:
    configs = [architectures.random_config(name, seed) for seed in range(SEEDS)]
    for field in dataclasses.fields(configs[0]):
        values = {getattr(config, field.name) for config in configs}
        assert len(values) >= (2 if field.type == "bool" else 3), field.name
    specs = [tiny.architecture(config).spec(config) for config in configs]
    assert any(spec.hidden_size % 16 for spec in specs)
    assert any(spec.num_hidden_layers == 1 for spec in specs)
    assert any(spec.head_size == 4 for spec in specs)
    if len({spec.norm_eps for spec in specs}) > 1:  # not every architecture lets it be chosen
        assert any(spec.norm_eps >= 0.1 for spec in specs)


@each_architecture
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_configs(tmp_path: Path, name: str, seed: int) -> None:
    fields = architectures.random_config(name, seed)
    folder = save(tmp_path, fields, seed)
    config = read_config(folder)
    assert config.encoder == fields
    weights = load_weights(folder, config)
    model = oracle.load(folder)
    texts = random_ids(fields, seed)
    assert_traces_equal(f"parity random {name}", fields, weights, model, texts)
    for backend in exact.COMPUTING_BACKENDS:
        assert_packed_equal(f"parity random {name}", config, weights, backend, model, texts)


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, case in architectures.CASES.items() for field in case.changed]
)
def test_one_field_changed_alone(tmp_path: Path, name: str, field: str) -> None:
    case = architectures.CASES[name]
    assert case.changed[field] != getattr(case.config, field)
    fields = dataclasses.replace(case.config, **{field: case.changed[field]})
    folder = save(tmp_path, fields, 0)
    config = read_config(folder)
    assert config.encoder == fields
    weights = load_weights(folder, config)
    texts = random_ids(fields, 0)
    assert_traces_equal(f"parity {name}, one field changed", fields, weights, oracle.load(folder), texts)


@each_architecture
def test_every_field_is_changed(name: str) -> None:
    case = architectures.CASES[name]
    assert set(case.changed) == {field.name for field in dataclasses.fields(case.config)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, case in architectures.CASES.items() for kind in (None, *case.heads)],
)
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "10KB"}], ids=["one file", "shards"])
def test_every_form_in_which_transformers_saves(
    tmp_path: Path, name: str, kind: str | None, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    fields = architectures.CASES[name].config
    folder = save(tmp_path, fields, 3, kind, dtype=dtype, **options)
    assert (folder / "model.safetensors.index.json").exists() == bool(options)
    if kind is not None and kind.endswith("ForCausalLM"):
        # Without its own files sentence-transformers would pool the last token, which is refused.
        with pytest.raises(ConfigError, match=kind):
            read_config(folder)
        tiny.write_sentence_transformers(folder)
    config = read_config(folder)
    weights = load_weights(folder, config)
    model = oracle.load(folder)
    want = oracle.tensors(model)
    for tensor, array in exact.named(fields, weights).items():
        np.testing.assert_array_equal(array, want.pop(tensor), err_msg=tensor)
    assert not want
    texts = random_ids(fields, 3)
    assert_traces_equal(f"parity saved {name}", fields, weights, model, texts)


class OnnxInputs(torch.nn.Module):
    """A BertModel called as exporters call it: by its tensors alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embeddings, self.encoder = model.embeddings, model.encoder

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.encoder(self.embeddings(input_ids))[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_onnx_export(tmp_path: Path, place: str) -> None:
    model = oracle.build(tiny.CONFIG, tiny.tensors())
    tiny.write_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    torch.onnx.export(OnnxInputs(model), (torch.tensor([[1, 2, 3]]),), path, dynamo=False)
    loaded = exact.named(tiny.CONFIG, load_weights(tmp_path, read_config(tmp_path)))
    assert {name: array.tobytes() for name, array in loaded.items()} == {
        name: array.tobytes() for name, array in tiny.tensors().items()
    }


@pytest.fixture(scope="module")
def gte_model(gte_small: Path) -> Any:
    return oracle.load(gte_small)


# From two tokens ([CLS] and [SEP]) to more than the model reads.
WORD_COUNTS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 500)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    words = (LONG * 20).split()
    return [" ".join(words[7 * i : 7 * i + count]) for i, count in enumerate(WORD_COUNTS)]


def test_gte_small_stage_by_stage(embedder: Embedder, gte_model: Any, texts: list[str]) -> None:
    weights = load_weights(embedder.source.folder, embedder.config)
    ids = embedder.tokenize(texts)["input_ids"]
    assert min(map(len, ids)) == 2
    assert max(embedder.count_tokens(texts)) > max(map(len, ids)) == 512
    assert_traces_equal("parity gte-small", embedder.config.encoder, weights, gte_model, [[101], *ids])


@backends
def test_gte_small_in_batches_equals_transformers_one_by_one(
    gte_small: Path, gte_model: Any, texts: list[str], backend: str
) -> None:
    embedder = Embedder(gte_small, backend=backend)
    vectors = embedder.encode(texts, truncation="ignore")
    for ids, vector in zip(embedder.tokenize(texts)["input_ids"], vectors, strict=True):
        want = oracle.trace(gte_model, ids)["normalized"]
        exact.assert_stages_equal(
            f"parity gte-small, {backend}, encode", {"normalized": vector}, {"normalized": want}
        )
