"""Each kernel against ``minigte.reference.ops`` or plain NumPy, edges included."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import DTYPES

from minigte.engine import simd
from minigte.engine.activations import LOG2_E, activate, exp2, gelu, gelu_new, silu
from minigte.engine.attention import attention
from minigte.engine.finishes import ACTIVATIONS, GATED, GELU_10, LINEAR, RELU, RESIDUAL, ROTATE
from minigte.engine.formats import format_of
from minigte.engine.jit import kernel
from minigte.engine.linear import Rotation, linear
from minigte.engine.outliers import MOST
from minigte.engine.rows import convert, from_bfloat16, from_float16, normalize, quantize, softmax
from minigte.engine.simd import LANES, PANEL, TILE_ROWS
from minigte.engine.target import LEVEL
from minigte.engine.weights import pack_matrix, to_bfloat16
from minigte.models.weights import StoredDtype
from minigte.reference import ops
from minigte.runtime import memory

PAD = LEVEL.pad_rows
QUANTIZED = format_of("int8", LEVEL).read


def zeros(dtype: type, *shape: int) -> np.ndarray:
    return memory.zeros(shape, dtype)


UNTURNED = Rotation(zeros(np.float32, 1, 2, LANES), zeros(np.int64, 1), 1)


def bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def elementwise(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """A vector function applied to a whole array."""

    @kernel
    def run(source, target):
        for i in range(0, source.size * 4, 4 * LANES):
            simd.store(simd.address(target) + i, function(simd.load(simd.address(source) + i)))

    def apply(x: np.ndarray) -> np.ndarray:
        source = np.resize(np.float32(x), -(-x.size // LANES) * LANES)
        target = np.empty_like(source)
        run(source, target)
        return target[: x.size]

    return apply


@pytest.mark.parametrize(
    ("widen", "right"),
    [(from_float16, lambda bits: np.float32(bits.view(np.float16))), (from_bfloat16, bfloat16)],
)
def test_each_number_of_16_bits(widen: Callable, right: Callable[[np.ndarray], np.ndarray]) -> None:
    @kernel
    def run(source, target):
        for i in range(source.size):
            target[i] = widen(source[i])

    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[np.isfinite(right(bits))]  # others are refused where a file is read
    target = np.empty(bits.size, np.float32)
    run(bits, target)
    np.testing.assert_array_equal(target.view(np.uint32), right(bits).view(np.uint32))


def test_exp2() -> None:
    x = np.linspace(-125.9, 127, 100_000, dtype=np.float32)
    np.testing.assert_allclose(elementwise(exp2)(x), np.exp2(x.astype(np.float64)), rtol=3e-7)
    below = elementwise(exp2)(np.float32([-126, -127, -1e6, -3e38, -np.inf]))
    np.testing.assert_allclose(below, [2.0**-126, 0, 0, 0, 0], rtol=3e-7)
    assert np.isnan(elementwise(exp2)(np.float32([np.nan])))


# Large inputs too: there the result is 0 or x to the last bit of x.
X = np.concatenate([np.linspace(-70, 70, 200_001), [-1e4, -100, 100, 1e4]]).astype(np.float32)
FAR = np.float32([-1000, -1e20, -3e38, 88, 1e20, 3e38])


def test_gelu() -> None:
    exact = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in X.astype(np.float64)])
    error = abs(elementwise(gelu)(X) - exact)
    assert (error <= 2.5e-7 * np.maximum(2, abs(X))).all(), error.max()


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
def test_activations_far_from_zero(activation: int) -> None:
    function = elementwise(kernel(lambda x: activate(activation, x)))
    highest = 10 if activation == GELU_10 else np.inf
    np.testing.assert_array_equal(function(FAR), np.clip(FAR, 0, highest))
    assert not np.isfinite(function(np.float32([np.nan, np.inf]))).any()
    if activation != RELU:  # of which -inf makes 0
        assert not np.isfinite(function(np.float32([-np.inf])))


def test_gelu_new() -> None:
    v = X.astype(np.float64)
    exact = v / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    np.testing.assert_allclose(elementwise(gelu_new)(X), exact, rtol=1e-6, atol=5e-7)


def test_silu() -> None:
    x = np.concatenate([X, np.float32([-3e38, 3e38])])
    v = x.astype(np.float64)
    exact = v / (1 + np.exp(np.minimum(-v, 700)))
    error = abs(elementwise(silu)(x) - exact)
    # The exponent is rounded to float32 before it is raised: half a unit in the last place of x log2(e).
    assert (error <= (1e-6 + 6e-8 * abs(v)) * abs(exact) + 1e-35).all(), error.max()


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [1, 2, LANES - 1, LANES, LANES + 1, 77, 384])
def test_norms(size: int, centred: bool, in_place: bool) -> None:
    rng = np.random.default_rng(size)
    x, weight, bias = rng.normal(3, 2, (3, size)).astype(np.float32)
    rows = zeros(np.float32, 4, LEVEL.padded(size))
    rows[:3, :size] = x, weight, bias
    if centred:
        wanted = ops.layer_norm(x[None], weight, bias, 1e-5)[0]
    else:
        wanted = ops.rms_norm(x[None], weight, 1e-5)[0] + bias
    row, weight_row, bias_row, other = (rows[i].ctypes.data for i in range(4))
    normalize(row, row if in_place else other, size, weight_row, bias_row, np.float32(1e-5), centred)
    got = rows[0 if in_place else 3]
    np.testing.assert_allclose(got[:size], wanted, rtol=0, atol=2e-6)
    assert not got[size:].any()
    if not in_place:
        np.testing.assert_array_equal(rows[0, :size], x)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [2, LANES, 77])
def test_a_norm_of_numbers_whose_squares_overflow_is_no_number(size: int, centred: bool) -> None:
    """Divided by infinity they would be 0, and a text's vector the norm's bias, as if all were well."""
    rows = zeros(np.float32, 3, LEVEL.padded(size))
    rows[:, :size] = 1
    rows[0, :size] = np.resize([1e30, -1e30], size)
    row, weight, bias = (rows[i].ctypes.data for i in range(3))
    normalize(row, row, size, weight, bias, np.float32(1e-5), centred)
    assert np.isnan(rows[0, :size]).all()


@pytest.mark.parametrize("probs_type", [np.float32, np.uint16] if LEVEL.bfloat16_dot else [np.float32])
@given(
    length=st.integers(1, 4 * PANEL + 3),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    around=st.tuples(st.integers(0, 2 * LANES), st.integers(0, 2 * LANES)),
    with_bias=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_softmax(
    probs_type: type, length: int, ends: tuple[float, float], around: tuple[int, int], with_bias: bool
) -> None:
    """Some of the columns, in the middle of a tile's: what lies around them is exactly 0."""
    first, last = sorted(round(end * length) for end in ends)
    first, last = min(first, length - 1), max(last, min(first, length - 1) + 1)
    begin, end = max(0, first - around[0]) // LANES * LANES, min(length, last + around[1])
    rng = np.random.default_rng(length)
    padded = LEVEL.padded(length)
    scores, bias = zeros(np.float32, padded), zeros(np.float32, padded + 1)
    scores[:] = np.nan  # what lies around must not matter
    scores[first:last] = rng.normal(0, 20, last - first)
    bias[1:] = rng.normal(0, 20, padded)  # begins in the middle of a vector
    scale = np.float32(0.3)
    wanted = ops.softmax((scores + with_bias * bias[1:])[None, first:last] * scale)[0]
    probs = zeros(probs_type, padded)
    probs[:] = 1 << 14
    total = softmax(
        scores.ctypes.data,
        first,
        last,
        begin,
        end,
        scale * LOG2_E,
        bias.ctypes.data + 4 if with_bias else 0,
        probs,
        probs.ctypes.data,
    )
    p = probs if probs_type == np.float32 else bfloat16(probs)
    np.testing.assert_allclose(p[first:last] / total, wanted, rtol=0, atol=1e-6 if p is probs else 4e-3)
    assert not p[begin:first].any()
    assert not p[last : -(-end // LANES) * LANES].any()


def softmax_of_all(scores: np.ndarray, length: int) -> float:
    """In place, over all columns; the sum."""
    where = scores.ctypes.data
    return float(softmax(where, 0, length, 0, length, LOG2_E, 0, scores, where))


@pytest.mark.parametrize("length", [1, LANES - 1, LANES, LANES + 1, 77])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_softmax_of_what_is_not_finite(bad: float, length: int) -> None:
    for place in range(length):
        scores = zeros(np.float32, LEVEL.padded(length))
        scores[:length] = np.random.default_rng(length).normal(0, 20, length)
        scores[place] = bad
        assert np.isnan(softmax_of_all(scores, length))


@pytest.mark.parametrize("length", [1, LANES - 1, LANES, LANES + 1, 77])
def test_softmax_of_negative_infinities(length: int) -> None:
    """As in the reference: a probability of 0 beside other scores, and nothing at all alone."""
    for place in range(length):
        scores = zeros(np.float32, LEVEL.padded(length))
        scores[:length] = -np.inf
        alone = scores.copy()
        assert np.isnan(softmax_of_all(alone, length))
        scores[place] = -3e38
        total = softmax_of_all(scores, length)
        np.testing.assert_array_equal(scores[:length] / np.float32(total), np.arange(length) == place)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_quantize_what_is_not_finite(bad: float) -> None:
    q = zeros(QUANTIZED, 2 * PANEL)
    for place in range(q.size):
        x = zeros(np.float32, q.size)
        x[:] = np.random.default_rng(place).normal(0, 1, q.size)
        x[place] = bad
        assert np.isnan(quantize(x.ctypes.data, x.size, q, q.ctypes.data))


@pytest.mark.parametrize("scale", [0, 1e-20, 1, 1e20])
def test_quantize(scale: float) -> None:
    x = zeros(np.float32, 3 * PANEL)
    x[:] = np.random.default_rng(0).normal(0, 1, x.size) * scale
    q = zeros(QUANTIZED, x.size)
    step = quantize(x.ctypes.data, x.size, q, q.ctypes.data)
    assert step == abs(x).max() / np.float32(127)
    signed = q.astype(np.int64) - 128
    assert abs(signed).max() == (127 if scale else 0)
    np.testing.assert_allclose(signed * np.float64(step), x, rtol=0, atol=step * 0.5001)


def test_quantize_numbers_that_are_almost_zero() -> None:
    x = zeros(np.float32, 2 * PANEL)
    x[::2] = 1e-38
    q = zeros(QUANTIZED, x.size)
    assert quantize(x.ctypes.data, x.size, q, q.ctypes.data) <= 1e-38
    assert (q == 128).all()


@pytest.mark.skipif(not LEVEL.bfloat16_dot, reason="no bfloat16 instructions here")
def test_bfloat16_rounds_to_nearest_even_in_numpy_as_in_kernels() -> None:
    x = np.random.default_rng(0).integers(0, 2**32, 10_000 * PANEL, np.uint32).view(np.float32)
    x = np.where(np.isfinite(x) & (abs(x) > 1e-37) & (abs(x) < 1e38), x, np.float32(1)).reshape(-1, PANEL)
    x[0, :4] = np.uint32([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF]).view(
        np.float32
    )  # ties, and beside
    target = zeros(np.uint16, *x.shape)
    _convert(x, target, zeros(np.float32, len(x), 1 + MOST), NONE)
    np.testing.assert_array_equal(target, to_bfloat16(x))


@kernel
def _convert(source, target, scales, outliers):
    convert(source, target, scales, outliers)


def _product(
    dtype: str,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    finish: int,
    out: np.ndarray,
    rotation: Rotation = UNTURNED,
    outliers: tuple[int, ...] = (),
    stored: StoredDtype = "float32",
) -> None:
    """out = finish(x Wᵀ + b) by the kernel; ``out`` has the padded number of columns."""
    rows, inputs, outputs = len(x), LEVEL.padded(x.shape[1]), LEVEL.padded(len(bias))
    w, b = np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32)
    w[: len(weight), : weight.shape[1]], b[: len(bias)] = weight, bias
    matrix = pack_matrix(
        *(1, outputs, inputs, [(w, b)], dtype, LEVEL),
        outliers_of=lambda weight: np.array(outliers, np.int64),
        stored=stored,
    )
    assert len(matrix.halves) == (stored == "float16" and dtype == "float32" and LEVEL.float16)
    narrow = {"float32": np.float32, "bfloat16": np.uint16, "int8": QUANTIZED}[dtype]
    if dtype == "bfloat16" and not LEVEL.bfloat16_dot:
        narrow = np.float32
    source, scales = zeros(np.float32, rows + PAD, inputs), zeros(np.float32, rows + PAD, 1 + MOST)
    source[:rows, : x.shape[1]] = x
    read = source if narrow == np.float32 else zeros(narrow, *source.shape)
    _convert(source, read, scales, matrix.outliers[0])
    products = zeros(np.float32, LEVEL.block_rows * PANEL)
    widened = zeros(np.float32, inputs * PANEL)
    last = outputs // PANEL
    linear(read[:rows], scales[:rows], matrix, 0, 0, last, finish, rotation, out, 0, products, widened)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.integers(1, LEVEL.block_rows + 24),
    inputs=st.integers(1, 900),
    outputs=st.integers(1, 3 * PANEL),
    finish=st.sampled_from([LINEAR, RESIDUAL, *ACTIVATIONS.values()]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_linear(dtype: str, rows: int, inputs: int, outputs: int, finish: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (rows, inputs)).astype(np.float32)
    weight = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
    bias = rng.normal(0, 1, outputs).astype(np.float32)
    before = rng.normal(0, 1, (rows, LEVEL.padded(outputs))).astype(np.float32)
    out = before.copy()
    _product(dtype, x, weight, bias, finish, out)
    y = ops.linear(x, weight, bias)
    if finish == RESIDUAL:
        y = y + before[:, :outputs]
    elif finish != LINEAR:
        (name,) = (name for name, number in ACTIVATIONS.items() if number == finish)
        y = ops.ACTIVATIONS[name](y)
    np.testing.assert_allclose(out[:, :outputs], y, rtol=1e-6, atol=ATOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, TILE_ROWS // 3 + 1, 2 * TILE_ROWS + 3])
def test_weights_kept_in_float16_give_the_same_bits(dtype: str, rows: int) -> None:
    """Of all sizes, numbers below the normal ones of float16 included."""
    rng = np.random.default_rng(rows)
    x = rng.normal(0, 1, (rows, 777)).astype(np.float32)
    weight = rng.normal(0, 1, (3 * PANEL - 5, 777)) * 10.0 ** rng.integers(-8, 4, (3 * PANEL - 5, 777))
    weight[0, :4] = 0, -0.0, 65504, -(2.0**-24)
    weight = weight.astype(np.float16).astype(np.float32)
    bias = rng.normal(0, 1, len(weight)).astype(np.float32)
    kept, wanted = (np.zeros((rows, LEVEL.padded(len(weight))), np.float32) for _ in range(2))
    _product(dtype, x, weight, bias, LINEAR, wanted)
    _product(dtype, x, weight, bias, LINEAR, kept, stored="float16")
    np.testing.assert_array_equal(kept.view(np.uint32), wanted.view(np.uint32))


NONE = np.full(MOST, -1, np.int32)
ATOL = {"float32": 5e-6, "bfloat16": 0.03, "int8": 0.12}


@pytest.mark.parametrize("finish", [LINEAR, RESIDUAL, ACTIVATIONS["gelu"]])
@pytest.mark.parametrize("outliers", [(7,), (0, 3 * PANEL + 1, 5, 99)])
def test_outliers_spoil_no_other_number(finish: int, outliers: tuple[int, ...]) -> None:
    """With numbers 1,000 times as large in these columns, int8 is as near as without."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (2 * TILE_ROWS + 1, 200)).astype(np.float32)
    x[:, outliers] *= 1000
    weight = rng.normal(0, 200**-0.5, (40, 200)).astype(np.float32)
    bias, before = np.zeros(40, np.float32), np.ones((len(x), LEVEL.padded(40)), np.float32)
    got, kept = before.copy(), x.copy()
    _product("int8", x, weight, bias, finish, got, outliers=outliers)
    np.testing.assert_array_equal(x, kept)
    wanted = ops.linear(x, weight, bias)
    if finish == RESIDUAL:
        wanted = wanted + before[:, :40]
    elif finish != LINEAR:
        wanted = ops.gelu(wanted)
    np.testing.assert_allclose(got[:, :40], wanted, rtol=1e-5, atol=ATOL["int8"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_outlier_that_is_not_finite_is_not_lost(bad: float) -> None:
    x = np.ones((1, 2 * PANEL), np.float32)
    x[0, 3] = bad
    got = zeros(np.float32, 1, PANEL)
    _product(
        "int8",
        x,
        np.eye(PANEL, 2 * PANEL, dtype=np.float32),
        np.zeros(PANEL, np.float32),
        LINEAR,
        got,
        outliers=(3,),
    )
    assert not np.isfinite(got).any()


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.integers(1, 40),
    panels=st.integers(1, 3),
    activation=st.sampled_from(list(ACTIVATIONS.values())),
)
@settings(max_examples=30, deadline=None)
def test_a_gated_product(dtype: str, rows: int, panels: int, activation: int) -> None:
    """The first vector of a panel is activated and multiplied by the second, into half as many outputs."""
    rng = np.random.default_rng(rows)
    x = rng.normal(0, 1, (rows, 40)).astype(np.float32)
    weight = rng.normal(0, 40**-0.5, (panels * PANEL, 40)).astype(np.float32)
    bias = rng.normal(0, 1, panels * PANEL).astype(np.float32)
    out = zeros(np.float32, rows, LEVEL.padded(panels * LANES))
    _product(dtype, x, weight, bias, activation + GATED, out)
    halves = ops.linear(x, weight, bias).reshape(rows, panels, 2, LANES)
    (name,) = (name for name, number in ACTIVATIONS.items() if number == activation)
    wanted = (ops.ACTIVATIONS[name](halves[:, :, 0]) * halves[:, :, 1]).reshape(rows, -1)
    np.testing.assert_allclose(out[:, : panels * LANES], wanted, rtol=1e-6, atol=3 * ATOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_that_turns_its_outputs(dtype: str) -> None:
    """The pair (a, b) of a panel's vectors becomes (a cos - b sin, b cos + a sin), each row by its place."""
    rng = np.random.default_rng(0)
    rows, panels, heads = 15, 2, 3
    x = rng.normal(0, 1, (rows, 40)).astype(np.float32)
    weight = rng.normal(0, 40**-0.5, (heads * panels * PANEL, 40)).astype(np.float32)
    bias = rng.normal(0, 1, len(weight)).astype(np.float32)
    angles = rng.uniform(-3, 3, (20, panels * LANES))
    table = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    positions = rng.integers(0, 20, rows)
    out = zeros(np.float32, rows, len(weight))
    _product(dtype, x, weight, bias, ROTATE, out, Rotation(table, positions, panels))
    a, b = ops.linear(x, weight, bias).reshape(rows, heads, panels, 2, LANES).transpose(3, 0, 1, 2, 4)
    sine, cosine = (table[positions, i].reshape(rows, 1, panels, LANES) for i in (0, 1))
    wanted = np.stack([a * cosine - b * sine, b * cosine + a * sine], axis=3)
    np.testing.assert_allclose(out, wanted.reshape(rows, -1), rtol=1e-6, atol=2 * ATOL[dtype])


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 8, 5), (13, 64, 40), (25, 1600, 3)])
def test_int8_products_are_exact(rows: int, inputs: int, outputs: int) -> None:
    """With integers and a 127 in every row nothing is rounded: any processor gives these numbers."""
    rng = np.random.default_rng(rows)
    x = rng.integers(-127, 128, (rows, inputs)).astype(np.float32)
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.float32)
    x[:, 0] = weight[:, 0] = 127
    x[-1], weight[-1] = 127, 127  # the largest sums there are
    out = zeros(np.float32, rows, LEVEL.padded(outputs))
    _product("int8", x, weight, np.zeros(outputs, np.float32), LINEAR, out)
    exact = x.astype(np.int64) @ weight.astype(np.int64).T
    np.testing.assert_array_equal(out[:, :outputs], exact.astype(np.float32))


@pytest.mark.parametrize("kind", [np.float32, np.uint16] if LEVEL.bfloat16_dot else [np.float32])
@pytest.mark.parametrize("head_size", [1, 4, 32, 64, 65])
@pytest.mark.parametrize("length", [1, 2, TILE_ROWS, TILE_ROWS + 1, 16, 17, PANEL + 1, 131])
@pytest.mark.parametrize(
    ("before", "after", "with_bias"),
    [(131, 131, False), (131, 131, True), (131, 0, True), (40, 40, False), (1, 1, True), (0, 0, False)],
)
def test_attention(length: int, head_size: int, kind: type, before: int, after: int, with_bias: bool) -> None:
    heads, width, at_once = 3, LEVEL.padded(head_size), LEVEL.rows(narrow=kind != np.float32)
    rng = np.random.default_rng(length)
    parts = rng.normal(0, 1, (3, heads, length, head_size)).astype(np.float32)
    if kind == np.uint16:
        parts = bfloat16(to_bfloat16(parts))
    qkv = np.zeros((length + PAD, 3, heads, width), np.float32)
    qkv[:length, :, :, :head_size] = parts.transpose(2, 0, 1, 3)
    qkv = qkv.reshape(length + PAD, 3 * heads * width)
    if kind == np.uint16:
        qkv = to_bfloat16(qkv)
    qkv[length:] = 0x7F if kind == np.uint16 else 1e30  # the next text, which must not matter
    longest = LEVEL.padded(length)
    context = zeros(np.float32, length, heads * width)
    bias = rng.normal(0, 3, (heads, 2 * length - 1 + LANES)).astype(
        np.float32
    )  # by distance, from 1 - length
    for head in range(heads):
        attention(
            qkv[:length],
            width,
            heads,
            head,
            LOG2_E / np.float32(math.sqrt(head_size)),
            bias[head, length - 1 :].ctypes.data if with_bias else 0,
            before,
            after,
            zeros(kind, longest * width),
            zeros(kind, (longest + 1) * width),
            scores := zeros(np.float32, at_once, longest),
            scores if kind == np.float32 else zeros(kind, at_once, longest),
            zeros(np.float32, at_once),
            zeros(np.float32, at_once * PANEL),
            context,
        )
    distance = np.arange(length) - np.arange(length)[:, None]
    scores = ops.attention_scores(parts[0], parts[1], 1 / math.sqrt(head_size))
    if with_bias:
        scores += bias[:, distance + length - 1] / np.float32(math.sqrt(head_size))
    scores[:, (distance < -before) | (distance > after)] = -np.inf
    wanted = np.matmul(ops.softmax(scores), parts[2])
    got = context.reshape(length, heads, width)[:, :, :head_size].transpose(1, 0, 2)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6 if kind == np.float32 else 0.02)
