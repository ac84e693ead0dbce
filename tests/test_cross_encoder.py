"""CrossEncoder without PyTorch: golden scores, the same bits in any batch, and what is refused."""

import functools
import json

import architectures
import numpy as np
import pytest
import state_dicts
import tiny
from golden_files import FOLDER, PAIRS

from minigte import (
    AssumptionWarning,
    CheckpointError,
    ConfigError,
    CrossEncoder,
    Embedder,
    InputError,
    InputTooLongError,
    TokenizerError,
    TruncationWarning,
    cross_encoder,
)
from minigte.loading.cross_encoder_config import ACTIVATION_FNS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module", params=["numpy", "auto"])
def model(request, folder):
    return CrossEncoder(folder, backend=request.param)


def changed(folder, copy, name, **keys):
    """A copy of the folder with these keys of one of its JSON files."""
    copy.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = json.loads((copy / name).read_text()) if (copy / name).exists() else {}
    tiny.write_json(copy / name, {**content, **keys})
    return copy


@pytest.mark.parametrize("backend", ["numpy", "auto"])
@pytest.mark.parametrize("name", list(architectures.WITH_HEAD))
def test_golden_scores(tmp_path, name, backend):
    golden = json.loads((FOLDER / "cross-encoders.json").read_text())
    config = architectures.CASES[name].config
    folder = tiny.write_cross_encoder(tmp_path, config, num_labels=2)
    scores = CrossEncoder(folder, backend=backend).predict(PAIRS)
    np.testing.assert_allclose(scores, golden[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("name", list(architectures.WITH_HEAD))
def test_a_score_has_the_same_bits_in_any_batch(tmp_path, name, dtype):
    folder = tiny.write_cross_encoder(tmp_path, architectures.CASES[name].config, num_labels=2)
    model = CrossEncoder(folder, dtype=dtype)
    pairs = PAIRS * 9
    expected = model.predict(pairs)
    for batch_size in (1, 2, 7, 1000):
        np.testing.assert_array_equal(model.predict(pairs, batch_size=batch_size), expected)
    order = np.random.default_rng(0).permutation(len(pairs))
    np.testing.assert_array_equal(model.predict([pairs[i] for i in order]), expected[order])
    np.testing.assert_array_equal([model.predict(pair) for pair in pairs], expected)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("bfloat16", 0.025), ("int8", 0.07)])
@pytest.mark.parametrize("name", list(architectures.WITH_HEAD))
def test_the_logits_of_each_precision(tmp_path, name, dtype, bound):
    """How far they are from the reference's, as a part of what pairs differ by.

    One of a model's matrices that is off by a fifth is beyond the bounds, and most that are by a twentieth.
    """
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, size)) for size in rng.integers(0, 12, 200)]
    pairs = [*PAIRS, *zip(texts[::2], texts[1::2], strict=True)]
    folder = tiny.write_cross_encoder(tmp_path, architectures.CASES[name].config, num_labels=3)
    options = {"activation_fn": ACTIVATION_FNS["Identity"], "truncation": "ignore"}
    expected = CrossEncoder(folder, backend="numpy").predict(pairs, **options)
    logits = CrossEncoder(folder, dtype=dtype).predict(pairs, **options)
    assert np.linalg.norm(logits - expected) < bound * np.linalg.norm(expected - expected.mean(axis=0))


def test_the_two_texts_are_told_apart(model, folder, tmp_path):
    a, b = model.predict([("cat", "dog ran"), ("cat dog", "ran")])
    assert a != b
    names = ["input_ids", "attention_mask"]
    other = changed(folder, tmp_path, "tokenizer_config.json", model_input_names=names)
    assert CrossEncoder(other, backend="numpy").predict(PAIRS[0]) != pytest.approx(model.predict(PAIRS[0]))


def test_shapes(model, tmp_path):
    assert model.predict(PAIRS).shape == (5,)
    assert model.predict(PAIRS).dtype == np.float32
    assert model.predict([]).shape == (0,)
    assert np.shape(model.predict(PAIRS[0])) == ()
    assert model.predict(iter(PAIRS)).tolist() == model.predict(np.array(PAIRS)).tolist()
    three = CrossEncoder(tiny.write_cross_encoder(tmp_path, num_labels=3), backend="numpy")
    assert three.config.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert three.predict(PAIRS).shape == (5, 3)
    assert three.predict(PAIRS[0]).shape == (3,)
    assert three.predict([]).shape == (0, 3)
    assert three.predict([], apply_softmax=True).shape == (0, 3)
    np.testing.assert_allclose(three.predict(PAIRS, apply_softmax=True).sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(InputError, match="3: use predict"):
        three.rank("cat", ["dog"])


def test_rank(model):
    documents = ["a dog", "the cat sat", "a dog", "", "mat"]
    scores = model.predict([("cat", document) for document in documents])
    ranked = model.rank("cat", documents, return_documents=True)
    assert [hit["score"] for hit in ranked] == sorted(scores.tolist(), reverse=True)
    assert [documents[hit["corpus_id"]] for hit in ranked] == [hit["text"] for hit in ranked]
    places = [hit["corpus_id"] for hit in ranked]
    assert places.index(0) < places.index(2)  # equal ones by position
    assert model.rank("cat", documents, top_k=2) == [
        {key: hit[key] for key in ("corpus_id", "score")} for hit in ranked[:2]
    ]
    assert model.rank("cat", []) == []


def test_activations(model):
    logits = model.predict(PAIRS, activation_fn=ACTIVATION_FNS["Identity"])
    np.testing.assert_allclose(model.predict(PAIRS), 1 / (1 + np.exp(-logits)), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(PAIRS, activation_fn=lambda x: 2 * x), 2 * logits)
    with pytest.raises(InputError, match="activation_fn must be"):
        model.predict(PAIRS, activation_fn="sigmoid")


def test_one_warning_for_all_chunks(model, monkeypatch):
    monkeypatch.setattr(cross_encoder, "CHUNK_PAIRS", 2)
    texts = ["cat " * 40, "cat", "cat " * 41, "dog", "cat " * 42]
    for call in (
        functools.partial(model.predict, [("cat", text) for text in texts]),
        functools.partial(model.rank, "cat", texts),
    ):
        with pytest.warns(TruncationWarning) as seen:
            call()
        assert [warning.message.facts[:14] for warning in seen] == ["3 of 5 pairs h"]


def test_long_pairs(model):
    long = "cat dog " * 100_000
    with pytest.warns(TruncationWarning, match="2 of 3 pairs have more than 32"):
        scores = model.predict([("cat", long), (long, long), ("cat", "dog")])
    # How NumPy's BLAS sums a row may depend on how many rows there are; the engine's bits do not.
    tolerance = 1e-6 if model.backend.threads is None else 0
    for score, words in zip(scores[:2], [("cat", "cat dog " * 100), ("cat dog " * 50,) * 2], strict=True):
        assert model.predict(words, truncation="ignore") == pytest.approx(score, rel=0, abs=tolerance)
    with pytest.raises(InputTooLongError, match=r"inputs\[1\] .*32 tokens"):
        model.predict([("cat", "dog"), ("cat", long)], truncation="error")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("cat", "must be pairs"),
        (3, "must be pairs"),
        (["cat"], "inputs has 1 texts, not two"),
        ([["cat", "dog"], ["cat"]], r"inputs\[1\] has 1 texts"),
        ([["cat", "dog", "mat"]], r"inputs\[0\] has 3"),
        ([["cat", "dog"], "ab"], r"inputs\[1\] is str"),
        ([["cat", None]], r"inputs\[0\]\[1\] is NoneType.*missing"),
        ([["cat", 3]], r"inputs\[0\]\[1\] is int"),
        ([["\ud800", "a"]], r"inputs\[0\]\[0\] holds a lone surrogate"),
        ([{"a": 1}], r"inputs\[0\] is dict"),
    ],
)
def test_what_is_no_pair(model, inputs, message):
    with pytest.raises(InputError, match=message):
        model.predict(inputs)


def test_options(model):
    model.predict(PAIRS, show_progress_bar=False, convert_to_numpy=True, device="cpu")
    for options in ({"batch_size": 0}, {"convert_to_tensor": True}, {"truncation": "no"}, {"device": "cuda"}):
        with pytest.raises(InputError, match=next(iter(options))):
            model.predict(PAIRS, **options)
    for options in ({"convert_to_numpy": False}, {"convert_to_tensor": True}):
        with pytest.raises(InputError, match=": scores are NumPy arrays"):
            model.predict(PAIRS, **options)
    with pytest.raises(InputError, match="top_k"):
        model.rank("cat", ["dog"], top_k=0)
    with pytest.raises(InputError, match="put it in a list"):
        model.rank("cat", "dog")
    with pytest.raises(TypeError, match="magic"):
        model.predict(PAIRS, magic=1)


def test_max_length(folder, model):
    assert CrossEncoder(folder, max_length=7, backend="numpy").max_seq_length == 7
    with pytest.raises(InputError, match=r"max_length must be .* 1 to 32"):
        CrossEncoder(folder, max_length=33, backend="numpy")
    assert CrossEncoder(folder, max_length=4, backend="numpy").predict(PAIRS[0], truncation="ignore")
    for length in (1, 2, 3):
        with pytest.raises(TokenizerError, match=rf"^max_length {length} is too short: .* 3 .* each pair$"):
            CrossEncoder(folder, max_length=length, backend="numpy")
    with pytest.raises(TokenizerError, match=r"^max_seq_length 2 is too short: .* each pair$"):
        model.max_seq_length = 2
    assert model.max_seq_length == 32


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        (
            "config.json",
            {"sentence_transformers": {"activation_fn": "torch.nn.GLU"}},
            "torch.nn.GLU",
        ),
        (
            "config.json",
            {"architectures": ["XForSequenceClassification"], "id2label": {"a": "b"}},
            "id2label",
        ),
        (
            "config.json",
            {"architectures": ["XForSequenceClassification"], "id2label": None, "num_labels": "1"},
            "num_labels must be a positive integer",
        ),
        ("config.json", {"model_type": "gpt2"}, "unknown model_type 'gpt2'"),
    ],
)
def test_what_is_refused_in_a_folder(folder, tmp_path, name, keys, message):
    with pytest.raises(ConfigError, match=message):
        CrossEncoder(changed(folder, tmp_path, name, **keys), backend="numpy")


def test_an_encoder_that_has_no_head_here(tmp_path):
    folder = tiny.write_model(tmp_path, architectures.CASES["t5"].config, bare=True)
    with pytest.raises(ConfigError, match="does not score pairs with a t5 encoder"):
        CrossEncoder(folder, backend="numpy")


def test_a_folder_of_an_embedding_model(tmp_path):
    folder = tiny.write_model(tmp_path / "whole")
    message = "Pooling makes it an embedding model: use Embedder, or minigte search"
    with pytest.raises(ConfigError, match=message):
        CrossEncoder(folder, backend="numpy")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"  # as before version 2 of sentence-transformers
    tiny.write_json(folder / "modules.json", modules)
    with pytest.raises(ConfigError, match=message):
        CrossEncoder(folder, backend="numpy")
    bare = tiny.write_model(tmp_path / "bare", bare=True, unused=True)
    with pytest.raises(
        CheckpointError, match=r"no tensor classifier\.\w+ .* embedding model has no head .*: use Embedder"
    ):
        CrossEncoder(bare, backend="numpy")


def test_a_cross_encoder_is_no_embedding_model(folder, tmp_path):
    saved = tiny.write_cross_encoder(tmp_path, modules=True)
    assert CrossEncoder(saved, backend="numpy").predict(PAIRS[0]) == pytest.approx(
        CrossEncoder(folder, backend="numpy").predict(PAIRS[0])
    )
    message = "is a cross-encoder, which scores pairs of texts: use CrossEncoder, or minigte rerank"
    with pytest.raises(ConfigError, match=message):
        Embedder(saved, backend="numpy")
    with pytest.warns(AssumptionWarning, match="is a cross-encoder .* use CrossEncoder, or minigte rerank"):
        Embedder(folder, backend="numpy")  # whose encoder may be wanted, as in sentence-transformers


def test_another_module_than_the_transformer(tmp_path):
    folder = tiny.write_cross_encoder(tmp_path, modules=True)
    modules = json.loads((folder / "modules.json").read_text())
    kind = "sentence_transformers.base.modules.dense.Dense"
    tiny.write_json(folder / "modules.json", [*modules, {"idx": 1, "name": "1", "path": "1", "type": kind}])
    with pytest.raises(ConfigError, match=f"one module, Transformer; minigte does not implement {kind}"):
        CrossEncoder(folder, backend="numpy")


def test_weights_without_a_head(folder, tmp_path):
    copy = changed(folder, tmp_path, "config.json")
    tiny.write_safetensors(copy / "model.safetensors", tiny.tensors())
    with pytest.raises(CheckpointError, match=r"no tensor pooler\.dense\.weight"):
        CrossEncoder(copy, backend="numpy")
    with pytest.raises(CheckpointError, match=r"classifier\.\w+ has shape \(1,.*\(2,"):
        CrossEncoder(folder, num_labels=2, backend="numpy")


def test_a_state_dict(folder, tmp_path, model):
    copy = changed(folder, tmp_path, "config.json")
    (copy / "model.safetensors").unlink()
    arrays = {**tiny.tensors(), **tiny.head_tensors()}
    state_dicts.write(copy / "pytorch_model.bin", state_dicts.contiguous(arrays))
    expected = CrossEncoder(folder, backend="numpy").predict(PAIRS)
    np.testing.assert_array_equal(CrossEncoder(copy, backend="numpy").predict(PAIRS), expected)
