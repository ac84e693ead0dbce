"""What a caller of Embedder relies on, with a tiny model; and gte-small's own example."""

import copy
import pickle
import subprocess
import sys
import threading
import warnings

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
)
from minigte.vectors.pooling import normalize

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

    ndim = 2


@pytest.mark.parametrize("sentences", [np.array("cat"), np.array([["cat", "dog"]]), Frame(["a column"])])
def test_a_table_is_no_column_of_texts(tiny_embedder, sentences):
    with pytest.raises(
        InputError, match=rf"one dimension, and this \w+ has {sentences.ndim}: give one column"
    ):
        tiny_embedder.encode(sentences)


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
        with pytest.raises(InputError, match=f"max_seq_length must be from 1 to 32, not {wrong}"):
            Embedder(tiny_embedder.source.folder, max_seq_length=wrong)


def test_max_seq_length_is_not_set_afterwards(tiny_embedder):
    with pytest.raises(AttributeError, match="max_seq_length"):
        tiny_embedder.max_seq_length = 5  # would change the warning, and not where texts are cut


@pytest.mark.parametrize(
    "other", [copy.deepcopy, copy.copy, lambda embedder: pickle.loads(pickle.dumps(embedder))]
)
def test_a_copy_is_loaded_anew_with_the_same_arguments(tiny_embedder, other):
    embedder = Embedder(
        tiny_embedder.source.folder, prompts={"query": "a "}, max_seq_length=5, truncate_dim=7, threads=2
    )
    options = {"prompt_name": "query", "truncation": "ignore"}
    vectors = embedder.encode(TEXTS, **options)  # the helpers run now
    again = other(embedder)
    assert again.backend is not embedder.backend
    assert repr(again) == repr(embedder)
    np.testing.assert_array_equal(again.encode(TEXTS, **options), vectors)


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
    with pytest.raises(InputError, match="unknown prompt_name"):
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
        with pytest.raises(InputError, match=f"truncate_dim must be from 1 to 20, not {wrong}"):
            tiny_embedder.encode(TEXTS, truncate_dim=wrong)


def test_token_embeddings(tiny_embedder):
    rows = tiny_embedder.encode(TEXTS, output_value="token_embeddings")
    assert [len(row) for row in rows] == tiny_embedder.count_tokens(TEXTS)
    pooled = np.stack([row.mean(axis=0) for row in rows])
    np.testing.assert_allclose(normalize(pooled), tiny_embedder.encode(TEXTS), atol=1e-6)
    assert tiny_embedder.encode("cat", output_value="token_embeddings").shape == (3, 20)


@pytest.mark.parametrize("option", ["output_value", "precision", "truncation"])
def test_an_unknown_choice(tiny_embedder, option):
    with pytest.raises(InputError, match=rf"unknown {option} 'other' \(known: "):
        tiny_embedder.encode("cat", **{option: "other"})


@pytest.mark.parametrize("batch_size", [0, -1, "8", 2.0])
def test_batch_size(tiny_embedder, batch_size):
    with pytest.raises(InputError, match=f"batch_size must be a whole number from 1, not {batch_size!r}"):
        tiny_embedder.encode("cat", batch_size=batch_size)


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
    with pytest.raises(InputError, match="top_k must be at least 1"):
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
    with pytest.raises(InputError, match=r"unknown similarity 'cos' \(known: cosine, dot"):
        minigte.semantic_search(vectors, vectors, similarity_fn_name="cos")


@pytest.mark.parametrize("of", ["similarity", "similarity_pairwise", "semantic_search"])
def test_what_cannot_be_compared(tiny_embedder, of):
    compare = minigte.semantic_search if of == "semantic_search" else getattr(tiny_embedder, of)
    vectors = tiny_embedder.encode(["cat", "dog"])
    for texts in ("cat", ["cat", "dog"], [None, "dog"]):
        with pytest.raises(InputError, match="encode texts first"):
            compare(texts, vectors)
    with pytest.raises(InputError, match=r"not of an array \(1, 2, 20\)"):
        compare(vectors[None], vectors)
    if of != "similarity_pairwise":  # which says what shapes it needs
        with pytest.raises(InputError, match="vectors of 20 and of 5 components cannot be compared"):
            compare(vectors, vectors[:, :5])


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
