"""Pairs and groups of vectors that are alike, beside what every pair's score says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minigte import InputError, community_detection, cos_sim, dot_score, paraphrase_mining_embeddings


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


@pytest.mark.parametrize("chunks", [(128, 8192), (7, 5), (1, 100)])
@pytest.mark.parametrize(("top_k", "max_pairs"), [(100, 500_000), (100, 20), (2, 500_000), (3, 11)])
def test_the_best_pairs_are_found(chunks: tuple[int, int], top_k: int, max_pairs: int) -> None:
    rows = vectors(40)
    scores = cos_sim(rows, rows)
    wanted = set()
    for i, row in enumerate(scores):
        others = [j for j in np.argsort(-row, kind="stable").tolist() if j != i][:top_k]
        wanted |= {(min(i, j), max(i, j)) for j in others}
    best = sorted(wanted, key=lambda pair: (-scores[pair], pair))[:max_pairs]
    found = paraphrase_mining_embeddings(rows, *chunks, max_pairs, top_k)
    assert [(i, j) for _, i, j in found] == best
    assert [score for score, _, _ in found] == [float(scores[pair]) for pair in best]
    assert all(isinstance(i, int) and isinstance(score, float) for score, i, _ in found)


def test_equal_rows_are_pairs_of_each_other_and_of_no_row_with_itself() -> None:
    found = paraphrase_mining_embeddings(np.ones((5, 3)), top_k=10)
    assert [(i, j) for _, i, j in found] == list(itertools.combinations(range(5), 2))


def test_another_score_decides() -> None:
    rows = np.array([[1, 0], [10, 1], [1, 0.1]])
    assert paraphrase_mining_embeddings(rows)[0][1:] == [1, 2]
    assert paraphrase_mining_embeddings(rows, score_function=lambda a, b: -dot_score(a, b))[0][1:] == [0, 2]


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_groups_around_centres(batch: int) -> None:
    rng = np.random.default_rng(3)
    centres = np.eye(4, 16)
    rows = np.concatenate(
        [
            np.repeat(centres[[0]], 9, axis=0),
            np.repeat(centres[[1]], 5, axis=0),
            np.repeat(centres[[2]], 2, axis=0),
            np.eye(16)[8:14],
        ]
    )
    rows += rng.standard_normal(rows.shape) * 0.01
    found = community_detection(rows, min_community_size=3, batch_size=batch)
    assert [sorted(group) for group in found] == [list(range(9)), list(range(9, 14))]
    for group in found:
        scores = cos_sim(rows[group[0]], rows[group])[0]
        assert (scores >= 0.75).all()
        assert (np.diff(scores[1:]) <= 0).all()
    assert community_detection(rows, min_community_size=10) == []


def test_a_row_is_in_one_group() -> None:
    rows = vectors(300)
    found = community_detection(rows, 0.5, 4)
    members = list(itertools.chain.from_iterable(found))
    assert len(members) == len(set(members)) > 20
    assert [len(group) for group in found] == sorted(map(len, found), reverse=True)


def test_nothing_gives_nothing() -> None:
    assert paraphrase_mining_embeddings([]) == []
    assert paraphrase_mining_embeddings([[1.0, 2.0]]) == []
    assert community_detection([]) == []
    assert community_detection([[1.0, 2.0]], min_community_size=1) == [[0]]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="query 0 with corpus row 1"):
        paraphrase_mining_embeddings([[1.0], [np.nan]])
    with pytest.raises(InputError, match="query 0 with corpus row 1"):
        community_detection([[1.0], [np.nan]])
    with pytest.raises(InputError, match="threshold"):
        community_detection([[1.0]], threshold=75)
    with pytest.raises(InputError, match="texts"):
        community_detection(["a", "b"])
    with pytest.raises(InputError, match="top_k"):
        paraphrase_mining_embeddings([[1.0]], top_k=0)
