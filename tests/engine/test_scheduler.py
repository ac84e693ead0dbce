"""How a batch is cut into what threads take."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigte.engine.scheduler import _cuts


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.integers(0, 9))
def test_parts_are_whole_texts_and_nearly_equal(lengths, count):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    cuts = _cuts(offsets, count)
    assert cuts[0] == 0
    assert cuts[-1] == len(lengths)
    assert cuts == sorted(set(cuts))
    assert len(cuts) - 1 <= max(1, count)
    assert np.diff(offsets[cuts]).max() <= sum(lengths) / max(1, count) + max(lengths)


@given(st.integers(1, 512), st.integers(1, 9), st.integers(1, 9))
def test_equal_texts_make_equal_parts(length, each, count):
    cuts = _cuts(length * np.arange(each * count + 1), count)
    assert np.array_equal(np.diff(cuts), [each] * count)
