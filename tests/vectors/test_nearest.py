"""The nearest of stored vectors: what is compared in float32 first gives what float64 gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigte import InputError, semantic_search
from minigte.vectors import nearest as module
from minigte.vectors.nearest import nearest, rescored
from minigte.vectors.quantization import quantize_embeddings, scale_to_int8


def rows_like(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Rows of which many are nearly or exactly the same, so that their order hangs on the last bit."""
    few = rng.standard_normal((5, dim)).astype(np.float32)
    rows = few[rng.integers(0, 5, count)]
    return rows + rng.choice([0, 1e-7, 1e-6], (count, 1)).astype(np.float32)


@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 300),
    top_k=st.integers(1, 20),
    name=st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]),
    part=st.integers(1, 100),
    unit=st.booleans(),
)
def test_it_is_exact(seed: int, count: int, top_k: int, name: str, part: int, unit: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_like(rng, count, 24)
    queries = rows_like(rng, 3, 24)
    if unit:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    parts = [rows[start : start + part] for start in range(0, count, part)]
    found = nearest(queries, parts, top_k, similarity_fn_name=name)
    expected = semantic_search(queries, parts, top_k, name)
    assert [[hit["corpus_id"] for hit in hits] for hits in found] == [
        [hit["corpus_id"] for hit in hits] for hits in expected
    ]
    for hits, others in zip(found, expected, strict=True):  # a sum of another shape may round otherwise
        assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in others], rel=1e-6)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
@pytest.mark.parametrize("dim", [16, 64, 384])
def test_bits_score_the_cosine_of_their_signs(precision: Any, dim: int) -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((2, 300, dim)).astype(np.float32)
    codes = quantize_embeddings(rows, precision)
    found = nearest(queries[:3], [codes[:100], codes[100:]], 7, precision=precision)
    assert found == semantic_search(np.where(queries[:3] > 0, 1, -1), np.where(rows > 0, 1, -1), 7)


def test_int8_codes_and_rescoring() -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((2, 300, 64)).astype(np.float32)
    codes = scale_to_int8(rows)
    assert np.abs(codes).max(axis=1).tolist() == [127] * 300
    assert (scale_to_int8(rows[7]) == codes[7]).all()
    assert (scale_to_int8(np.zeros((1, 4), np.float32)) == 0).all()
    found = nearest(queries[:5], [codes], 50, precision="int8", similarity_fn_name="dot")
    assert found == semantic_search(queries[:5], codes.astype(np.float32), 50, "cosine")
    assert rescored(queries[:5], found, rows, 5, "cosine") == semantic_search(queries[:5], rows, 5)


def test_what_is_not_finite_is_named() -> None:
    rows = np.ones((10, 4), np.float32)
    rows[7, 2] = np.inf
    with pytest.raises(InputError, match="row 7"):
        nearest(np.ones((1, 4), np.float32), [rows[:5], rows[5:]], 3)
    assert nearest(np.ones((2, 4), np.float32), [], 3) == [[], []]


@pytest.mark.parametrize("name", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_part_of_several_blocks(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as NumPy before 2.0 computes it."""
    rng = np.random.default_rng(0)
    rows = rows_like(rng, 2 * module.BLOCK + 100, 24)
    part = scale_to_int8(rows) if dtype == "int8" else rows.astype(dtype)
    queries = rows_like(rng, 3, 24)
    precision = "int8" if dtype == "int8" else "float32"
    similarity = "cosine" if dtype == "int8" else name
    expected = semantic_search(queries, part.astype(np.float32), 9, similarity)
    for squares in (module._squares, module._squares_by_einsum):
        monkeypatch.setattr(module, "_squares", squares)
        found = nearest(queries, [part], 9, precision=precision, similarity_fn_name=name)
        assert [[hit["corpus_id"] for hit in hits] for hits in found] == [
            [hit["corpus_id"] for hit in hits] for hits in expected
        ]
    part = part.astype(np.float32)
    part[module.BLOCK + 7, 3] = np.nan
    with pytest.raises(InputError, match=f"row {module.BLOCK + 7} holds"):
        nearest(queries, [part], 9)
