"""The head of a cross-encoder: from the last hidden states of pairs of texts to their scores.

Letters: B pairs, N tokens in the packed batch, D hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.architecture import Head
from minigte.models.weights import HeadWeights
from minigte.reference import ops

ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {"tanh": np.tanh, "relu": ops.relu}


def classify(head: Head, weights: HeadWeights, hidden: Float32, offsets: Ids) -> Float32:
    """The logits of each pair: (N, D), (B + 1,) offsets -> (B, labels).

    A pair at a time, and not by BLAS, whose sums depend on how many rows there are.
    """
    logits = np.empty((len(offsets) - 1, len(weights.output_bias)), np.float32)
    for b, first in enumerate(hidden[offsets[:-1]]):  # (D,) the pair's first token, such as [CLS]
        dense = np.einsum("od,d->o", weights.dense_weight, first) + weights.dense_bias  # (D,)
        pooled = ACTIVATIONS[head.activation](dense)  # (D,)
        logits[b] = np.einsum("od,d->o", weights.output_weight, pooled) + weights.output_bias
    return logits
