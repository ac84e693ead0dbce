"""Codes in fewer bits: what they are, of what they are made, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from minigte import InputError, quantize_embeddings
from minigte.vectors.quantization import PRECISIONS

VECTORS = np.random.default_rng(0).standard_normal((200, 20), np.float32)
DTYPES = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}

precisions = pytest.mark.parametrize("precision", PRECISIONS)
eight_bits = pytest.mark.parametrize("precision", ["int8", "uint8"])


def test_the_ends_of_a_range_are_the_ends_of_the_codes() -> None:
    codes = quantize_embeddings(VECTORS, "uint8")
    assert (codes[VECTORS.argmin(axis=0), range(20)] == 0).all()
    assert (codes[VECTORS.argmax(axis=0), range(20)] >= 254).all()  # 255 but for rounding
    np.testing.assert_array_equal(codes.astype(int) - 128, quantize_embeddings(VECTORS, "int8"))


def test_a_bit_is_set_where_a_component_is_positive() -> None:
    bits = np.unpackbits(quantize_embeddings(VECTORS, "ubinary"), axis=1)[:, :20]
    np.testing.assert_array_equal(bits, VECTORS > 0)
    shifted = quantize_embeddings(VECTORS, "ubinary").astype(int) - 128
    np.testing.assert_array_equal(shifted, quantize_embeddings(VECTORS, "binary"))


@precisions
@pytest.mark.parametrize("form", ["list", "list of rows", "float64", "float16", "tuple"])
def test_vectors_in_every_form(precision: str, form: str) -> None:
    vectors = np.float32(np.random.default_rng(0).integers(-99, 99, (50, 12)))  # exact in float16
    same: Any = {
        "list": vectors.tolist(),
        "list of rows": list(vectors),
        "float64": vectors.astype(np.float64),
        "float16": vectors.astype(np.float16),
        "tuple": tuple(vectors),
    }[form]
    got = quantize_embeddings(same, precision)
    assert got.dtype == DTYPES[precision]
    # float64 is divided in float64, as in sentence-transformers: what lies where two codes meet gets either.
    tolerance = int(precision in ("int8", "uint8"))
    want = quantize_embeddings(vectors, precision).astype(float)
    np.testing.assert_allclose(got.astype(float), want, rtol=0, atol=tolerance)


@precisions
def test_a_list_of_matrices_shares_its_ranges(precision: str) -> None:
    matrices = [VECTORS[:3], VECTORS[3:150], VECTORS[:0], VECTORS[150:]]
    codes = quantize_embeddings(matrices, precision)
    assert [len(each) for each in codes] == [3, 147, 0, 50]
    np.testing.assert_array_equal(np.concatenate(codes), quantize_embeddings(VECTORS, precision))


@precisions
def test_nothing(precision: str) -> None:
    codes = quantize_embeddings(np.empty((0, 20), np.float32), precision)
    assert codes.shape == (0, 3 if "binary" in precision else 20)
    assert codes.dtype == DTYPES[precision]
    assert quantize_embeddings([], precision) == []


@eight_bits
def test_where_ranges_come_from(precision: str) -> None:
    sample = VECTORS[:40]
    ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
    want = quantize_embeddings(VECTORS, precision, ranges)
    for options in (
        {"calibration_embeddings": sample},
        {"calibration_embeddings": sample.tolist()},
        {"ranges": ranges.tolist()},
        {"ranges": ranges.astype(np.float64)},
    ):
        np.testing.assert_array_equal(quantize_embeddings(VECTORS, precision, **options), want)
    np.testing.assert_array_equal(quantize_embeddings(VECTORS[7], precision, ranges), want[7])
    assert want.min() == np.iinfo(want.dtype).min, "what lies outside has the code of the end"
    assert want.max() == np.iinfo(want.dtype).max


@eight_bits
def test_a_few_vectors_are_logged(precision: str, caplog: pytest.LogCaptureFixture) -> None:
    quantize_embeddings(VECTORS[:100], precision)
    assert caplog.records == []
    quantize_embeddings(VECTORS[:99], precision)
    assert [(r.levelno, "99 vectors" in r.getMessage()) for r in caplog.records] == [(logging.WARNING, True)]


@eight_bits
@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"calibration_embeddings": np.empty((0, 20))}, "calibration_embeddings must be"),
        ({"calibration_embeddings": VECTORS[0]}, "calibration_embeddings must be"),
        ({"calibration_embeddings": VECTORS[:, :5]}, r"ranges must be \(2, 20\)"),
        ({"calibration_embeddings": ["a text"]}, "calibration_embeddings must be"),
        ({"ranges": VECTORS[:3]}, r"ranges must be \(2, 20\)"),
        ({"ranges": VECTORS[0]}, r"ranges must be \(2, 20\)"),
        ({"ranges": np.full((2, 20), np.nan)}, "ranges must be finite"),
        ({"ranges": np.stack([np.ones(20), np.zeros(20)])}, "minima in row 0"),
        ({"ranges": np.stack([np.full(20, -3e38), np.full(20, 3e38)])}, "difference must fit float32"),
        ({"ranges": np.stack([np.full(20, -1e300), np.full(20, 1e300)])}, "difference must fit float32"),
        ({"ranges": "wide"}, "ranges must be"),
    ],
    ids=repr,
)
def test_ranges_that_do_not_fit(precision: str, options: Any, way_out: str) -> None:
    with pytest.raises(InputError, match=way_out):
        quantize_embeddings(VECTORS, precision, **options)


@eight_bits
def test_one_vector_has_no_ranges(precision: str) -> None:
    for one in (VECTORS[0], VECTORS[:1], [VECTORS[:1]]):
        with pytest.raises(InputError, match="needs ranges, or more than one text"):
            quantize_embeddings(one, precision)


@eight_bits
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_has_no_code(precision: str, value: float) -> None:
    spoilt = VECTORS.copy()
    spoilt[3, 4] = value
    with pytest.raises(InputError, match="NaN or infinity"):
        quantize_embeddings(spoilt, precision)


@precisions
@pytest.mark.parametrize(
    "what",
    [None, "text", ["a", "b"], 1.0, np.ones((1, 2, 3)), VECTORS.astype(complex), VECTORS > 0, object()],
    ids=lambda what: type(what).__name__,
)
def test_what_is_no_vectors(precision: str, what: Any) -> None:
    with pytest.raises(InputError, match="embeddings must be"):
        quantize_embeddings(what, precision)


@precisions
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_codes_are_not_quantized_again(precision: str, dtype: type) -> None:
    with pytest.raises(InputError, match="quantize them once"):
        quantize_embeddings(np.ones((5, 8), dtype), precision)


@pytest.mark.parametrize("precision", ["float16", "", None, 8])
def test_an_unknown_precision(precision: Any) -> None:
    with pytest.raises(InputError, match=r"unknown precision .* \(known: float32, int8"):
        quantize_embeddings(VECTORS, precision)


@precisions
def test_what_the_caller_has_told_numpy_to_raise(precision: str) -> None:
    scaled = [np.clip(VECTORS, -3, 3) * np.float32(scale) for scale in (1e-37, 1, 1e37)]
    narrow = np.stack([np.zeros(20), np.full(20, 1e-37)])
    with np.errstate(all="raise"):
        for vectors in scaled:
            quantize_embeddings(vectors, precision)
            quantize_embeddings(vectors, precision, narrow)
