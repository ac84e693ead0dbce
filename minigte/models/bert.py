"""What a BERT encoder is: its sizes, its arrays, and their names in a checkpoint.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding". Field names are those of Hugging Face's ``BertConfig`` and ``BertModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from minigte.arrays import Float32

# Activations by the names that config.json may give them -> the one that minigte computes it by. The names
# on the left of one function differ in transformers by the order of their roundings alone.
HIDDEN_ACTS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_10": "gelu_10",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Config:
    """The sizes of one BERT encoder; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    hidden_size: int  # D, width of the vector that follows a token through the layers
    num_hidden_layers: int  # how many encoder layers
    num_attention_heads: int  # H, heads per layer; D = H * K
    intermediate_size: int  # F, width of the feed-forward layer
    max_position_embeddings: int = 512  # the longest text, in tokens
    type_vocab_size: int = 2  # rows of the token type ("segment") table; a single text uses row 0
    layer_norm_eps: float = 1e-12  # added to the variance in LayerNorm
    hidden_act: str = "gelu"  # one of the values of HIDDEN_ACTS

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads


# Keys of config.json that are no fields, and the values at which they ask for what is computed here.
ACCEPTED: Mapping[str, tuple[object, ...]] = {
    "hidden_act": tuple(HIDDEN_ACTS),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "is_causal": (False,),
    "add_cross_attention": (False,),
}

# transformers' tokenizer of this model_type, where the model's files name no other.
TOKENIZER_CLASS = "BertTokenizer"


@dataclass(frozen=True)
class LayerWeights:
    """The arrays of one encoder layer; a linear weight is (outputs, inputs), as checkpoints store it."""

    query_weight: Float32  # (D, D)
    query_bias: Float32  # (D,)
    key_weight: Float32  # (D, D)
    key_bias: Float32  # (D,)
    value_weight: Float32  # (D, D)
    value_bias: Float32  # (D,)
    attention_output_weight: Float32  # (D, D)
    attention_output_bias: Float32  # (D,)
    attention_norm_weight: Float32  # (D,)
    attention_norm_bias: Float32  # (D,)
    intermediate_weight: Float32  # (F, D)
    intermediate_bias: Float32  # (F,)
    output_weight: Float32  # (D, F)
    output_bias: Float32  # (D,)
    output_norm_weight: Float32  # (D,)
    output_norm_bias: Float32  # (D,)


@dataclass(frozen=True)
class Weights:
    """All arrays of a BERT encoder, C-contiguous float32 and read-only."""

    word_embeddings: Float32  # (V, D)
    position_embeddings: Float32  # (max_position_embeddings, D)
    token_type_embeddings: Float32  # (type_vocab_size, D)
    embeddings_norm_weight: Float32  # (D,)
    embeddings_norm_bias: Float32  # (D,)
    layers: tuple[LayerWeights, ...]


class Parameter(NamedTuple):
    """One row of the parameter table."""

    field: str  # the attribute of Weights or LayerWeights
    name: str  # the checkpoint's name for it, after ENCODER_LAYER.format(i) for a layer's
    shape: tuple[str, ...]  # each axis is a field of Config


ENCODER_LAYER = "encoder.layer.{}."

EMBEDDING_PARAMETERS = (
    Parameter("word_embeddings", "embeddings.word_embeddings.weight", ("vocab_size", "hidden_size")),
    Parameter(
        "position_embeddings",
        "embeddings.position_embeddings.weight",
        ("max_position_embeddings", "hidden_size"),
    ),
    Parameter(
        "token_type_embeddings",
        "embeddings.token_type_embeddings.weight",
        ("type_vocab_size", "hidden_size"),
    ),
    Parameter("embeddings_norm_weight", "embeddings.LayerNorm.weight", ("hidden_size",)),
    Parameter("embeddings_norm_bias", "embeddings.LayerNorm.bias", ("hidden_size",)),
)

LAYER_PARAMETERS = (
    Parameter("query_weight", "attention.self.query.weight", ("hidden_size", "hidden_size")),
    Parameter("query_bias", "attention.self.query.bias", ("hidden_size",)),
    Parameter("key_weight", "attention.self.key.weight", ("hidden_size", "hidden_size")),
    Parameter("key_bias", "attention.self.key.bias", ("hidden_size",)),
    Parameter("value_weight", "attention.self.value.weight", ("hidden_size", "hidden_size")),
    Parameter("value_bias", "attention.self.value.bias", ("hidden_size",)),
    Parameter("attention_output_weight", "attention.output.dense.weight", ("hidden_size", "hidden_size")),
    Parameter("attention_output_bias", "attention.output.dense.bias", ("hidden_size",)),
    Parameter("attention_norm_weight", "attention.output.LayerNorm.weight", ("hidden_size",)),
    Parameter("attention_norm_bias", "attention.output.LayerNorm.bias", ("hidden_size",)),
    Parameter("intermediate_weight", "intermediate.dense.weight", ("intermediate_size", "hidden_size")),
    Parameter("intermediate_bias", "intermediate.dense.bias", ("intermediate_size",)),
    Parameter("output_weight", "output.dense.weight", ("hidden_size", "intermediate_size")),
    Parameter("output_bias", "output.dense.bias", ("hidden_size",)),
    Parameter("output_norm_weight", "output.LayerNorm.weight", ("hidden_size",)),
    Parameter("output_norm_bias", "output.LayerNorm.bias", ("hidden_size",)),
)

# Checkpoints carry these too. The pooler and the pre-training heads (cls) are not part of an
# embedding; position_ids is the constant 0, 1, 2, ...
UNUSED = ("pooler.", "embeddings.position_ids", "cls.")


def canonical_name(name: str) -> str:
    """A tensor's name without the ``bert.`` prefix, and with today's names for LayerNorm's arrays."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
