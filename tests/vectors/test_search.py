"""Search against brute force: ties, chunks of any size, corpora in every form, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigte import InputError, cos_sim, dot_score, semantic_search
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS


def ids(hits: Any) -> list[list[int]]:
    return [[hit["corpus_id"] for hit in row] for row in hits]


def brute_force(scores: Any, top_k: int) -> list[list[int]]:
    """The best columns of each row, equal ones by position."""
    columns = range(scores.shape[1])
    return [sorted(columns, key=lambda i: (-row[i], i))[:top_k] for row in scores]


@pytest.mark.parametrize("seed", range(100))
def test_full_of_ties(seed: int) -> None:
    chance = np.random.default_rng(seed)
    count, dim = int(chance.integers(1, 300)), int(chance.integers(1, 4))
    corpus = chance.integers(-1, 2, (count, dim)).astype(np.float32)
    queries = chance.integers(-1, 2, (int(chance.integers(1, 5)), dim)).astype(np.float32)
    name, top_k = str(chance.choice(list(SIMILARITY_FUNCTIONS))), int(chance.integers(1, 20))
    want = brute_force(SIMILARITY_FUNCTIONS[name].matrix(queries, corpus), top_k)
    for sizes in ((128, 8192), (1, 1), (2, 7), tuple(int(n) for n in chance.integers(1, 100, 2))):
        assert ids(semantic_search(queries, corpus, top_k, name, *sizes)) == want


@pytest.mark.parametrize("name", SIMILARITY_FUNCTIONS)
def test_the_answer_does_not_depend_on_the_chunks(name: str) -> None:
    chance = np.random.default_rng(0)
    corpus, queries = (chance.standard_normal((n, 48), np.float32) for n in (1000, 9))
    corpus[::10] = corpus[5]  # a hundred copies of one
    whole = semantic_search(queries, corpus, 25, name)
    assert ids(whole) == brute_force(SIMILARITY_FUNCTIONS[name].matrix(queries, corpus), 25)
    for sizes in ((1, 33), (4, 999), (9, 1)):
        assert semantic_search(queries, corpus, 25, name, *sizes) == whole


def test_a_corpus_in_every_form(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    corpus, queries = (chance.standard_normal((n, 16), np.float32) for n in (300, 3))
    want = semantic_search(queries, corpus, 5)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    streams = [
        list(corpus),
        tuple(corpus),
        iter(corpus),
        [corpus[:7], corpus[7], corpus[8:]],
        corpus.tolist(),
    ]
    for same in (mapped, np.asfortranarray(corpus), corpus.astype(">f4"), *streams):
        assert semantic_search(queries, same, 5, corpus_chunk_size=64) == want
    assert semantic_search(queries[0], corpus, 5) == want[:1]
    assert ids(semantic_search(queries, corpus[0], 5)) == [[0]] * 3


def test_single_rows_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row is no slower than it must be: each chunk is one product, not each row."""
    calls = []

    def score_function(queries: Any, rows: Any) -> Any:
        calls.append(len(rows))
        return queries @ rows.T

    corpus = np.random.default_rng(0).standard_normal((1000, 8), np.float32)
    semantic_search(corpus[:2], iter(corpus), 3, corpus_chunk_size=300, score_function=score_function)
    assert calls == [300, 300, 300, 100]


def test_nothing() -> None:
    some, none = np.ones((2, 8), np.float32), np.empty((0, 8), np.float32)
    for corpus in (none, [], iter(())):
        assert semantic_search(some, corpus) == [[], []]
    assert semantic_search(none, some) == semantic_search([], some) == semantic_search([], []) == []


def test_a_score_function() -> None:
    corpus = np.random.default_rng(0).standard_normal((50, 8), np.float32)
    for name, function in (("cosine", cos_sim), ("dot", dot_score)):
        want = semantic_search(corpus[:4], corpus, 5, name)
        assert semantic_search(corpus[:4], corpus, 5, score_function=function) == want
    with pytest.raises(InputError, match=r"score_function gave \(4,\) for 4 queries and 50 vectors"):
        semantic_search(corpus[:4], corpus, score_function=lambda a, b: a[:, 0])


@pytest.mark.parametrize("option", ["top_k", "query_chunk_size", "corpus_chunk_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True])
def test_what_is_no_count(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{option} must be a whole number from 1, not {value!r}"):
        semantic_search(np.ones((1, 4)), np.ones((3, 4)), **{option: value})


@pytest.mark.parametrize(
    ("corpus", "way_out"),
    [
        (None, "not NoneType"),
        (3, "not int"),
        ("text", "not str"),
        (b"bytes", "not bytes"),
        ({"a": [1.0] * 4}, "not dict"),
        (["a text"], "encode texts first"),
        ([None], "encode texts first"),
        (np.ones((2, 3, 4)), r"\(2, 3, 4\)"),
        (np.ones((2, 5)), "5 components cannot be compared"),
        ([np.ones(4), np.ones(5)], "5 components cannot be compared"),
    ],
    ids=repr,
)
def test_what_is_no_corpus(corpus: Any, way_out: str) -> None:
    with pytest.raises(InputError, match=way_out):
        semantic_search(np.ones((1, 4)), corpus)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_holds_no_number(value: float) -> None:
    queries, corpus = np.ones((3, 4), np.float32), np.ones((20, 4), np.float32)
    spoilt = corpus.copy()
    spoilt[17, 2] = value
    with pytest.raises(InputError, match="query 0 with corpus row 17 is not a number"):
        semantic_search(queries, spoilt, corpus_chunk_size=6)
    queries[2, 0] = value
    with pytest.raises(InputError, match="query 2 with corpus row 0 is not a number"):
        semantic_search(queries, corpus, query_chunk_size=2)
