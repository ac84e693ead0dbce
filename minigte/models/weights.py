"""The arrays of a model, under one set of names for all architectures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from minigte.arrays import Float32

ABSENT: Float32 = np.empty(0, np.float32)  # stands for an array that a model does not have
ABSENT.flags.writeable = False


def _absent() -> Float32:
    return ABSENT


@dataclass(frozen=True)
class LayerWeights:
    """The arrays of one layer; a linear weight is (outputs, inputs), as checkpoints store it.

    H * K is D in most architectures. The two norms stand where the architecture has them: each after its
    block and the residual, or before its block.
    """

    query_weight: Float32  # (H * K, D)
    key_weight: Float32  # (H * K, D)
    value_weight: Float32  # (H * K, D)
    attention_output_weight: Float32  # (D, H * K)
    intermediate_weight: Float32  # (F, D)
    output_weight: Float32  # (D, F)
    query_bias: Float32 = field(default_factory=_absent)  # (H * K,)
    key_bias: Float32 = field(default_factory=_absent)  # (H * K,)
    value_bias: Float32 = field(default_factory=_absent)  # (H * K,)
    attention_output_bias: Float32 = field(default_factory=_absent)  # (D,)
    attention_norm_weight: Float32 = field(default_factory=_absent)  # (D,)
    attention_norm_bias: Float32 = field(default_factory=_absent)  # (D,)
    intermediate_bias: Float32 = field(default_factory=_absent)  # (F,)
    gate_weight: Float32 = field(
        default_factory=_absent
    )  # (F, D) what the activated intermediate is multiplied by
    gate_bias: Float32 = field(default_factory=_absent)  # (F,)
    output_bias: Float32 = field(default_factory=_absent)  # (D,)
    feed_forward_norm_weight: Float32 = field(default_factory=_absent)  # (D,)
    feed_forward_norm_bias: Float32 = field(default_factory=_absent)  # (D,)


@dataclass(frozen=True)
class ClassificationHeadWeights:
    """The arrays of what scores a pair of texts."""

    dense_weight: Float32  # (D, D)
    output_weight: Float32  # (labels, D)
    output_bias: Float32  # (labels,)
    dense_bias: Float32 = field(default_factory=_absent)  # (D,)
    norm_weight: Float32 = field(default_factory=_absent)  # (D,) of the activated dense
    norm_bias: Float32 = field(default_factory=_absent)  # (D,)


StoredDtype = Literal["float32", "float16", "bfloat16"]  # how a checkpoint may have its numbers


class StoredAs(NamedTuple):
    """What holds each value of the large arrays: "float16" or "bfloat16" where a checkpoint has them so."""

    word_embeddings: StoredDtype = "float32"
    layers: StoredDtype = "float32"  # the linear weights of all layers


FLOAT32 = StoredAs()


@dataclass(frozen=True)
class Weights:
    """All arrays of a model, C-contiguous float32 and read-only."""

    word_embeddings: Float32  # (V, D)
    layers: tuple[LayerWeights, ...]
    stored_as: StoredAs = FLOAT32
    position_embeddings: Float32 = field(default_factory=_absent)  # (positions, D)
    token_type_embeddings: Float32 = field(default_factory=_absent)  # (token types, D)
    embeddings_norm_weight: Float32 = field(default_factory=_absent)  # (D,)
    embeddings_norm_bias: Float32 = field(default_factory=_absent)  # (D,)
    distance_embeddings: Float32 = field(
        default_factory=_absent
    )  # (buckets, H) added to the scores, by how far two tokens stand apart
    final_norm_weight: Float32 = field(default_factory=_absent)  # (D,) after the last layer
    final_norm_bias: Float32 = field(default_factory=_absent)  # (D,)
