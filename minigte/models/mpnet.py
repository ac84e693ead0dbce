"""What an MPNet encoder is: a BERT without token types that also looks at how far two tokens stand apart.

Song et al. 2020, "MPNet: Masked and Permuted Pre-training for Language Understanding". Field names are those
of Hugging Face's ``MPNetConfig`` and ``MPNetModel``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigte.models import roberta
from minigte.models.architecture import Architecture, Parameter, check_heads
from minigte.models.spec import Spec

PADDING_ID = 1  # the token <pad>; fixed, whatever config.json says
BUCKETS = 32  # of distances; fixed too: config.json says how many rows the table has
MAX_DISTANCE = 128  # tokens, from which on all distances share a bucket


@dataclass(frozen=True)
class Config:
    """The sizes of one MPNet encoder; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    hidden_size: int  # D, width of the vector that follows a token through the layers
    num_hidden_layers: int  # how many encoder layers
    num_attention_heads: int  # H, heads per layer; D = H * K
    intermediate_size: int  # F, width of the feed-forward layer
    max_position_embeddings: int = (
        512  # rows of the position table: two more than the longest text has tokens
    )
    layer_norm_eps: float = 1e-12  # added to the variance in LayerNorm
    hidden_act: str = "gelu"  # one of the values of HIDDEN_ACTS
    relative_attention_num_buckets: int = 32  # rows of the distance table

    def __post_init__(self) -> None:
        """Raise ValueError where the sizes do not fit together."""
        check_heads(self, "hidden_size", "num_attention_heads")
        if self.relative_attention_num_buckets < BUCKETS:
            raise ValueError(
                f"relative_attention_num_buckets {self.relative_attention_num_buckets} is fewer than the "
                f"{BUCKETS} that distances are put into"
            )
        if self.max_position_embeddings <= PADDING_ID + 1:
            raise ValueError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no place for a token: the "
                f"first has row {PADDING_ID + 1}"
            )

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads


def spec(config: Config) -> Spec:
    """MPNet in the engine's words."""
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        head_size=config.head_size,
        intermediate_size=config.intermediate_size,
        max_tokens=config.max_position_embeddings - PADDING_ID - 1,
        hidden_act=config.hidden_act,
        norm_eps=config.layer_norm_eps,
        attention_scale=1 / math.sqrt(config.head_size),
        first_position=PADDING_ID + 1,
        padding_id=PADDING_ID,
        distance_buckets=(BUCKETS, MAX_DISTANCE),
    )


ENCODER_LAYER = "encoder.layer.{}."

EMBEDDING_PARAMETERS = (
    Parameter("word_embeddings", "embeddings.word_embeddings.weight", ("vocab_size", "hidden_size")),
    Parameter(
        "position_embeddings",
        "embeddings.position_embeddings.weight",
        ("max_position_embeddings", "hidden_size"),
    ),
    Parameter("embeddings_norm_weight", "embeddings.LayerNorm.weight", ("hidden_size",)),
    Parameter("embeddings_norm_bias", "embeddings.LayerNorm.bias", ("hidden_size",)),
    Parameter(
        "distance_embeddings",
        "encoder.relative_attention_bias.weight",
        ("relative_attention_num_buckets", "num_attention_heads"),
    ),
)

LAYER_PARAMETERS = (
    Parameter("query_weight", "attention.attn.q.weight", ("hidden_size", "hidden_size")),
    Parameter("query_bias", "attention.attn.q.bias", ("hidden_size",)),
    Parameter("key_weight", "attention.attn.k.weight", ("hidden_size", "hidden_size")),
    Parameter("key_bias", "attention.attn.k.bias", ("hidden_size",)),
    Parameter("value_weight", "attention.attn.v.weight", ("hidden_size", "hidden_size")),
    Parameter("value_bias", "attention.attn.v.bias", ("hidden_size",)),
    Parameter("attention_output_weight", "attention.attn.o.weight", ("hidden_size", "hidden_size")),
    Parameter("attention_output_bias", "attention.attn.o.bias", ("hidden_size",)),
    Parameter("attention_norm_weight", "attention.LayerNorm.weight", ("hidden_size",)),
    Parameter("attention_norm_bias", "attention.LayerNorm.bias", ("hidden_size",)),
    Parameter("intermediate_weight", "intermediate.dense.weight", ("intermediate_size", "hidden_size")),
    Parameter("intermediate_bias", "intermediate.dense.bias", ("intermediate_size",)),
    Parameter("output_weight", "output.dense.weight", ("hidden_size", "intermediate_size")),
    Parameter("output_bias", "output.dense.bias", ("hidden_size",)),
    Parameter("feed_forward_norm_weight", "output.LayerNorm.weight", ("hidden_size",)),
    Parameter("feed_forward_norm_bias", "output.LayerNorm.bias", ("hidden_size",)),
)

ARCHITECTURE = Architecture(
    name="mpnet",
    config=Config,
    spec=spec,
    parameters=EMBEDDING_PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    classification_head=roberta.CLASSIFICATION_HEAD.of,
    layer=ENCODER_LAYER,
    tokenizer_class="MPNetTokenizer",
    prefixes=("mpnet.",),
    unused=("embeddings.position_ids",),
)
