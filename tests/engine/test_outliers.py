"""Which channels are outliers, and which inputs make them: small weights in which it can be seen."""

from collections.abc import Mapping

import numpy as np
import pytest

from minigte.engine.outliers import LARGE, MOST, largest_inputs, outlier_channels


def norm(large: Mapping[int, float]) -> np.ndarray:
    """A norm's weights: 0.5, but for the channels in ``large``, which have so many times that."""
    weight = np.full(40, 0.5, np.float32)
    for channel, times in large.items():
        weight[channel] *= times
    return weight


def test_a_norm_that_makes_a_channel_large_tells_it() -> None:
    assert outlier_channels([norm({}), norm({7: 5}), norm({})]).tolist() == [7]
    assert outlier_channels([norm({7: -5})]).tolist() == [7]
    assert outlier_channels([norm({7: 5}) * np.float32(1e-3)]).tolist() == [7]  # the others count


@pytest.mark.parametrize("norms", [[], [norm({})], [norm({7: LARGE})], [np.empty(0, np.float32)]])
def test_no_outliers(norms: list[np.ndarray]) -> None:
    assert outlier_channels(norms).tolist() == []


def test_the_largest_channels_of_all_norms_come_first() -> None:
    norms = [norm({1: 5, 3: 9}), norm({1: 7, 6: 8})]
    assert outlier_channels(norms).tolist() == [3, 6, 1]


def test_there_are_at_most_so_many() -> None:
    assert outlier_channels([norm({i: 10 + i for i in range(MOST + 2)})]).tolist() == [5, 4, 3, 2]
    assert outlier_channels([norm(dict.fromkeys(range(MOST + 2), 10))]).tolist() == [0, 1, 2, 3]


def test_a_norm_that_is_mostly_zeros_tells_nothing() -> None:
    weight = np.zeros(40, np.float32)
    weight[2] = 1
    assert outlier_channels([weight]).tolist() == []
    assert outlier_channels([weight, norm({7: 5})]).tolist() == [7]


def test_the_inputs_of_an_outlier_are_those_with_its_largest_weights() -> None:
    weight = np.zeros((3, 8), np.float32)  # (outputs, inputs)
    weight[1] = [0, -6, 1, 5, 0, 2, 9, 3]
    weight[2] = 100  # no outlier
    assert largest_inputs(weight, np.array([1])).tolist() == [6, 1, 3, 7]


def test_the_inputs_of_several_outliers_count_by_their_sum() -> None:
    weight = np.zeros((3, 8), np.float32)
    weight[0, [0, 1]] = 5, 4
    weight[2, [1, 2]] = -4, 3
    assert largest_inputs(weight, np.array([2, 0])).tolist() == [1, 0, 2, 3]  # the rest by position


def test_without_outliers_no_input_is_one() -> None:
    none = np.empty(0, np.int64)
    assert largest_inputs(np.ones((3, 8), np.float32), none).tolist() == []


def test_a_product_with_fewer_inputs_than_it_could_take() -> None:
    assert largest_inputs(np.array([[1, 3]], np.float32), np.array([0])).tolist() == [1, 0]
