"""RoBERTa's forward pass: BERT's, but for where places are counted from."""

from __future__ import annotations

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.bert import ENCODER_LAYER
from minigte.models.roberta import Config, spec
from minigte.models.weights import Weights
from minigte.reference import bert, ops
from minigte.reference.observe import Observe, ignore, prefixed
from minigte.reference.packed import Scratch

NAMES = bert.NAMES


def forward(
    config: Config,
    weights: Weights,
    input_ids: Ids,
    offsets: Ids,
    observe: Observe = ignore,
    token_type_ids: Ids | None = None,
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``token_type_ids`` and ``observe`` are as in ``reference.bert``.
    """
    position_ids = ops.position_ids_behind(config.pad_token_id, input_ids, offsets)  # (N,) 2..T+1
    if token_type_ids is None:
        token_type_ids = np.zeros_like(input_ids)  # (N,)
    ids = input_ids, position_ids, token_type_ids
    x = bert.embeddings(config, weights, *ids, prefixed("embeddings.", observe))  # (N, D)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        observe_layer = prefixed(ENCODER_LAYER.format(i), observe)
        x = bert.encoder_layer(config, layer, x, offsets, scratch, observe_layer)
    return x  # (N, D)
