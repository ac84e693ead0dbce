"""What a DistilBERT encoder is: a BERT of half the layers, without token types, under names of its own.

Sanh et al. 2019, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter". Field names
are those of Hugging Face's ``DistilBertConfig`` and ``DistilBertModel``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigte.models.architecture import Architecture, ClassificationHead, Parameter, check_heads
from minigte.models.spec import Spec

LAYER_NORM_EPS = 1e-12  # fixed; added to the variance in LayerNorm


@dataclass(frozen=True)
class Config:
    """The sizes of one DistilBERT encoder; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    dim: int  # D, width of the vector that follows a token through the layers
    n_layers: int  # how many layers
    n_heads: int  # H, heads per layer; D = H * K
    hidden_dim: int  # F, width of the feed-forward layer
    max_position_embeddings: int = 512  # the longest text, in tokens
    activation: str = "gelu"  # one of the values of HIDDEN_ACTS

    def __post_init__(self) -> None:
        """Raise ValueError where the heads do not share the width evenly."""
        check_heads(self, "dim", "n_heads")

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.dim // self.n_heads


def spec(config: Config) -> Spec:
    """DistilBERT in the engine's words."""
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        head_size=config.head_size,
        intermediate_size=config.hidden_dim,
        max_tokens=config.max_position_embeddings,
        hidden_act=config.activation,
        norm_eps=LAYER_NORM_EPS,
        attention_scale=1 / math.sqrt(config.head_size),
    )


LAYER = "transformer.layer.{}."

EMBEDDING_PARAMETERS = (
    Parameter("word_embeddings", "embeddings.word_embeddings.weight", ("vocab_size", "dim")),
    Parameter(
        "position_embeddings", "embeddings.position_embeddings.weight", ("max_position_embeddings", "dim")
    ),
    Parameter("embeddings_norm_weight", "embeddings.LayerNorm.weight", ("dim",)),
    Parameter("embeddings_norm_bias", "embeddings.LayerNorm.bias", ("dim",)),
)

LAYER_PARAMETERS = (
    Parameter("query_weight", "attention.q_lin.weight", ("dim", "dim")),
    Parameter("query_bias", "attention.q_lin.bias", ("dim",)),
    Parameter("key_weight", "attention.k_lin.weight", ("dim", "dim")),
    Parameter("key_bias", "attention.k_lin.bias", ("dim",)),
    Parameter("value_weight", "attention.v_lin.weight", ("dim", "dim")),
    Parameter("value_bias", "attention.v_lin.bias", ("dim",)),
    Parameter("attention_output_weight", "attention.out_lin.weight", ("dim", "dim")),
    Parameter("attention_output_bias", "attention.out_lin.bias", ("dim",)),
    Parameter("attention_norm_weight", "sa_layer_norm.weight", ("dim",)),
    Parameter("attention_norm_bias", "sa_layer_norm.bias", ("dim",)),
    Parameter("intermediate_weight", "ffn.lin1.weight", ("hidden_dim", "dim")),
    Parameter("intermediate_bias", "ffn.lin1.bias", ("hidden_dim",)),
    Parameter("output_weight", "ffn.lin2.weight", ("dim", "hidden_dim")),
    Parameter("output_bias", "ffn.lin2.bias", ("dim",)),
    Parameter("feed_forward_norm_weight", "output_layer_norm.weight", ("dim",)),
    Parameter("feed_forward_norm_bias", "output_layer_norm.bias", ("dim",)),
)

CLASSIFICATION_HEAD = ClassificationHead(
    "relu",
    (
        Parameter("dense_weight", "pre_classifier.weight", ("dim", "dim")),
        Parameter("dense_bias", "pre_classifier.bias", ("dim",)),
        Parameter("output_weight", "classifier.weight", ("num_labels", "dim")),
        Parameter("output_bias", "classifier.bias", ("num_labels",)),
    ),
)

ARCHITECTURE = Architecture(
    name="distilbert",
    config=Config,
    spec=spec,
    parameters=EMBEDDING_PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    classification_head=CLASSIFICATION_HEAD.of,
    layer=LAYER,
    tokenizer_class="DistilBertTokenizer",
    activation="activation",
    harmless=(
        "attention_dropout",
        "dropout",
        "qa_dropout",
        "seq_classif_dropout",
        "sinusoidal_pos_embds",
        "tie_weights_",  # whether the masked language model's head is the embedding table
    ),
    prefixes=("distilbert.",),
    unused=("embeddings.position_ids",),
)
