"""What a BERT encoder is: its sizes, its arrays, and their names in a checkpoint.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding". Field names are those of Hugging Face's ``BertConfig`` and ``BertModel``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from minigte.models.architecture import Architecture, ClassificationHead, Parameter, check_heads
from minigte.models.spec import Spec


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

    def __post_init__(self) -> None:
        """Raise ValueError where the heads do not share the hidden size evenly."""
        check_heads(self, "hidden_size", "num_attention_heads")

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads


# Keys of config.json that are no fields, and the values at which they ask for what is computed here.
ACCEPTED: Mapping[str, tuple[object, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "is_causal": (False,),
    "add_cross_attention": (False,),
}


def spec(config: Config) -> Spec:
    """BERT in the engine's words."""
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        head_size=config.head_size,
        intermediate_size=config.intermediate_size,
        max_tokens=config.max_position_embeddings,
        hidden_act=config.hidden_act,
        norm_eps=config.layer_norm_eps,
        attention_scale=1 / math.sqrt(config.head_size),
        type_vocab_size=config.type_vocab_size,
    )


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
    Parameter("feed_forward_norm_weight", "output.LayerNorm.weight", ("hidden_size",)),
    Parameter("feed_forward_norm_bias", "output.LayerNorm.bias", ("hidden_size",)),
)

CLASSIFICATION_HEAD = ClassificationHead(
    "tanh",
    (
        Parameter("dense_weight", "pooler.dense.weight", ("hidden_size", "hidden_size")),
        Parameter("dense_bias", "pooler.dense.bias", ("hidden_size",)),
        Parameter("output_weight", "classifier.weight", ("num_labels", "hidden_size")),
        Parameter("output_bias", "classifier.bias", ("num_labels",)),
    ),
)

ARCHITECTURE = Architecture(
    name="bert",
    config=Config,
    spec=spec,
    accepted=ACCEPTED,
    tokenizer_class="BertTokenizer",
    parameters=EMBEDDING_PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    classification_head=CLASSIFICATION_HEAD.of,
    layer=ENCODER_LAYER,
    prefixes=("bert.",),
    unused=("embeddings.position_ids",),  # the constant 0, 1, 2, ...
    renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
)
