"""What a caller of Embedder relies on, with a tiny model; and gte-small's own example."""

import contextlib
import copy
import functools
import importlib
import pickle
import re
import subprocess
import sys
import threading
import warnings

import exact
import numpy as np
import pytest
import tiny

import minigte
from minigte import (
    Embedder,
    InputError,
    InputTooLongError,
    MinigteError,
    ModelNotFoundError,
    TokenizerError,
    TruncationWarning,
    UnsupportedError,
)
from minigte.explain.files import json_parts
from minigte.explain.page import page
from minigte.vectors.pooling import normalize
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS

TEXTS = ["the cat sat", "", "a dog", "   ", "the dog sat on the mat", "run"]


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory):
    folder = tiny.write_model(tmp_path_factory.mktemp("model"))
    tiny.write_sentence_transformers(folder, prompts={"query": "query: ", "document": "document: "})
    return Embedder(folder)


def test_the_model_cards_example(embedder):
    sentences = [
        "what is the capital of China?",
        "how to implement quick sort in python?",
        "Beijing",
        "sorting algorithms",
    ]
    vectors = embedder.encode(sentences)
    scores = 100 * embedder.similarity(vectors[0], vectors[1:])[0]
    assert [f"{score:.2f}" for score in scores] == ["67.29", "86.69", "71.30"]


def test_a_str_gives_a_vector_and_a_list_a_matrix(tiny_embedder):
    vectors = tiny_embedder.encode(TEXTS)
    assert vectors.shape == (6, 20)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    one = tiny_embedder.encode(TEXTS[0])
    assert one.shape == (20,)
    np.testing.assert_allclose(one, vectors[0], atol=1e-6)


def test_texts_of_equal_tokens_are_computed_once(tiny_embedder, monkeypatch):
    computed = []
    forward = tiny_embedder.backend.last_hidden_states

    def counted(batches):
        for batch, hidden in forward(batches):
            computed.append(len(batch.index))
            yield batch, hidden

    monkeypatch.setattr(tiny_embedder.backend, "last_hidden_states", counted)
    texts = ["a cat", "a dog", "a  cat", "", "a dog", "a cat"]
    got = tiny_embedder.encode(texts)
    assert sum(computed) == 3
    for text, vector in zip(texts, got, strict=True):
        np.testing.assert_array_equal(vector, tiny_embedder.encode(text))
    first, second = tiny_embedder.encode(["a cat", "a cat"], output_value="token_embeddings")
    first[:] = 0  # nobody else's
    assert second.any()


def test_order_is_kept_whatever_the_batches(tiny_embedder):
    texts = ["a " * n for n in (3, 20, 0, 7, 7, 1, 15)] * 3
    alone = np.stack([tiny_embedder.encode(text) for text in texts])
    for batch_size in (1, 2, 5, 1000):
        np.testing.assert_allclose(tiny_embedder.encode(texts, batch_size=batch_size), alone, atol=1e-6)


def test_nothing_gives_no_rows(tiny_embedder):
    for nothing in ([], (), iter(())):
        vectors = tiny_embedder.encode(nothing)
        assert vectors.shape == (0, 20)
        assert vectors.dtype == np.float32
    assert tiny_embedder.encode([], precision="ubinary").shape == (0, 3)
    assert tiny_embedder.encode([], precision="int8").dtype == np.int8
    assert tiny_embedder.encode([], output_value="token_embeddings") == []


def test_empty_and_blank_texts_are_the_special_tokens_alone(tiny_embedder):
    empty, blank = tiny_embedder.encode(["", " \n\t"])
    np.testing.assert_array_equal(empty, blank)
    assert tiny_embedder.tokenize(["", " "])["input_ids"] == [[2, 3], [2, 3]]


def test_any_iterable_is_consumed_as_it_comes(tiny_embedder):
    taken = []

    def texts():
        for i in range(5000):
            taken.append(i)
            yield "cat"

    stream = tiny_embedder.encode_stream(texts())
    assert next(stream).shape == (1024, 20)
    assert len(taken) == 1024
    assert sum(len(vectors) for vectors in stream) == 5000 - 1024
    for iterable in (tuple(TEXTS), dict.fromkeys(TEXTS).keys(), np.array(TEXTS), (text for text in TEXTS)):
        np.testing.assert_array_equal(tiny_embedder.encode(iterable), tiny_embedder.encode(TEXTS))


@pytest.mark.parametrize("sentences", [None, 3, 1.5, b"bytes", bytearray(b"x"), {"a": "b"}])
def test_what_is_no_iterable_of_texts(tiny_embedder, sentences):
    kind = type(sentences).__name__
    with pytest.raises(InputError, match=f"sentences must be a str or an iterable of str, not {kind}"):
        tiny_embedder.encode(sentences)


def test_one_text_where_many_are_taken(tiny_embedder):
    for read in (tiny_embedder.encode_stream, lambda text: tiny_embedder.semantic_search("cat", text)):
        with pytest.raises(
            InputError, match="sentences must be an iterable of str, not one str: put it in a list"
        ):
            list(read("cat"))


class Frame(list):
    """What a DataFrame is to a caller that knows none: iter gives the names of its columns."""

    shape = (1, 1)


@pytest.mark.parametrize("sentences", [np.array("cat"), np.array([["cat", "dog"]]), Frame(["a column"])])
def test_a_table_is_no_column_of_texts(tiny_embedder, sentences):
    with pytest.raises(
        InputError, match=rf"one dimension, and this \w+ has {len(sentences.shape)}: give one column"
    ):
        tiny_embedder.encode(sentences)


def columns(texts):
    """The same texts as a column of each library that is here."""
    pyarrow = pytest.importorskip("pyarrow")
    yield pyarrow.array(texts)
    yield pyarrow.array(texts, pyarrow.large_string())
    yield pyarrow.array(texts).dictionary_encode()
    yield pyarrow.chunked_array([texts[:2], texts[2:]])
    yield pyarrow.table({"text": texts})["text"]
    with contextlib.suppress(ImportError):
        pandas = importlib.import_module("pandas")
        yield from (pandas.Series(texts, dtype=dtype) for dtype in (None, object, "string", "category"))
        yield pandas.DataFrame({"text": texts})["text"]
    with contextlib.suppress(ImportError):
        polars = importlib.import_module("polars")
        yield from (polars.Series(texts), polars.Series(texts, dtype=polars.Categorical))


def test_columns_of_tables(tiny_embedder):
    want = tiny_embedder.encode(TEXTS)
    for column in columns(TEXTS):
        np.testing.assert_array_equal(tiny_embedder.encode(column), want)
        assert tiny_embedder.count_tokens(column) == tiny_embedder.count_tokens(TEXTS)


def test_nulls_are_named_with_the_way_out(tiny_embedder):
    missing = [np.array(["cat", None], object), ["cat", float("nan")], ["cat", np.float64("nan")]]
    for column in (*columns(["cat", None, "dog"]), *missing):
        with pytest.raises(
            InputError, match=r"sentences\[1\] is \w+, not str: it is missing; .*fill them with ''"
        ):
            tiny_embedder.encode(column)


@pytest.mark.parametrize(
    ("library", "table"), [("pyarrow", "table"), ("pandas", "DataFrame"), ("polars", "DataFrame")]
)
def test_a_whole_table_is_no_column(tiny_embedder, library, table):
    table = getattr(pytest.importorskip(library), table)({"text": ["cat"]})
    with pytest.raises(InputError, match=f"this {type(table).__name__} has 2: give one column"):
        tiny_embedder.encode(table)


@pytest.mark.parametrize("item", [None, b"bytes", 7, float("nan"), ["a list"], "\ud800 alone"])
@pytest.mark.parametrize("position", [0, 2, 1500])
def test_an_item_that_is_no_text_is_named_with_its_position(tiny_embedder, item, position):
    texts = ["cat"] * 2000
    texts[position] = item
    with pytest.raises(InputError, match=rf"sentences\[{position}\] "):
        tiny_embedder.encode(texts)


def test_truncation_is_never_silent(tiny_embedder):
    texts = ["cat"] * 3 + ["cat " * 31] * 2  # the model reads 32 tokens, 2 of them special
    with pytest.warns(TruncationWarning, match=r"2 of 5 texts have more than 32 tokens and were cut there"):
        cut = tiny_embedder.encode(texts)
    with pytest.raises(InputTooLongError, match=r"sentences\[3\] has 33 tokens, the model reads 32"):
        tiny_embedder.encode(texts, truncation="error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(tiny_embedder.encode(texts, truncation="ignore"), cut)
        tiny_embedder.encode("cat " * 30)
    np.testing.assert_allclose(cut[3], tiny_embedder.encode("cat " * 30), atol=1e-6)
    assert tiny_embedder.count_tokens(texts) == [3, 3, 3, 33, 33]
    assert tiny_embedder.count_tokens("") == 2


def test_the_warning_names_the_callers_line(tiny_embedder):
    """Whatever lies between; encode_query calls encode, which calls encode_stream."""
    long = ["cat " * 31]
    calls = {
        "encode": lambda: tiny_embedder.encode(long),
        "encode_query": lambda: tiny_embedder.encode_query(long),
        "encode_document": lambda: tiny_embedder.encode_document(long),
        "encode_stream": lambda: list(tiny_embedder.encode_stream(long)),
        "semantic_search": lambda: tiny_embedder.semantic_search("cat", long),
        "encode_multi_process": lambda: tiny_embedder.encode_multi_process(long, {}),
        "explain": lambda: tiny_embedder.explain(long[0]),
    }
    for name, call in calls.items():
        with pytest.warns(TruncationWarning) as caught:
            call()
        assert [(each.filename, each.lineno) for each in caught] == [
            (__file__, call.__code__.co_firstlineno)
        ], name


def test_what_was_cut_is_logged(tiny_embedder, caplog):
    with caplog.at_level("INFO", logger="minigte"):
        tiny_embedder.encode(["cat " * 31, "cat"], truncation="ignore")
    assert [(record.name, record.levelname) for record in caplog.records] == [("minigte.embedder", "INFO")]
    assert caplog.records[0].getMessage().startswith("1 of 2 texts have more than 32 tokens")


def test_what_was_loaded_is_logged(tiny_embedder, caplog):
    with caplog.at_level("INFO", logger="minigte"):
        Embedder(tiny_embedder.source.folder)
    message = caplog.records[-1].getMessage()
    for part in (repr(tiny_embedder), str(tiny_embedder.source.folder), " s"):
        assert part in message


def test_two_prompts_are_logged(tiny_embedder, caplog):
    tiny_embedder.encode("cat", prompt_name="query", prompt="a ")
    assert "prompt_name 'query' is not used" in caplog.text


def test_max_seq_length(tiny_embedder):
    short = Embedder(tiny_embedder.source.folder, max_seq_length=5)
    with pytest.warns(TruncationWarning, match="more than 5 tokens"):
        cut = short.encode("the cat sat on the mat")
    np.testing.assert_allclose(cut, tiny_embedder.encode("the cat sat"), atol=1e-6)
    assert (
        short.tokenize("the cat sat on the mat")["input_ids"]
        == tiny_embedder.tokenize("the cat sat")["input_ids"]
    )
    for wrong in (0, -1, 33):
        with pytest.raises(
            InputError, match=f"max_seq_length must be a whole number from 1 to 32, not {wrong}"
        ):
            Embedder(tiny_embedder.source.folder, max_seq_length=wrong)


copied = pytest.mark.parametrize(
    "other",
    [copy.deepcopy, copy.copy, lambda embedder: pickle.loads(pickle.dumps(embedder))],
    ids=["deepcopy", "copy", "pickle"],
)


@copied
def test_a_copy_is_loaded_anew_with_the_same_settings(tiny_embedder, other):
    prompts = {"query": "a "}
    embedder = Embedder(
        tiny_embedder.source.folder, prompts=prompts, max_seq_length=5, truncate_dim=7, threads=2
    )
    prompts["query"] = "changed after the Embedder was made"
    options = {"prompt_name": "query", "truncation": "ignore"}
    vectors = embedder.encode(TEXTS, **options)  # the helpers run now
    again = other(embedder)
    assert again.backend is not embedder.backend
    assert again.backend.threads == 2
    assert repr(again) == repr(embedder)
    np.testing.assert_array_equal(again.encode(TEXTS, **options), vectors)
    again.prompts["query"] = "changed in the copy"
    assert embedder.prompts["query"] == "a "


@copied
def test_a_copy_keeps_what_was_assigned(tiny_embedder, other):
    embedder = Embedder(tiny_embedder.source.folder)
    embedder.prompts = {"mine": "the "}
    embedder.default_prompt_name = "mine"
    embedder.max_seq_length = 6
    embedder.truncate_dim = 9
    embedder.similarity_fn_name = "euclidean"
    embedder.note = "of the caller's own"
    again = other(embedder)
    for name in (
        "prompts",
        "default_prompt_name",
        "max_seq_length",
        "truncate_dim",
        "similarity_fn_name",
        "note",
    ):
        assert getattr(again, name) == getattr(embedder, name), name
    vectors = embedder.encode(TEXTS, truncation="ignore")
    np.testing.assert_array_equal(again.encode(TEXTS, truncation="ignore"), vectors)
    np.testing.assert_array_equal(again.similarity(vectors, vectors), embedder.similarity(vectors, vectors))


class Named(Embedder):
    """A subclass as programs write it: arguments by position, attributes of its own."""

    def __init__(self, folder, label, size):
        super().__init__(folder, truncate_dim=size)
        self.label = label


@copied
def test_a_subclass_with_positional_arguments(tiny_embedder, other):
    named = Named(tiny_embedder.source.folder, "a label", 6)
    again = other(named)
    assert type(again) is Named
    assert (again.label, again.embedding_dimension) == ("a label", 6)
    np.testing.assert_array_equal(again.encode("cat"), named.encode("cat"))


@copied
def test_a_copy_never_becomes_another_model(tmp_path, monkeypatch, other):
    """A folder called as a known model is: from another working directory the copy is still that folder's."""
    tiny.write_model(tmp_path / "gte-small")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    embedder = Embedder("gte-small")
    data = pickle.dumps(embedder)
    vector = embedder.encode("cat")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert embedder.explain("cat").vector.shape == (20,)
    np.testing.assert_array_equal(other(embedder).encode("cat"), vector)
    (tmp_path / "gte-small").rename(tmp_path / "moved")
    for load in (lambda: pickle.loads(data), lambda: other(embedder)):
        with pytest.raises(ModelNotFoundError, match=re.escape(str(tmp_path / "gte-small"))):
            load()


def test_a_token_is_in_no_pickle(tiny_embedder):
    embedder = Embedder(tiny_embedder.source.folder, token="hf_a_secret")
    assert b"hf_a_secret" not in pickle.dumps(embedder)


@copied
def test_an_embedder_with_a_backend_of_the_callers_is_not_copied(tiny_embedder, other):
    embedder = Embedder(tiny_embedder.source.folder)
    embedder.backend = Embedder(tiny_embedder.source.folder, backend="numpy").backend
    with pytest.raises(UnsupportedError, match="backend"):
        other(embedder)


def test_settings_can_be_assigned(tiny_embedder):
    embedder = Embedder(tiny_embedder.source.folder)
    whole = embedder.encode(TEXTS)
    embedder.truncate_dim = 7
    assert embedder.embedding_dimension == embedder.get_sentence_embedding_dimension() == 7
    np.testing.assert_array_equal(embedder.encode(TEXTS), whole[:, :7])
    embedder.truncate_dim = None
    embedder.max_seq_length = 5
    assert embedder.get_max_seq_length() == 5
    with pytest.warns(TruncationWarning, match="more than 5 tokens"):
        cut = embedder.encode("the cat sat on the mat")
    np.testing.assert_allclose(cut, tiny_embedder.encode("the cat sat"), atol=1e-6)
    embedder.max_seq_length = 32
    embedder.prompts = {"corpus": "a ", "mine": "the "}
    np.testing.assert_array_equal(embedder.encode_document("cat"), embedder.encode("a cat"))
    np.testing.assert_array_equal(embedder.encode_query("cat"), embedder.encode("cat"))
    embedder.default_prompt_name = "mine"
    np.testing.assert_array_equal(embedder.encode("cat"), tiny_embedder.encode("the cat"))
    np.testing.assert_array_equal(embedder.encode_query("cat"), tiny_embedder.encode("the cat"))
    for name, function in SIMILARITY_FUNCTIONS.items():
        embedder.similarity_fn_name = name
        np.testing.assert_array_equal(embedder.similarity(whole, whole), function.matrix(whole, whole))
        np.testing.assert_array_equal(
            embedder.similarity_pairwise(whole, whole), function.pairwise(whole, whole)
        )
        assert embedder.config.similarity_fn_name == embedder.similarity_fn_name == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("truncate_dim", 0),
        ("truncate_dim", 21),
        ("truncate_dim", "8"),
        ("max_seq_length", 33),
        ("max_seq_length", 16.0),
        ("similarity_fn_name", "cos"),
        ("similarity_fn_name", None),
        ("default_prompt_name", "none"),
        ("prompts", {"query": 3}),
        ("prompts", ["query"]),
    ],
)
def test_a_setting_that_cannot_be(tiny_embedder, name, value):
    before = getattr(tiny_embedder, name)
    with pytest.raises(MinigteError, match=name):
        setattr(tiny_embedder, name, value)
    assert getattr(tiny_embedder, name) == before


@pytest.mark.parametrize(
    "name",
    ["tokenizer", "config", "source", "backend_name", "dtype", "threads", "device", "embedding_dimension"],
)
def test_what_would_change_nothing_cannot_be_assigned(tiny_embedder, name):
    with pytest.raises(UnsupportedError, match=f"'{name}' of the Embedder cannot be assigned: ."):
        setattr(tiny_embedder, name, "other")


@pytest.mark.parametrize("name", ["truncation_side", "model_max_length", "padding_side", "max_seq_length"])
def test_what_a_tokenizer_of_transformers_obeys_cannot_be_assigned(tiny_embedder, name):
    with pytest.raises(
        UnsupportedError, match=f"'{name}' of a Tokenizer cannot be assigned: .*max_seq_length"
    ):
        setattr(tiny_embedder.tokenizer, name, "left")


def test_max_seq_length_without_room_for_text(tiny_embedder):
    with pytest.raises(TokenizerError, match="max_seq_length 1 is too short"):
        Embedder(tiny_embedder.source.folder, max_seq_length=1)


def test_prompts(tiny_embedder):
    plain = tiny_embedder.encode("query: cat")
    for same in (
        tiny_embedder.encode("cat", prompt="query: "),
        tiny_embedder.encode("cat", prompt_name="query"),
        tiny_embedder.encode("cat", "query"),
        tiny_embedder.encode_query("cat"),
        Embedder(tiny_embedder.source.folder, default_prompt_name="query").encode("cat"),
        Embedder(tiny_embedder.source.folder, prompts={"q": "query: "}).encode("cat", prompt_name="q"),
    ):
        np.testing.assert_array_equal(same, plain)
    np.testing.assert_array_equal(tiny_embedder.encode_document("cat"), tiny_embedder.encode("document: cat"))
    np.testing.assert_array_equal(tiny_embedder.encode_query("cat", prompt=""), tiny_embedder.encode("cat"))
    with pytest.raises(InputError, match=r"unknown prompt_name 'none' \(known: query, document\)"):
        tiny_embedder.encode("cat", prompt_name="none")
    with pytest.raises(InputError, match="unknown default_prompt_name 'none'"):
        Embedder(tiny_embedder.source.folder, default_prompt_name="none")


def test_truncate_dim(tiny_embedder):
    whole = tiny_embedder.encode(TEXTS)
    np.testing.assert_array_equal(tiny_embedder.encode(TEXTS, truncate_dim=7), whole[:, :7])
    short = Embedder(tiny_embedder.source.folder, truncate_dim=7)
    assert short.embedding_dimension == 7
    np.testing.assert_array_equal(short.encode(TEXTS), whole[:, :7])
    assert short.encode([]).shape == (0, 7)
    unit = short.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    for wrong in (0, -3, 21):
        with pytest.raises(
            InputError, match=f"truncate_dim must be a whole number from 1 to 20, not {wrong}"
        ):
            tiny_embedder.encode(TEXTS, truncate_dim=wrong)


def test_token_embeddings(tiny_embedder):
    rows = tiny_embedder.encode(TEXTS, output_value="token_embeddings")
    assert [len(row) for row in rows] == tiny_embedder.count_tokens(TEXTS)
    pooled = np.stack([row.mean(axis=0) for row in rows])
    np.testing.assert_allclose(normalize(pooled), tiny_embedder.encode(TEXTS), atol=1e-6)
    assert tiny_embedder.encode("cat", output_value="token_embeddings").shape == (3, 20)


def test_all_there_is_of_a_text(tiny_embedder):
    options = {"truncate_dim": 9, "normalize_embeddings": True}  # the norm is of vectors alone, as there
    features = tiny_embedder.encode(TEXTS, output_value=None, **options)
    tokens = tiny_embedder.encode(TEXTS, output_value="token_embeddings")
    for each, ids, embeddings, vector in zip(
        features, tiny_embedder.tokenize(TEXTS)["input_ids"], tokens, tiny_embedder.encode(TEXTS), strict=True
    ):
        assert each["input_ids"].tolist() == ids
        assert each["token_type_ids"].tolist() == [0] * len(ids)
        assert each["attention_mask"].tolist() == [1] * len(ids)
        np.testing.assert_array_equal(each["token_embeddings"], embeddings)
        np.testing.assert_array_equal(each["sentence_embedding"], vector[:9])
    assert tiny_embedder.encode("cat", output_value=None)["sentence_embedding"].shape == (20,)
    assert tiny_embedder.encode([], output_value=None) == []
    with pytest.raises(InputError, match=r"'int8' .* omit output_value=None or precision"):
        tiny_embedder.encode(TEXTS, output_value=None, precision="int8")


@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_token_embeddings_in_fewer_bits(tiny_embedder, precision):
    rows = tiny_embedder.encode(TEXTS, output_value="token_embeddings", precision=precision)
    want = minigte.quantize_embeddings(
        tiny_embedder.encode(TEXTS, output_value="token_embeddings"), precision
    )
    for row, codes in zip(rows, want, strict=True):
        np.testing.assert_array_equal(row, codes)


@pytest.mark.parametrize("option", ["output_value", "precision", "truncation"])
def test_an_unknown_choice(tiny_embedder, option):
    with pytest.raises(InputError, match=rf"unknown {option} 'other' \(known: "):
        tiny_embedder.encode("cat", **{option: "other"})


@pytest.mark.parametrize("value", [-1, "8", 2.0, True])
@pytest.mark.parametrize("option", ["batch_size", "start", "truncate_dim", "max_seq_length", "threads"])
def test_what_is_no_count_is_refused_at_the_call(tiny_embedder, option, value):
    """Numbers from environment variables and JSON: one error, not a strange one far from its cause."""
    call = tiny_embedder.encode_stream  # which no next() follows
    if option in ("max_seq_length", "threads"):
        call = functools.partial(Embedder, backend="auto")
    texts = tiny_embedder.source.folder if isinstance(call, functools.partial) else ["cat"]
    message = rf"{option} must be a whole number from [01]( to \d+)?, not {value!r}"
    with pytest.raises(InputError, match=message):
        call(texts, **{option: value})


def test_numbers_of_numpy(tiny_embedder):
    options = {"batch_size": np.int64(2), "truncate_dim": np.int32(5), "normalize_embeddings": np.True_}
    assert tiny_embedder.encode(TEXTS, **options).shape == (6, 5)
    assert Embedder(tiny_embedder.source.folder, threads=np.int64(2)).encode(TEXTS).shape == (6, 20)


@pytest.mark.parametrize("value", ["false", 0, None, "no"])
def test_what_is_neither_true_nor_false(tiny_embedder, value):
    with pytest.raises(InputError, match=f"normalize_embeddings must be True or False, not {value!r}"):
        tiny_embedder.encode_stream(["cat"], normalize_embeddings=value)
    with pytest.raises(InputError, match=f"local_files_only must be True or False, not {value!r}"):
        Embedder(tiny_embedder.source.folder, local_files_only=value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"output_value": "other"}, "output_value"),
        ({"truncation": "other"}, "truncation"),
        ({"prompt_name": "none"}, "prompt_name"),
        ({"prompt": 3}, "the prompt is int, not str"),
        ({"convert_to_tensor": True}, "convert_to_tensor"),
    ],
)
def test_arguments_of_a_stream_are_checked_at_the_call(tiny_embedder, options, named):
    def texts():
        raise AssertionError("no text is read")
        yield

    with pytest.raises(InputError, match=named):
        tiny_embedder.encode_stream(texts(), **options)


@pytest.mark.parametrize("sentences", ["cat", None, 3, {"cat", "dog"}, np.array([["cat"]])])
def test_what_no_stream_can_read_is_refused_at_the_call(tiny_embedder, sentences):
    with pytest.raises(InputError, match="sentences must"):
        tiny_embedder.encode_stream(sentences)


@pytest.mark.parametrize("sentences", [{"cat", "dog"}, frozenset(["cat"])])
def test_a_set_has_no_order(tiny_embedder, sentences):
    for read in (tiny_embedder.encode, tiny_embedder.tokenize, tiny_embedder.count_tokens):
        with pytest.raises(InputError, match=r"an order, and a set has none: .*sorted"):
            read(sentences)


def test_codes_of_one_vector_need_ranges(tiny_embedder):
    with pytest.raises(InputError, match="'int8' needs ranges"):
        tiny_embedder.encode("cat", precision="int8")
    sample = tiny_embedder.encode(TEXTS)
    one = minigte.quantize_embeddings(sample[0], "int8", calibration_embeddings=sample)
    np.testing.assert_array_equal(one, tiny_embedder.encode(TEXTS, precision="int8")[0])


def test_similarity(tiny_embedder):
    vectors = tiny_embedder.encode(TEXTS)
    scores = tiny_embedder.similarity(vectors, vectors)
    np.testing.assert_allclose(scores, vectors @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(
        tiny_embedder.similarity_pairwise(vectors, vectors[::-1]), np.diag(scores[:, ::-1]), atol=1e-6
    )
    assert tiny_embedder.similarity(vectors[0], vectors[1]).shape == (1, 1)
    with pytest.raises(InputError, match="needs equal shapes"):
        tiny_embedder.similarity_pairwise(vectors, vectors[:2])


def test_semantic_search(tiny_embedder):
    corpus = [f"cat {'dog ' * (i % 9)}{'mat ' * (i % 7)}" for i in range(2500)]
    scores = tiny_embedder.encode_query(["cat", "dog dog"]) @ tiny_embedder.encode_document(corpus).T
    hits = tiny_embedder.semantic_search(["cat", "dog dog"], (text for text in corpus), top_k=4)
    for row, expected in zip(hits, scores, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in row], np.sort(expected)[::-1][:4], atol=1e-6)
        np.testing.assert_allclose(
            [expected[hit["corpus_id"]] for hit in row], [hit["score"] for hit in row], atol=1e-6
        )
    assert tiny_embedder.semantic_search("cat", []) == [[]]
    assert len(tiny_embedder.semantic_search("cat", ["a", "b"], top_k=10)[0]) == 2
    with pytest.raises(InputError, match="top_k must be a whole number from 1, not 0"):
        tiny_embedder.semantic_search("cat", ["a"], top_k=0)


def test_semantic_search_takes_vectors_in_every_form(tiny_embedder):
    vectors = tiny_embedder.encode(["cat", "dog dog", "mat"])
    hits = minigte.semantic_search(vectors, vectors)
    for corpus in (vectors.tolist(), list(vectors), [vectors[:2], vectors[2]], iter(vectors)):
        for row, expected in zip(minigte.semantic_search(vectors.tolist(), corpus), hits, strict=True):
            assert row == [pytest.approx(hit, abs=1e-6) for hit in expected]
    assert minigte.semantic_search(vectors[1], vectors)[0] == [
        pytest.approx(hit, abs=1e-6) for hit in hits[1]
    ]
    with pytest.raises(InputError, match=r"unknown similarity_fn_name 'cos' \(known: cosine, dot"):
        minigte.semantic_search(vectors, vectors, similarity_fn_name="cos")


@pytest.mark.parametrize("of", ["similarity", "similarity_pairwise", "semantic_search"])
def test_what_cannot_be_compared(tiny_embedder, of):
    compare = minigte.semantic_search if of == "semantic_search" else getattr(tiny_embedder, of)
    vectors = tiny_embedder.encode(["cat", "dog"])
    for texts in ("cat", ["cat", "dog"], [None, "dog"]):
        with pytest.raises(InputError, match="encode texts first"):
            compare(texts, vectors)
    with pytest.raises(InputError, match=r"not an array of shape \(1, 2, 20\)"):
        compare(vectors[None], vectors)
    if of != "similarity_pairwise":  # which says what shapes it needs
        with pytest.raises(InputError, match="vectors of 20 and of 5 components cannot be compared"):
            compare(vectors, vectors[:, :5])


@pytest.mark.parametrize("backend", exact.COMPUTING_BACKENDS)
@pytest.mark.parametrize("modes", [("mean",), ("cls", "max", "weightedmean", "mean_sqrt_len_tokens")])
def test_what_the_caller_has_told_numpy_to_raise(tmp_path, backend, modes):
    """Numerical programs set np.seterr(all="raise"); exp and tanh underflow, and nothing is wrong."""
    folder = tiny.write_sentence_transformers(tiny.write_model(tmp_path), modes=modes)
    dtypes = ("float32", "bfloat16", "int8") if backend != "numpy" else ("float32",)
    with np.errstate(all="raise"):
        for dtype in dtypes:
            embedder = Embedder(folder, backend=backend, dtype=dtype)
            vectors = embedder.encode(TEXTS, normalize_embeddings=True, truncate_dim=7)
            embedder.similarity(vectors, vectors)
            embedder.semantic_search("cat", TEXTS)
            for precision in ("int8", "uint8", "binary", "ubinary"):
                embedder.encode(TEXTS, precision=precision)
        assert page(embedder.explain_similarity("the cat", "a dog"))
        assert "".join(json_parts(embedder.explain("the cat")))


def test_one_embedder_serves_many_threads(tiny_embedder):
    texts = ["the cat sat on the mat"[: i % 23] for i in range(200)]
    expected = tiny_embedder.encode(texts)
    results = [None] * 8

    def work(i):
        results[i] = tiny_embedder.encode(texts)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_a_progress_bar_when_asked_for(tiny_embedder, capsys):
    tiny_embedder.encode(TEXTS, show_progress_bar=True)
    assert "6/6" in capsys.readouterr().err
    tiny_embedder.encode(TEXTS)
    assert capsys.readouterr() == ("", "")


def test_no_tokenizer(tmp_path):
    folder = tiny.write_model(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json in "):
        Embedder(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": {"type": "Unheard"}}'])
def test_a_tokenizer_that_is_none(tmp_path, content):
    folder = tiny.write_model(tmp_path)
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is not a tokenizer file"):
        Embedder(folder)


def test_a_vocabulary_that_does_not_match(tmp_path):
    folder = tiny.write_model(tmp_path, tiny.config(vocab_size=50))
    with pytest.raises(
        TokenizerError, match=f"largest id is {len(tiny.VOCABULARY) - 1}, the vocabulary has 50 rows"
    ):
        Embedder(folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        Embedder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelNotFoundError, match="is a file, not a model folder"):
        Embedder(tmp_path / "file")


@pytest.mark.parametrize(("option", "value"), [("backend", "cuda"), ("dtype", "float8")])
def test_an_unknown_backend_or_dtype(tiny_embedder, option, value):
    with pytest.raises(InputError, match=f"unknown {option} '{value}' "):
        Embedder(tiny_embedder.source.folder, **{option: value})


def test_every_error_is_of_one_family_and_one_line(tiny_embedder):
    for name in minigte.__all__:
        thing = getattr(minigte, name)
        if isinstance(thing, type) and issubclass(thing, Exception) and not issubclass(thing, Warning):
            assert issubclass(thing, MinigteError)
    with pytest.raises(MinigteError) as caught:
        tiny_embedder.encode([None])
    assert "\n" not in str(caught.value)


def test_importing_minigte_is_light():
    code = (
        "import sys, minigte; print({'numba', 'huggingface_hub', 'tqdm', 'click', 'onnx'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
