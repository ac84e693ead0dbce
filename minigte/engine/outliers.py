"""Outliers: the few numbers of a row that some models make far larger than all others.

int8 rounds a row in steps of one part in 127 of its largest number, and numbers that are far smaller are
lost. docs/precision-and-speed.md has a model that makes such rows: one number in 768 is 45, most others are
below 0.3. Outliers always lie in the same few channels of the residual sums, as Dettmers et al. found (2022,
"LLM.int8()", section 3), whose way out is taken here: a product multiplies them in float32, and the rest in
int8. Only channels that the weights alone tell are found, so no text is needed: some norm multiplies them by
several times what it multiplies the others by. The same page says what the others cost.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minigte.arrays import Float32, Int64

MOST = 4  # outliers of a row
LARGE = 4  # times the median of a norm's weights; gte-small's largest is 2.95, that model's 5.69


def outlier_channels(norm_weights: Iterable[Float32]) -> Int64:
    """The channels that any of these norms makes large, at most MOST, the largest first."""
    largest = np.float32(0)
    for weight in norm_weights:
        size = np.abs(weight)
        median = np.median(size) if size.size else 0
        if median > 0:
            largest = np.maximum(largest, size / median)
    order = np.argsort(-np.atleast_1d(largest), kind="stable")[:MOST]
    return order[np.atleast_1d(largest)[order] > LARGE]


def largest_inputs(weight: Float32, channels: Int64) -> Int64:
    """The inputs that the outputs ``channels`` are made of, by their weights: MOST of them, if any.

    They are large where a channel is: it is a sum of few products.
    """
    if not len(channels):
        return channels
    return np.argsort(-np.abs(weight[channels]).sum(axis=0), kind="stable")[:MOST]
