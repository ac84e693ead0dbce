"""Everything around the encoder against sentence-transformers, run beside it on the same model folder."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import architectures
import exact
import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from nasty import NASTY
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.util import quantize_embeddings

import minigte
from minigte import AssumptionWarning, Embedder
from minigte.models import bloom
from minigte.vectors.pooling import POOLING_MODES
from minigte.vectors.quantization import PRECISIONS
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS

Float32 = npt.NDArray[np.float32]

TEXTS = [
    "the cat sat on the mat",
    "",
    "a dog",
    "running dogs, running cats: 42!",
    "dog a",
    "the mats",
    "q",
    "a cat. " * 30,  # more than the tiny model reads
]


def load_sentence_transformer(folder: Path, **options: Any) -> SentenceTransformer:
    model = SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True, **options
    )
    return model.eval()


def write(folder: Path, **options: Any) -> Path:
    return tiny.write_sentence_transformers(tiny.write_model(folder, seed=5), **options)


def assert_close(got: Float32, want: Float32) -> None:
    """Equal within the bound on vectors, relative to their size."""
    assert got.dtype == want.dtype == np.float32
    assert exact.difference(got, want) <= exact.VECTOR_BOUND


def test_gte_small_on_nasty_texts(embedder: Embedder) -> None:
    texts = list(NASTY.values())
    want = load_sentence_transformer(embedder.source.folder).encode(texts, normalize_embeddings=True)
    assert_close(embedder.encode(texts, truncation="ignore"), want)


POOLINGS = [(mode,) for mode in POOLING_MODES] + [("cls", "mean"), ("max", "lasttoken", "weightedmean")]


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalize"])
@pytest.mark.parametrize("form", ["old", "new", "saved by sentence-transformers"])
@pytest.mark.parametrize("modes", POOLINGS, ids="+".join)
def test_pooling(tmp_path: Path, modes: tuple[str, ...], form: str, normalize: bool) -> None:
    folder = write(tmp_path / "a", form="old" if form == "old" else "new", modes=modes, normalize=normalize)
    model = load_sentence_transformer(folder)
    if form.startswith("saved"):
        model.save(str(tmp_path / "b"), create_model_card=False)
        folder = tmp_path / "b"
    embedder = Embedder(folder)
    assert embedder.config.assumed in ((), ("max_seq_length 32",))
    assert_close(embedder.encode(TEXTS, truncation="ignore"), model.encode(TEXTS))


@pytest.mark.parametrize("name", architectures.CASES)
def test_every_architecture(tmp_path: Path, name: str) -> None:
    folder = tiny.write_model(tmp_path, architectures.CASES[name].config, seed=5)
    if name == "modernbert":  # transformers wants the padding token in the vocabulary
        content = json.loads((folder / "config.json").read_text())
        tiny.write_json(folder / "config.json", {**content, "pad_token_id": 0})
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    model.max_seq_length = embedder.max_seq_length  # of MPNet and RoBERTa it reads beyond their positions
    assert_close(embedder.encode(TEXTS, truncation="ignore"), model.encode(TEXTS))


def test_a_tokenizer_that_adds_no_special_tokens(tmp_path: Path) -> None:
    tiny.write_model(tmp_path, bloom.Config(vocab_size=256, hidden_size=20, n_layer=2, n_head=5), seed=5)
    tiny.write_byte_tokenizer(tmp_path)
    folder = tiny.write_sentence_transformers(tmp_path, modes=["weightedmean"], normalize=False)
    texts = ["the cat [sat] on the mat", "{a dog}", "é, 中! a"]
    assert_close(Embedder(folder).encode(texts), load_sentence_transformer(folder).encode(texts))


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("name", ["bloom", "modernbert", "t5"])
def test_padding_in_front(tmp_path: Path, name: str, mode: str) -> None:
    """There a text's vector is the same whatever the batch pads it to, where places have no rows."""
    folder = tiny.write_model(tmp_path, architectures.CASES[name].config, seed=5, pad_token_id=0)
    tiny.write_sentence_transformers(folder, modes=[mode], normalize=False)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tiny.write_json(folder / "tokenizer_config.json", {**settings, "padding_side": "left"})
    model = load_sentence_transformer(folder)
    texts = [text for text in TEXTS if len(text) < 40]
    assert model.tokenizer(texts, padding=True)["attention_mask"][-1][0] == 0
    assert_close(Embedder(folder).encode(texts), model.encode(texts))


def test_a_folder_of_transformers_alone_is_mean_pooled_as_there(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path, seed=5, bare=True)
    with pytest.warns(AssumptionWarning, match="no modules.json: mean pooling and no L2 norm"):
        embedder = Embedder(folder)
    model = load_sentence_transformer(folder)
    assert_close(embedder.encode(TEXTS, truncation="ignore"), model.encode(TEXTS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "query: ", "passage": "passage: ", "mine": "the "}
    path = tmp_path_factory.mktemp("model")
    return write(path, normalize=False, prompts=prompts, default_prompt_name=None)


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceTransformer:
    return load_sentence_transformer(folder)


@pytest.fixture(scope="module")
def tiny_embedder(folder: Path) -> Embedder:
    return Embedder(folder)


@pytest.mark.parametrize("truncate_dim", [None, 1, 7, 20])
@pytest.mark.parametrize("normalize_embeddings", [False, True])
@pytest.mark.parametrize("options", [{}, {"prompt_name": "mine"}, {"prompt": "dog "}, {"prompt": ""}])
@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_encode(
    tiny_embedder: Embedder,
    model: SentenceTransformer,
    method: str,
    options: dict[str, Any],
    normalize_embeddings: bool,
    truncate_dim: int | None,
) -> None:
    options = {**options, "normalize_embeddings": normalize_embeddings, "truncate_dim": truncate_dim}
    want = getattr(model, method)(TEXTS, **options)
    assert_close(getattr(tiny_embedder, method)(TEXTS, truncation="ignore", **options), want)
    one = getattr(tiny_embedder, method)(TEXTS[0], **options)
    assert_close(one, getattr(model, method)(TEXTS[0], **options))


@pytest.mark.parametrize("names", [("document",), ("corpus",), ("passage", "corpus", "document"), ()])
def test_prompts_of_queries_and_documents(tmp_path: Path, names: tuple[str, ...]) -> None:
    prompts = {name: f"{name[0]} " for name in names}
    folder = write(tmp_path, normalize=False, prompts=prompts, default_prompt_name=next(iter(names), None))
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    for method in ("encode", "encode_query", "encode_document"):
        got = getattr(embedder, method)(TEXTS, truncation="ignore")
        assert_close(got, getattr(model, method)(TEXTS))


@pytest.mark.parametrize("modes", [("cls",), ("lasttoken",), ("mean", "max"), ("mean_sqrt_len_tokens",)])
def test_the_prompts_tokens_are_not_pooled(tmp_path: Path, modes: tuple[str, ...]) -> None:
    """include_prompt false: a prompt is read by the encoder, and left out of the pooling."""
    folder = write(tmp_path, modes=modes, prompts={"query": "query: the ", "document": ""})
    path = folder / "1_Pooling" / "config.json"
    pooling = json.loads(path.read_text(encoding="utf-8"))
    tiny.write_json(path, {**pooling, "include_prompt": False})
    model, embedder = load_sentence_transformer(folder), Embedder(folder)
    for method in ("encode", "encode_query", "encode_document"):
        got = getattr(embedder, method)(TEXTS, truncation="ignore")
        assert_close(got, getattr(model, method)(TEXTS))
    prompt = "a cat. " * 30  # more than the tiny model reads: [SEP] is left
    assert_close(
        embedder.encode(TEXTS, prompt=prompt, truncation="ignore"), model.encode(TEXTS, prompt=prompt)
    )
    want = model.encode(TEXTS[0], prompt="the ", output_value=None)["sentence_embedding"].numpy()
    assert_close(embedder.encode(TEXTS[0], prompt="the ", output_value=None)["sentence_embedding"], want)


def test_options_of_the_constructor(folder: Path) -> None:
    options = {"prompts": {"other": "mat "}, "default_prompt_name": "other", "truncate_dim": 9}
    embedder, model = Embedder(folder, **options), load_sentence_transformer(folder, **options)
    for name in (None, "mine", "query", "document"):
        got = embedder.encode(TEXTS, prompt_name=name, truncation="ignore")
        assert_close(got, model.encode(TEXTS, prompt_name=name))


def test_token_embeddings(tiny_embedder: Embedder, model: SentenceTransformer) -> None:
    got = tiny_embedder.encode(TEXTS, output_value="token_embeddings", truncation="ignore")
    want = model.encode(TEXTS, output_value="token_embeddings")
    for ours, theirs in zip(got, want, strict=True):
        assert_close(ours, theirs.numpy())
    one = model.encode(TEXTS[0], output_value="token_embeddings")
    assert_close(tiny_embedder.encode(TEXTS[0], output_value="token_embeddings"), one.numpy())


def test_no_texts(tiny_embedder: Embedder, model: SentenceTransformer) -> None:
    """sentence-transformers forgets the width of nothing; minigte keeps it, so that results stack."""
    assert len(model.encode([])) == 0
    assert tiny_embedder.encode([]).shape == (0, 20)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_quantize_embeddings_gives_the_same_codes(precision: str) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((500, 64), np.float32)
    embeddings[:, 3] = 0.25  # a component without a range
    embeddings[7] = 0
    ranges = np.stack([embeddings.min(axis=0) / 2, embeddings.max(axis=0) / 2])  # some values outside
    for options in ({}, {"calibration_embeddings": embeddings[:40]}, {"ranges": ranges}):
        got = minigte.quantize_embeddings(embeddings, precision, **options)
        want = quantize_embeddings(embeddings, precision, **options)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
@pytest.mark.parametrize("width", [1, 7, 8, 20])
def test_binary_codes_of_any_width(precision: str, width: int) -> None:
    embeddings = np.random.default_rng(width).standard_normal((9, width), np.float32)
    got = minigte.quantize_embeddings(embeddings, precision)
    np.testing.assert_array_equal(got, quantize_embeddings(embeddings, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_encode_with_a_precision(tiny_embedder: Embedder, model: SentenceTransformer, precision: str) -> None:
    """A value that lies within 1e-6 of where two codes meet may get either, so codes may differ by one."""
    got = tiny_embedder.encode(TEXTS, precision=precision, truncation="ignore")
    want = model.encode(TEXTS, precision=precision)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    embeddings = tiny_embedder.encode(TEXTS, truncation="ignore")
    np.testing.assert_array_equal(got, quantize_embeddings(embeddings, precision))
    if precision.endswith("int8"):
        assert np.abs(got.astype(int) - want).max() <= 1
    elif precision == "float32":
        assert_close(got, want)
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", SIMILARITY_FUNCTIONS)
def test_similarity(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, normalize=False, similarity_fn_name=name)
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((11, 20), np.float32), rng.standard_normal((7, 20), np.float32)
    a[0] = 0
    b[3] = a[5]
    assert_close(embedder.similarity(a, b), model.similarity(a, b).numpy())
    assert_close(embedder.similarity(a[1], b), model.similarity(a[1], b).numpy())
    assert_close(embedder.similarity_pairwise(a[:7], b), model.similarity_pairwise(a[:7], b).numpy())


@pytest.mark.parametrize(("queries", "corpus", "top_k"), [(1, 1, 1), (5, 300, 10), (300, 40, 100)])
@pytest.mark.parametrize("chunk", [7, 16_384])
def test_semantic_search(queries: int, corpus: int, top_k: int, chunk: int) -> None:
    rng = np.random.default_rng(0)
    q, c = rng.standard_normal((queries, 16), np.float32), rng.standard_normal((corpus, 16), np.float32)
    got = minigte.semantic_search(q, c, top_k, corpus_chunk_size=chunk)
    want = util.semantic_search(torch.from_numpy(q), torch.from_numpy(c), top_k=top_k)
    for ours, theirs in zip(got, want, strict=True):
        assert [hit["corpus_id"] for hit in ours] == [hit["corpus_id"] for hit in theirs]
        np.testing.assert_allclose(
            [hit["score"] for hit in ours], [hit["score"] for hit in theirs], atol=exact.VECTOR_BOUND
        )


def test_semantic_search_from_text(tmp_path: Path) -> None:
    folder = write(tmp_path, prompts={"query": "query: ", "document": "the "}, similarity_fn_name="dot")
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    corpus = [f"{text} {i}" for i, text in enumerate(TEXTS[:-1] * 3)]  # no two alike, so no ties
    got = embedder.semantic_search(TEXTS[:4], iter(corpus), top_k=5, truncation="ignore")
    want = util.semantic_search(
        model.encode_query(TEXTS[:4]), model.encode_document(corpus), top_k=5, score_function=util.dot_score
    )
    for ours, theirs in zip(got, want, strict=True):
        assert [hit["corpus_id"] for hit in ours] == [hit["corpus_id"] for hit in theirs]
        np.testing.assert_allclose(
            [hit["score"] for hit in ours], [hit["score"] for hit in theirs], atol=exact.VECTOR_BOUND
        )


LIMITS = list(itertools.product([None, 5, 20], [None, 3, 12, 10**30]))


@pytest.mark.parametrize(("max_seq_length", "model_max_length"), LIMITS)
def test_max_seq_length(tmp_path: Path, max_seq_length: int | None, model_max_length: int | None) -> None:
    """sentence_bert_config.json decides; without it the tokenizer; never more than there are positions."""
    sentence_bert = {"do_lower_case": False}
    if max_seq_length is not None:
        sentence_bert["max_seq_length"] = max_seq_length
    folder = write(tmp_path, normalize=False, sentence_bert=sentence_bert)
    tiny.write_tokenizer(folder, model_max_length=model_max_length)
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    assert embedder.max_seq_length == model.max_seq_length
    ids = embedder.tokenize(TEXTS)["input_ids"]
    assert ids == [model.tokenize([text])["input_ids"][0].tolist() for text in TEXTS]
    assert_close(embedder.encode(TEXTS, truncation="ignore"), model.encode(TEXTS))


@pytest.mark.parametrize("lowercase", [False, True], ids=["cased tokenizer", "uncased tokenizer"])
@pytest.mark.parametrize("do_lower_case", [False, True])
def test_do_lower_case(tmp_path: Path, do_lower_case: bool, lowercase: bool) -> None:
    sentence_bert = {"max_seq_length": 32, "do_lower_case": do_lower_case}
    folder = write(tmp_path, normalize=False, sentence_bert=sentence_bert)
    tiny.write_tokenizer(folder, lowercase=lowercase)
    embedder, model = Embedder(folder), load_sentence_transformer(folder)
    for text in ("The CAT sat", "A [SEP] Dog [MASK] Cat", "É [cls] [CLS]", "QUERY: RUNNING Mats"):
        assert embedder.tokenize(text)["input_ids"] == model.tokenize([text])["input_ids"][0].tolist()
