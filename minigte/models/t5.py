"""What a T5 encoder is: norms before attention and feed-forward, no biases, and no places but distances.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer". Field
names are those of Hugging Face's ``T5Config`` and ``T5EncoderModel``.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigte.models.architecture import Architecture, Parameter
from minigte.models.spec import HIDDEN_ACTS, NO_LIMIT, Spec

GATED = "gated-"  # what a gated feed-forward's activation begins with
# What feed_forward_proj may say; "gated-gelu" has always meant the tanh approximation.
FEED_FORWARD_PROJ = (*HIDDEN_ACTS, *(GATED + name for name in HIDDEN_ACTS))


@dataclass(frozen=True)
class Config:
    """The sizes of one T5 encoder; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    d_model: int  # D, width of the vector that follows a token through the layers
    num_layers: int  # how many encoder layers
    num_heads: int  # H, heads per layer
    d_ff: int  # F, width of the feed-forward layer
    d_kv: int = 64  # K, width of one head; H * K may be another width than D
    relative_attention_num_buckets: int = 32  # rows of the distance table
    relative_attention_max_distance: int = 128  # tokens, from which on all distances share a bucket
    layer_norm_epsilon: float = 1e-6  # added to the mean square in every norm
    feed_forward_proj: str = "relu"  # one of FEED_FORWARD_PROJ

    def __post_init__(self) -> None:
        """Raise ValueError where the sizes do not fit together."""
        exact = self.relative_attention_num_buckets // 4
        if exact < 1:
            raise ValueError(
                f"relative_attention_num_buckets {self.relative_attention_num_buckets} must be at least 4"
            )
        if self.relative_attention_max_distance <= exact:
            raise ValueError(
                f"relative_attention_max_distance {self.relative_attention_max_distance} must be more than a "
                f"quarter of relative_attention_num_buckets {self.relative_attention_num_buckets}"
            )

    @property
    def gated(self) -> bool:
        """Whether the activation of one product is multiplied by another product."""
        return self.feed_forward_proj.startswith(GATED)

    @property
    def not_gated(self) -> bool:
        """The opposite."""
        return not self.gated

    @property
    def hidden_act(self) -> str:
        """The activation, one of the values of HIDDEN_ACTS."""
        if self.feed_forward_proj == "gated-gelu":
            return "gelu_new"
        return HIDDEN_ACTS[self.feed_forward_proj.removeprefix(GATED)]

    @property
    def attention_size(self) -> int:
        """H * K, the width of all heads together."""
        return self.num_heads * self.d_kv


def spec(config: Config) -> Spec:
    """T5 in the engine's words."""
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        head_size=config.d_kv,
        intermediate_size=config.d_ff,
        max_tokens=NO_LIMIT,
        hidden_act=config.hidden_act,
        norm_eps=config.layer_norm_epsilon,
        attention_scale=1.0,
        norm_first=True,
        rms_norm=True,
        gated=config.gated,
        distance_buckets=(config.relative_attention_num_buckets, config.relative_attention_max_distance),
    )


BLOCK = "encoder.block.{}."

PARAMETERS = (
    Parameter("word_embeddings", "shared.weight", ("vocab_size", "d_model")),
    Parameter(
        "distance_embeddings",
        BLOCK.format(0) + "layer.0.SelfAttention.relative_attention_bias.weight",  # for all layers
        ("relative_attention_num_buckets", "num_heads"),
    ),
    Parameter("final_norm_weight", "encoder.final_layer_norm.weight", ("d_model",)),
)

LAYER_PARAMETERS = (
    Parameter("attention_norm_weight", "layer.0.layer_norm.weight", ("d_model",)),
    Parameter("query_weight", "layer.0.SelfAttention.q.weight", ("attention_size", "d_model")),
    Parameter("key_weight", "layer.0.SelfAttention.k.weight", ("attention_size", "d_model")),
    Parameter("value_weight", "layer.0.SelfAttention.v.weight", ("attention_size", "d_model")),
    Parameter("attention_output_weight", "layer.0.SelfAttention.o.weight", ("d_model", "attention_size")),
    Parameter("feed_forward_norm_weight", "layer.1.layer_norm.weight", ("d_model",)),
    Parameter(
        "intermediate_weight", "layer.1.DenseReluDense.wi.weight", ("d_ff", "d_model"), present="not_gated"
    ),
    Parameter(
        "intermediate_weight", "layer.1.DenseReluDense.wi_0.weight", ("d_ff", "d_model"), present="gated"
    ),
    Parameter("gate_weight", "layer.1.DenseReluDense.wi_1.weight", ("d_ff", "d_model"), present="gated"),
    Parameter("output_weight", "layer.1.DenseReluDense.wo.weight", ("d_model", "d_ff")),
)

ARCHITECTURE = Architecture(
    name="t5",
    config=Config,
    spec=spec,
    parameters=PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    layer=BLOCK,
    tokenizer_class="T5Tokenizer",
    activation="feed_forward_proj",
    activations={name: name for name in FEED_FORWARD_PROJ},
    accepted={"is_encoder_decoder": (True, False, None), "is_decoder": (False,)},
    derived={
        "is_gated_act": lambda config: (config.gated,),
        "dense_act_fn": lambda config: tuple(
            name for name, act in HIDDEN_ACTS.items() if act == config.hidden_act
        ),
    },
    harmless=(
        "classifier_dropout",
        "dropout_rate",
        "initializer_factor",
        "n_positions",  # what it was trained on; no array has that many rows
        "num_decoder_layers",
        "scale_decoder_outputs",
    ),
    aliases={
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    },
    tied={"encoder.embed_tokens.weight": "shared.weight"},
)
