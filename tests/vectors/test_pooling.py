"""Pooling: every mode in both its forms, on packed texts."""

from __future__ import annotations

import numpy as np
import pytest

from minigte import InputError
from minigte.vectors.pooling import POOLING_MODES, normalize, pool, pooled_shares, without_prompt

LENGTHS = [1, 7, 2, 30, 1]
HIDDEN = np.random.default_rng(0).standard_normal((sum(LENGTHS), 12), np.float32)
HIDDEN[3:5] = HIDDEN[2]  # three tokens of one text that are alike, so that a maximum comes from several
OFFSETS = np.cumsum([0, *LENGTHS])

FORMULAS = {  # of one text's tokens (T, D)
    "cls": lambda tokens: tokens[0],
    "lasttoken": lambda tokens: tokens[-1],
    "max": lambda tokens: tokens.max(axis=0),
    "mean": lambda tokens: tokens.mean(axis=0),
    "mean_sqrt_len_tokens": lambda tokens: tokens.sum(axis=0) / len(tokens) ** 0.5,
    "weightedmean": lambda tokens: np.average(tokens, axis=0, weights=range(1, len(tokens) + 1)),
}


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_both_forms_are_the_formula(mode: str) -> None:
    vectors = POOLING_MODES[mode].vectors(HIDDEN, OFFSETS)
    assert vectors.dtype == np.float32
    for vector, tokens in zip(vectors, np.split(HIDDEN.astype(float), OFFSETS[1:-1]), strict=True):
        want = FORMULAS[mode](tokens)
        np.testing.assert_allclose(vector, want, rtol=1e-6, atol=1e-6)
        shares = POOLING_MODES[mode].shares(tokens)
        assert shares.shape == tokens.shape
        np.testing.assert_allclose(shares.sum(axis=0), want, rtol=1e-12, atol=1e-12)


def test_several_modes_side_by_side() -> None:
    modes = tuple(POOLING_MODES)
    vectors = pool(HIDDEN, OFFSETS, modes)
    assert vectors.shape == (5, 12 * len(modes))
    shares = pooled_shares(HIDDEN[1:8].astype(float), modes)
    np.testing.assert_allclose(shares.sum(axis=0), vectors[1], rtol=1e-5, atol=1e-6)


def test_the_first_tokens_of_each_text_left_out() -> None:
    hidden = HIDDEN[1:10]  # two texts, of 7 and 2 tokens
    rows, offsets = without_prompt(hidden, np.array([0, 7, 9]), 1)
    np.testing.assert_array_equal(rows, hidden[[1, 2, 3, 4, 5, 6, 8]])
    np.testing.assert_array_equal(offsets, [0, 6, 7])
    with pytest.raises(InputError, match="2 tokens with its prompt, 2 of them the prompt's"):
        without_prompt(hidden, np.array([0, 7, 9]), 2)
    rows, offsets = without_prompt(hidden[:0], np.array([0]), 3)
    assert rows.shape == (0, 12)
    assert offsets.tolist() == [0]


def test_normalize() -> None:
    vectors = np.concatenate([HIDDEN, np.zeros((1, 12), np.float32)])
    unit = normalize(vectors)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1] * len(HIDDEN) + [0], atol=1e-6)
    np.testing.assert_allclose(unit[:-1] * np.linalg.norm(HIDDEN, axis=1)[:, None], HIDDEN, rtol=1e-5)
