"""The similarity functions: each against its formula in float64, row by row, and what they refuse."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest

import minigte
from minigte import InputError
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS, similarity_name

FORMULAS = {
    "cosine": lambda a, b: a @ b / max(np.linalg.norm(a), 1e-12) / max(np.linalg.norm(b), 1e-12),
    "dot": lambda a, b: a @ b,
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
    "manhattan": lambda a, b: -np.abs(a - b).sum(),
}
names = pytest.mark.parametrize("name", SIMILARITY_FUNCTIONS)


def vectors(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@names
def test_both_forms_are_the_formula(name: str) -> None:
    a, b = vectors(0, 9, 20), vectors(1, 7, 20)
    a[3], b[2] = 0, a[5]
    function, formula = SIMILARITY_FUNCTIONS[name], FORMULAS[name]
    want = np.array([[formula(x, y) for y in b.astype(float)] for x in a.astype(float)])
    matrix, pairwise = function.matrix(a, b), function.pairwise(a[:7], b)
    assert matrix.dtype == pairwise.dtype == np.float32
    np.testing.assert_allclose(matrix, want, rtol=2e-7, atol=1e-7)
    np.testing.assert_allclose(pairwise, np.diag(want), rtol=2e-7, atol=1e-7)


def test_the_public_functions_are_these() -> None:
    for name, prefix in (("cosine", "cos_sim"), ("dot", "dot_score")):
        assert SIMILARITY_FUNCTIONS[name].matrix is getattr(minigte, prefix)
        assert SIMILARITY_FUNCTIONS[name].pairwise is getattr(minigte, f"pairwise_{prefix}")
    for name in ("euclidean", "manhattan"):
        assert SIMILARITY_FUNCTIONS[name].matrix is getattr(minigte, f"{name}_sim")
        assert SIMILARITY_FUNCTIONS[name].pairwise is getattr(minigte, f"pairwise_{name}_sim")


@names
def test_a_score_has_the_same_bits_in_any_company(name: str) -> None:
    a, b = vectors(0, 33, 384), vectors(1, 500, 384)
    b[[7, 300, 499]] = b[123]  # the same document four times
    function = SIMILARITY_FUNCTIONS[name].matrix
    whole = function(a, b)
    for rows, columns in ((1, 500), (33, 1), (5, 77), (16, 64)):
        parts = [
            [function(a[i : i + rows], b[j : j + columns]) for j in range(0, 500, columns)]
            for i in range(0, 33, rows)
        ]
        np.testing.assert_array_equal(np.block(parts), whole)
    assert (whole[:, [7, 300, 499]] == whole[:, [123]]).all()


@names
def test_no_vectors_and_one_vector(name: str) -> None:
    function, b = SIMILARITY_FUNCTIONS[name].matrix, vectors(1, 7, 20)
    for nothing in ([], np.empty((0, 20), np.float32)):
        assert function(nothing, b).shape == (0, 7)
        assert function(b, nothing).shape == (7, 0)
    assert function(b[0], b).shape == (1, 7)
    assert SIMILARITY_FUNCTIONS[name].pairwise(b[0], b[1]).shape == (1,)


@names
@pytest.mark.parametrize("form", [list, np.float16, np.float64, ">f4", np.asfortranarray, "list of rows"])
def test_vectors_in_every_form(name: str, form: Any) -> None:
    b = np.float32(np.random.default_rng(0).integers(-9, 9, (7, 20)))  # exact in float16
    same = b.tolist() if form is list else list(b) if form == "list of rows" else None
    if same is None:
        same = form(b) if form is np.asfortranarray else b.astype(form)
    np.testing.assert_array_equal(
        SIMILARITY_FUNCTIONS[name].matrix(same, same), SIMILARITY_FUNCTIONS[name].matrix(b, b)
    )


@names
@pytest.mark.parametrize(
    "what",
    [
        "text",
        ["a", "b"],
        np.array(["1.5", "2"]),
        [None, 1.0],
        [[1.0], [1.0, 2.0]],
        pytest.param(object(), id="object"),
        1.0,
        np.ones((1, 2, 3)),
        np.ones((2, 3), complex),
        np.ma.masked_array(np.ones((2, 3)), np.eye(2, 3)),
    ],
    ids=repr,
)
def test_what_is_no_vectors(name: str, what: Any) -> None:
    for function in (SIMILARITY_FUNCTIONS[name].matrix, SIMILARITY_FUNCTIONS[name].pairwise):
        with pytest.raises(InputError, match="vectors"):
            function(what, np.ones((2, 3), np.float32))


@names
def test_vectors_of_two_lengths(name: str) -> None:
    with pytest.raises(InputError, match=r"20 and of 5 components .* same model and truncate_dim"):
        SIMILARITY_FUNCTIONS[name].matrix(vectors(0, 3, 20), vectors(0, 3, 5))
    with pytest.raises(InputError, match=r"equal shapes, not \(3, 20\) and \(2, 20\)"):
        SIMILARITY_FUNCTIONS[name].pairwise(vectors(0, 3, 20), vectors(0, 2, 20))


def test_names() -> None:
    class There(enum.Enum):  # as sentence-transformers' SimilarityFunction
        DOT = "dot"

    assert similarity_name(There.DOT) == similarity_name("dot") == "dot"
    assert {similarity_name(member) for member in minigte.SimilarityFunction} == set(SIMILARITY_FUNCTIONS)
    assert minigte.SimilarityFunction.DOT is minigte.SimilarityFunction.DOT_PRODUCT
    assert minigte.SimilarityFunction.possible_values() == list(SIMILARITY_FUNCTIONS)
    dot = SIMILARITY_FUNCTIONS["dot"]
    assert minigte.SimilarityFunction.to_similarity_fn("dot") is dot.matrix
    assert minigte.SimilarityFunction.to_similarity_pairwise_fn(There.DOT) is dot.pairwise
    for unknown in ("cos", "", None, 3, ["dot"]):
        with pytest.raises(
            InputError, match=r"similarity_fn_name .* \(known: cosine, dot, euclidean, manhattan\)"
        ):
            similarity_name(unknown)


@names
def test_what_the_caller_has_told_numpy_to_raise(name: str) -> None:
    tiny, huge = np.full((3, 8), 1e-30, np.float32), np.full((3, 8), 1e30, np.float32)
    with np.errstate(all="raise"):
        for a in (tiny, huge, np.zeros((3, 8), np.float32)):
            SIMILARITY_FUNCTIONS[name].matrix(a, a)
            SIMILARITY_FUNCTIONS[name].pairwise(a, tiny)
