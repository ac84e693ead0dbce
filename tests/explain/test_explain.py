"""The trace: every number of a text's way to its vector, where each was made, and similarity in parts."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import exact
import numpy as np
import pytest
import tiny
from architectures import CASES
from places import ROOT

from minigte import Embedder, InputError, InputTooLongError, TruncationWarning
from minigte.explain import Stages, Trace
from minigte.explain.page import page
from minigte.explain.trace import PARTS
from minigte.loading.weights import load_weights
from minigte.vectors.pooling import POOLING_MODES

TEXT = "the cat sat on the mat"

LAYER = {
    "attention.self.query": "query = ops.linear(",
    "attention.self.key": "key = ops.linear(",
    "attention.self.value": "value = ops.linear(",
    "attention.self.scores": "scores = ops.attention_scores(",
    "attention.self.probs": "probs = ops.softmax(",
    "attention.self.context": "ops.split_heads(context[run.queries], ",
    "attention.output.dense": "dense = ops.linear(",
    "attention.output.sum": "x += dense",
    "attention.output.LayerNorm": "x = ops.layer_norm(",
    "intermediate.dense": "intermediate = ops.linear(",
    "intermediate.intermediate_act_fn": "intermediate = by_rows(",
    "output.dense": "dense = ops.linear(",
    "output.sum": "x += dense",
    "output.LayerNorm": "x = ops.layer_norm(",
}
EMBEDDINGS = {
    "embeddings.word_embeddings": "word = ops.embedding(",
    "embeddings.position_embeddings": "position = ops.embedding(",
    "embeddings.token_type_embeddings": "token_type = ops.embedding(",
    "embeddings.sum": "x = word + position + token_type",
    "embeddings.LayerNorm": "x = ops.layer_norm(",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_sentence_transformers(
        tiny.write_model(tmp_path_factory.mktemp("model")),
        prompts={"query": "query ", "document": "passage "},
    )


@pytest.fixture(scope="module", params=exact.COMPUTING_BACKENDS)
def tiny_embedder(request: pytest.FixtureRequest, folder: Path) -> Embedder:
    return Embedder(folder, backend=request.param)


@pytest.fixture(scope="module")
def trace(folder: Path) -> Trace:
    return Embedder(folder, backend="numpy").explain(TEXT)


def test_names_in_the_order_of_the_pass(trace: Trace) -> None:
    layers = [f"encoder.layer.{i}.{name}" for i in range(2) for name in LAYER]
    assert list(trace) == [*EMBEDDINGS, *layers, "pooled", "normalized"]
    assert len(trace) == len(list(trace))


def test_shapes(trace: Trace) -> None:
    tokens, hidden, wide, heads = len(trace.tokens), 20, 28, 5
    for name, array in trace.items():
        shape: tuple[int, ...] = (tokens, hidden)
        if name.endswith(("scores", "probs")):
            shape = (heads, tokens, tokens)
        elif "intermediate" in name:
            shape = (tokens, wide)
        elif name in ("pooled", "normalized"):
            shape = (hidden,)
        assert (array.shape, array.dtype) == (shape, np.float32), name


def test_each_array_knows_the_statement_that_made_it(trace: Trace) -> None:
    ends = {
        **EMBEDDINGS,
        **{f"encoder.layer.{i}.{name}": made for i in range(2) for name, made in LAYER.items()},
    }
    ends |= {"pooled": "vectors = pool(", "normalized": "vectors = normalize("}
    for name in trace:
        stage = trace.stage(name)
        lines = (ROOT / "minigte" / stage.file).read_text(encoding="utf-8").splitlines()
        files = {"pooled": "embedder.py", "normalized": "vectors/head.py"}
        assert stage.file == files.get(name, "reference/bert.py")
        assert stage.source.startswith(ends[name]), name
        shown = stage.source.splitlines()
        assert [line.strip() for line in lines[stage.line - 1 : stage.line - 1 + len(shown)]] == [
            line.strip() for line in shown
        ]
        assert stage.where == f"{stage.file}:{stage.line}"


def test_the_arrays_follow_from_each_other(trace: Trace) -> None:
    e = trace.embeddings
    np.testing.assert_array_equal(e.word_embeddings + e.position_embeddings + e.token_type_embeddings, e.sum)
    x = e.LayerNorm
    for layer in trace.layers:
        np.testing.assert_array_equal(x + layer.attention.output.dense, layer.attention.output.sum)
        np.testing.assert_array_equal(layer.attention.output.LayerNorm + layer.output.dense, layer.output.sum)
        scores = layer.attention.self.scores.astype(float)
        probs = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(layer.attention.self.probs, probs, rtol=0, atol=1e-6)
        heads = [
            layer.attention.self[part].reshape(-1, 5, 4).swapaxes(0, 1) for part in ("query", "key", "value")
        ]
        np.testing.assert_allclose(heads[0] @ heads[1].swapaxes(1, 2) / 2, scores, rtol=0, atol=1e-5)
        context = (layer.attention.self.probs @ heads[2]).swapaxes(0, 1).reshape(-1, 20)
        np.testing.assert_allclose(layer.attention.self.context, context, rtol=0, atol=1e-6)
        x = layer.output.LayerNorm
    np.testing.assert_allclose(trace.pooled, x.mean(axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(CASES))
def test_who_wrote_the_hidden_states(name: str, tmp_path: Path) -> None:
    """Shares add up to 1, and every writer's is what the sum has without it; in every architecture."""
    embedder = Embedder(tiny.write_model(tmp_path, CASES[name].config), backend="numpy")
    found = embedder.explain("a cat")
    layers, tokens = len(found.layers), len(found.tokens)
    assert found.added.shape == (2 * layers, *found.hidden_states.shape[1:])
    assert found.written.shape == (layers + 1, 2 * layers + 2, tokens)
    np.testing.assert_allclose(found.written.sum(axis=1), 1, rtol=0, atol=1e-9)
    assert not found.written[0, 1:].any()
    spec = embedder.config.spec
    if spec.norm_first:  # the sums are plain but for the last norm
        row = found.hidden_states[1].astype(float)
        parts = np.concatenate([found.hidden_states[:1], found.added[:2]]).astype(float)
        np.testing.assert_allclose(parts.sum(axis=0), row, rtol=0, atol=1e-5)
        wanted = (parts * row).sum(axis=-1) / (row * row).sum(axis=-1)
        np.testing.assert_allclose(found.written[1, :3], wanted, rtol=0, atol=1e-5)
    else:  # what one writer gives to the state is what it changes, at the same deviations
        weights = load_weights(tmp_path, embedder.config).layers[0]
        x, (attended, fed) = found.hidden_states[0].astype(float), found.added[:2].astype(float)

        def centred(a: Any) -> Any:
            return a - a.mean(axis=-1, keepdims=True)

        def deviation(a: Any) -> Any:
            return np.sqrt((centred(a) ** 2).mean(axis=-1, keepdims=True) + spec.norm_eps)

        first = weights.attention_norm_weight / deviation(x + attended)
        middle = centred(x + attended) * first + weights.attention_norm_bias
        second = weights.feed_forward_norm_weight / deviation(middle + fed)
        row = found.hidden_states[1].astype(float)
        for k, part in (
            (0, centred(centred(x) * first)),
            (1, centred(centred(attended) * first)),
            (2, centred(fed)),
        ):
            wanted = (part * second * row).sum(axis=-1) / (row * row).sum(axis=-1)
            np.testing.assert_allclose(found.written[1, k], wanted, rtol=0, atol=1e-5)


def test_the_ways_to_reach_an_array(trace: Trace) -> None:
    probs = trace["encoder.layer.1.attention.self.probs"]
    assert trace.encoder.layer[1].attention.self.probs is probs
    assert trace.layers[1]["attention.self.probs"] is probs
    assert trace["encoder.layer.1"]["attention"].self["probs"] is probs
    assert trace.stage("encoder.layer.1.attention.self.probs").array is probs
    assert {"embeddings", "encoder", "pooled", "vector", "tokens"} <= set(dir(trace))
    assert len(trace.layers) == 2
    assert trace.attentions.shape == (2, 5, len(trace.tokens), len(trace.tokens))
    np.testing.assert_array_equal(trace.attentions[1], probs)
    assert trace.hidden_states.shape == (3, len(trace.tokens), 20)
    np.testing.assert_array_equal(trace.hidden_states[2], trace.encoder.layer[1].output.LayerNorm)
    assert isinstance(trace["encoder.layer.1.attention"], Stages)


@pytest.mark.parametrize("name", ["nonsense", "encoder.layer.2", "pooled.x", "embed", ""])
def test_an_unknown_name(trace: Trace, name: str) -> None:
    with pytest.raises(KeyError, match="no stage"):
        trace[name]
    with pytest.raises(KeyError, match="no stage"):
        trace.stage(name)
    if name.isidentifier():
        with pytest.raises(AttributeError, match="no stage"):
            getattr(trace, name)


def test_the_parts_of_every_layer(trace: Trace) -> None:
    names = {"probs": "attention.self.probs", "attended": "attention.output.dense", "fed": "output.dense"}
    names["answers"] = "intermediate.intermediate_act_fn"
    assert set(names) == set(PARTS)
    for part in PARTS:
        assert trace.names_of(part) == [f"encoder.layer.{i}.{names[part]}" for i in (0, 1)]
    with pytest.raises(InputError, match=r"'output'.*attended"):
        trace.names_of("output")  # type: ignore[arg-type]


def test_what_a_notebook_shows(trace: Trace) -> None:
    shown = repr(trace).splitlines()
    assert shown[0].startswith(f"Trace of {TEXT!r} by ")
    assert "8 tokens, 35 arrays" in shown[0]
    assert [line.split() for line in shown[1:9]] == [
        [str(i), token] for i, token in zip(trace.input_ids, trace.tokens, strict=True)
    ]
    assert any(line.split() == ["pooled", "(20,)", trace.stage("pooled").where] for line in shown), (
        "name, shape, where"
    )
    assert "... and layers 1 to 1 likewise" in shown
    assert max(map(len, shown)) <= 110
    assert "self.probs" in repr(trace.layers[1].attention)


def test_nothing_can_be_changed_by_accident(trace: Trace) -> None:
    with pytest.raises(ValueError, match="read-only"):
        trace.pooled[0] = 1


def test_a_trace_can_be_copied_and_kept(trace: Trace) -> None:
    for other in (copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))):
        np.testing.assert_array_equal(other.layers[1].attention.self.probs, trace.attentions[1])
        assert repr(other) == repr(trace)


@pytest.mark.parametrize("text", [TEXT, "", "a", "[SEP] é 中 </s>", "dog " * 100])
def test_the_vector_is_that_of_encode(tiny_embedder: Embedder, folder: Path, text: str) -> None:
    trace = tiny_embedder.explain(text, truncation="ignore")
    assert trace.is_cut == (tiny_embedder.count_tokens(text) > tiny_embedder.max_seq_length)
    encode = Embedder(folder, backend="numpy").encode
    np.testing.assert_array_equal(trace.vector, encode(text, truncation="ignore"))
    assert trace.input_ids == tuple(tiny_embedder.tokenize(text)["input_ids"])
    assert [tiny.VOCABULARY[i] for i in trace.input_ids] == list(trace.tokens)


def test_gte_small(gte_small: Path) -> None:
    text = "what is the capital of China?"
    trace = Embedder(gte_small).explain(text)
    assert trace.tokens[:3] == ("[CLS]", "what", "is")
    np.testing.assert_array_equal(trace.vector, Embedder(gte_small, backend="numpy").encode(text))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_trace_is_float32_whatever_the_engine_computes_in(folder: Path, dtype: str) -> None:
    pytest.importorskip("numba")
    embedder = Embedder(folder, dtype=dtype, backend="jit")
    want = Embedder(folder, backend="numpy").encode(TEXT)
    np.testing.assert_array_equal(embedder.explain(TEXT).vector, want)


def test_prompts(tiny_embedder: Embedder) -> None:
    for options in ({"prompt_name": "query"}, {"prompt": "query "}):
        trace = tiny_embedder.explain(TEXT, **options)
        assert trace.text == "query " + TEXT
        assert exact.difference(trace.vector, tiny_embedder.encode(TEXT, **options)) <= exact.VECTOR_BOUND
    with pytest.raises(InputError, match="prompt_name"):
        tiny_embedder.explain(TEXT, prompt_name="nonsense")


def test_truncation(tiny_embedder: Embedder) -> None:
    with pytest.warns(TruncationWarning, match="1 of 1 texts") as caught:
        trace = tiny_embedder.explain("dog " * 100)
    assert caught[0].filename == __file__
    assert len(trace.tokens) == 32
    with pytest.raises(InputTooLongError):
        tiny_embedder.explain("dog " * 100, truncation="error")
    with pytest.raises(InputError, match="truncation"):
        tiny_embedder.explain(TEXT, truncation="nonsense")


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["a list"]])
def test_what_is_no_text(tiny_embedder: Embedder, text: Any) -> None:
    with pytest.raises(InputError, match="not str"):
        tiny_embedder.explain(text)


def test_weights_that_went_away(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model")
    embedders = {name: Embedder(folder, backend=name) for name in exact.COMPUTING_BACKENDS}
    (folder / "model.safetensors").unlink()
    assert embedders["numpy"].explain(TEXT).vector.shape == (20,), "it has its weights"
    with pytest.raises(Exception, match="no weights"):
        embedders["jit"].explain(TEXT)


# Similarity


def embedder_with(tmp_path: Path, *, modes: tuple[str, ...] = ("mean",), **options: Any) -> Embedder:
    own = {key: options.pop(key) for key in ("normalize", "similarity_fn_name") if key in options}
    folder = tiny.write_sentence_transformers(tiny.write_model(tmp_path / "model"), modes=modes, **own)
    return Embedder(folder, backend="numpy", **options)


@pytest.mark.parametrize("truncate_dim", [None, 7])
@pytest.mark.parametrize("similarity_fn_name", ["cosine", "dot"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("modes", [*((mode,) for mode in POOLING_MODES), ("cls", "max", "weightedmean")])
def test_the_pairs_add_up_to_the_score(
    tmp_path: Path, modes: tuple[str, ...], normalize: bool, similarity_fn_name: str, truncate_dim: int | None
) -> None:
    embedder = embedder_with(
        tmp_path,
        modes=modes,
        normalize=normalize,
        similarity_fn_name=similarity_fn_name,
        truncate_dim=truncate_dim,
    )
    got = embedder.explain_similarity(TEXT, "a dog, the dog")
    vectors = [embedder.encode(text) for text in (TEXT, "a dog, the dog")]
    want = float(embedder.similarity(*vectors)[0, 0])
    size = np.linalg.norm(vectors[0]) * np.linalg.norm(vectors[1]) if similarity_fn_name == "dot" else 1
    assert got.pairs.shape == (len(got.a.tokens), len(got.b.tokens))
    assert abs(got.pairs.sum() - want) <= 2e-6 * max(1, size)
    assert abs(got.score - want) <= 1e-6 * max(1, size)
    assert abs(got.by_layer[-1] - got.score) == 0
    assert got.by_layer.shape == (3,)
    for text in (got.a, got.b):
        np.testing.assert_allclose(text.contributions.sum(axis=0), text.vector, rtol=2e-6, atol=2e-6)


def test_the_score_by_layer_is_that_of_a_model_cut_there(tmp_path: Path) -> None:
    embedder = embedder_with(tmp_path)
    got = embedder.explain_similarity(TEXT, "a dog")
    one_layer = tiny.config(num_hidden_layers=1)
    cut = Embedder(tiny.write_model(tmp_path / "cut", one_layer), backend="numpy")
    # Both models are filled from one stream of numbers, so that the shorter is the beginning of the longer.
    want = cut.similarity(cut.encode(TEXT), cut.encode("a dog"))[0, 0]
    assert abs(got.by_layer[1] - want) <= 1e-6


def test_a_token_that_pooling_leaves_out_carries_nothing(tmp_path: Path) -> None:
    got = embedder_with(tmp_path, modes=("cls",)).explain_similarity(TEXT, "a dog")
    assert np.count_nonzero(got.pairs) == 1
    assert got.top_pairs(1) == [("[CLS]", "[CLS]", pytest.approx(got.score))]


def test_a_prompt_that_is_not_pooled_carries_nothing(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path)
    path = folder / "1_Pooling" / "config.json"
    tiny.write_json(path, {"pooling_mode": "mean", "include_prompt": False})
    embedder = Embedder(folder, backend="numpy")
    trace = embedder.explain("sat on the mat", prompt="the cat ")
    np.testing.assert_array_equal(trace.vector, embedder.encode("sat on the mat", prompt="the cat "))
    tokens = embedder.encode("the cat sat on the mat", output_value="token_embeddings")
    pooled = tokens[3:].mean(axis=0)  # behind [CLS] the cat
    np.testing.assert_allclose(trace.vector, pooled / np.linalg.norm(pooled), rtol=0, atol=1e-6)
    assert not trace.contributions[:3].any()
    np.testing.assert_allclose(trace.contributions.sum(axis=0), trace.vector, rtol=0, atol=1e-6)
    assert "the cat sat on the mat" in page(trace)


def test_a_prompt_for_each_text(folder: Path) -> None:
    embedder = Embedder(folder, backend="numpy")
    got = embedder.explain_similarity(
        embedder.explain("a cat", prompt_name="query"), embedder.explain("a dog", prompt_name="document")
    )
    want = embedder.similarity(embedder.encode_query("a cat"), embedder.encode_document("a dog"))
    assert got.a.text == "query a cat"
    assert abs(got.score - float(want[0, 0])) <= 1e-6


@pytest.mark.parametrize("name", ["euclidean", "manhattan"])
def test_other_similarities_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is not a sum over pairs of tokens"):
        embedder_with(tmp_path, similarity_fn_name=name).explain_similarity("a", "b")


def test_traces_of_two_models_are_refused(tmp_path: Path, trace: Trace) -> None:
    with pytest.raises(InputError, match="two models"):
        embedder_with(tmp_path).explain_similarity(trace, "a dog")


def test_what_a_notebook_shows_of_a_similarity(folder: Path) -> None:
    shown = repr(Embedder(folder).explain_similarity(TEXT, "a dog")).splitlines()
    assert shown[0].startswith("cosine 0.")
    assert shown[-1].startswith("by layer: ")
    assert len(shown) == 12
