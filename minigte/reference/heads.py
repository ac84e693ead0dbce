"""The head of a cross-encoder: from the last hidden states of pairs of texts to their scores.

Letters: B pairs, N tokens in the packed batch, D hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.architecture import ClassificationHead
from minigte.models.weights import ClassificationHeadWeights
from minigte.reference import ops

ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {"tanh": np.tanh, **ops.ACTIVATIONS}


def classify(
    head: ClassificationHead, weights: ClassificationHeadWeights, hidden: Float32, offsets: Ids
) -> Float32:
    """The logits of each pair: (N, D), (B + 1,) offsets -> (B, labels).

    A pair at a time, and not by BLAS, whose sums depend on how many rows there are.
    """
    logits = np.empty((len(offsets) - 1, len(weights.output_bias)), np.float32)
    for b in range(len(logits)):
        states = hidden[offsets[b] : offsets[b + 1]]  # (T, D)
        # The pair's first token is one such as [CLS].
        pooled = states.mean(axis=0) if head.pooling == "mean" else states[0]  # (D,)
        dense = np.einsum("od,d->o", weights.dense_weight, pooled)  # (D,)
        if weights.dense_bias.size:
            dense += weights.dense_bias
        features = ACTIVATIONS[head.activation](dense)  # (D,)
        if weights.norm_weight.size:
            norm = weights.norm_weight, weights.norm_bias
            features = ops.layer_norm(features[None], *norm, head.norm_eps)[0]  # (D,)
        logits[b] = np.einsum("od,d->o", weights.output_weight, features) + weights.output_bias
    return logits
