"""Columns of texts in Arrow, pandas and polars to columns of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigte import Embedder, InputError

pa = pytest.importorskip("pyarrow", reason="pip install 'minigte[pandas,polars]'")
pd = pytest.importorskip("pandas", reason="pip install 'minigte[pandas,polars]'")
pl = pytest.importorskip("polars", reason="pip install 'minigte[pandas,polars]'")

from minigte.integrations import pandas, polars, pyarrow  # noqa: E402

TEXTS = ["the cat", "a dog", "", "run"]
WITH_NULLS = ["the cat", None, "a dog", None]


def arrow_rows(column: Any) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("chunked", [False, True])
def test_arrow(kind: Any, chunked: bool, small: Embedder) -> None:
    column = pa.chunked_array([TEXTS[:1], TEXTS[1:]], kind) if chunked else pa.array(TEXTS, kind)
    found = pyarrow.embed(column, small)
    assert found.type == pa.list_(pa.float32(), small.embedding_dimension)
    assert isinstance(found, pa.ChunkedArray) == chunked
    assert (arrow_rows(found) == small.encode(TEXTS)).all()


def test_arrow_dictionary_and_slice(small: Embedder) -> None:
    column = pa.array([*TEXTS, *TEXTS]).dictionary_encode()[1:6]
    assert (arrow_rows(pyarrow.embed(column, small)) == small.encode([*TEXTS, *TEXTS][1:6])).all()


@pytest.mark.parametrize("dtype", ["object", "str", "string[pyarrow]", "category"])
def test_pandas(dtype: str, small: Embedder) -> None:
    column = pd.Series(TEXTS, index=list("wxyz"), name="text", dtype=dtype)
    found = pandas.embed(column, small)
    assert found.dtype == pd.ArrowDtype(pa.list_(pa.float32(), small.embedding_dimension))
    assert (found.index.tolist(), found.name) == (list("wxyz"), "text")
    assert (np.stack(found) == small.encode(TEXTS)).all()


def test_polars(small: Embedder) -> None:
    found = polars.embed(pl.Series("text", TEXTS), small)
    assert found.dtype == pl.Array(pl.Float32, small.embedding_dimension)
    assert found.name == "text"
    assert (found.to_numpy() == small.encode(TEXTS)).all()
    kind = pl.Array(pl.Float32, small.embedding_dimension)
    lazy = pl.LazyFrame({"text": TEXTS}).select(
        pl.col("text").map_batches(lambda column: polars.embed(column, small), return_dtype=kind)
    )
    assert lazy.collect()["text"].equals(found)


COLUMNS = [
    (pyarrow.embed, pa.array, lambda column: column.to_pylist()),
    (pyarrow.embed, lambda texts: pa.chunked_array([texts]), lambda column: column.to_pylist()),
    (pandas.embed, lambda texts: pd.Series(texts, dtype="string"), lambda column: column.tolist()),
    (pandas.embed, lambda texts: pd.Series(texts, dtype=object), lambda column: column.tolist()),
    (polars.embed, pl.Series, lambda column: column.to_list()),
]


@pytest.mark.parametrize(("embed", "make", "rows"), COLUMNS)
def test_nulls(embed: Any, make: Any, rows: Any, small: Embedder) -> None:
    with pytest.raises(InputError, match=r"row 1 is null.*keep"):
        embed(make(WITH_NULLS), small)
    vectors = small.encode(["the cat", "a dog"])
    for found, expected in zip(
        rows(embed(make(WITH_NULLS), small, nulls="keep")), [vectors[0], None, vectors[1], None], strict=True
    ):
        if expected is None:
            assert found is None or found is pd.NA
        else:
            assert (np.array(found, np.float32) == expected).all()
    empty = embed(make(["the cat"])[:0], small, nulls="keep")
    assert len(empty) == 0
    with pytest.raises(InputError, match="'error' or 'keep'"):
        embed(make(TEXTS), small, nulls="drop")


def test_nothing_but_nulls(small: Embedder) -> None:
    found = pyarrow.embed(pa.array([None, None], pa.string()), small, nulls="keep")
    assert found.type == pa.list_(pa.float32(), small.embedding_dimension)
    assert found.null_count == 2
    assert polars.embed(pl.Series([None, None], dtype=pl.String), small, nulls="keep").null_count() == 2


@pytest.mark.parametrize(("embed", "make"), [column[:2] for column in COLUMNS if column[1] is not pd.Series])
def test_what_is_no_text_is_named(embed: Any, make: Any, small: Embedder) -> None:
    with pytest.raises(InputError, match=r"column must be"):
        embed(TEXTS, small)


def test_numbers_are_no_texts(small: Embedder) -> None:
    for embed, column in (
        (pyarrow.embed, pa.array([1, 2])),
        (pandas.embed, pd.Series([1, 2])),
        (polars.embed, pl.Series([1, 2])),
    ):
        with pytest.raises(InputError, match="row 0 is int"):
            embed(column, small)
    with pytest.raises(InputError, match="precision"):
        pyarrow.embed(pa.array(TEXTS), small, precision="ubinary")
