"""What stands behind pooling: Dense and Normalize, in their order, watched, and as sums over tokens."""

from __future__ import annotations

import numpy as np
import pytest

from minigte import UnsupportedError
from minigte.vectors.head import ACTIVATION_FUNCTIONS, Dense, DenseConfig, Normalize, apply_head

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((9, 12), np.float32)


def dense(width: int, out: int, *, bias: bool = False, activation: str = "Identity") -> Dense:
    offset = RNG.standard_normal(out, np.float32) if bias else np.zeros(out, np.float32)
    config = DenseConfig("2_Dense", width, out, bias, activation)
    return Dense(config, RNG.standard_normal((out, width), np.float32), offset)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATION_FUNCTIONS)
def test_a_dense_is_its_formula(activation: str, bias: bool) -> None:
    module = dense(12, 5, bias=bias, activation=activation)
    got = module.apply(VECTORS)
    exact = VECTORS.astype(float) @ module.weight.T.astype(float) + module.bias
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, ACTIVATION_FUNCTIONS[activation](exact), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("x", [1e4, -1e4, 0.0, -0.0, 20.5])
@pytest.mark.parametrize("activation", ACTIVATION_FUNCTIONS)
def test_an_activation_far_from_zero_stays_finite(activation: str, x: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(ACTIVATION_FUNCTIONS[activation](np.array([[x, 1.0]]))).all()


@pytest.mark.parametrize("width", [12, 384, 768])
def test_a_vector_does_not_depend_on_the_others(width: int) -> None:
    vectors, module = RNG.standard_normal((17, width), np.float32), dense(width, 33)
    whole = module.apply(vectors)
    for i in range(17):
        np.testing.assert_array_equal(module.apply(vectors[i : i + 1])[0], whole[i])
        np.testing.assert_array_equal(module.apply(vectors[i : i + 5])[0], whole[i])


def test_a_head_in_its_order_and_watched() -> None:
    head = (Normalize(), dense(12, 5, activation="Tanh"), dense(5, 7), Normalize())
    seen: dict[str, np.ndarray] = {}
    got = apply_head(head, VECTORS, lambda name, array: seen.update({name: array}))
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    hidden = np.tanh(unit @ head[1].weight.T)
    want = hidden @ head[2].weight.T
    np.testing.assert_allclose(got, want / np.linalg.norm(want, axis=1, keepdims=True), rtol=1e-5, atol=1e-6)
    assert list(seen) == [
        "dense.0.normalized",
        "dense.0.linear",
        "dense.0.activation_function",
        "dense.1.linear",
        "dense.1.activation_function",
        "normalized",
    ]
    np.testing.assert_array_equal(seen["normalized"], got)
    assert apply_head((), VECTORS) is VECTORS


def test_shares_add_up() -> None:
    head = (dense(12, 5), Normalize(), dense(5, 7), Normalize())
    parts = RNG.standard_normal((6, 12))
    want = apply_head(head, parts.sum(axis=0, keepdims=True).astype(np.float32))[0]
    for module in head:
        parts = module.shares(parts)
    np.testing.assert_allclose(parts.sum(axis=0), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"bias": True}, {"activation": "Tanh"}], ids=str)
def test_what_is_no_sum_has_no_shares(options: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError, match=r"2_Dense .*(a bias|Tanh).* not a sum over tokens"):
        dense(12, 5, **options).shares(np.ones((2, 12)))  # type: ignore[arg-type]
