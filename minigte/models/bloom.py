"""What a BLOOM encoder is: causal, with a bias by distance that is not learned, and norms first.

BigScience Workshop 2022, "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model". Field names are
those of Hugging Face's ``BloomConfig`` and ``BloomModel``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minigte.models.architecture import Architecture, Parameter, Part, check_heads
from minigte.models.distances import slopes
from minigte.models.spec import NO_LIMIT, Spec

HIDDEN_ACT = "gelu_new"  # fixed
MOST_HEADS = 4096  # each has a slope of its own


@dataclass(frozen=True)
class Config:
    """The sizes of one BLOOM model; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    hidden_size: int  # D, width of the vector that follows a token through the layers
    n_layer: int  # how many layers
    n_head: int  # H, heads per layer; D = H * K
    layer_norm_epsilon: float = 1e-5  # added to the variance in LayerNorm

    def __post_init__(self) -> None:
        """Raise ValueError where the heads do not share the hidden size evenly."""
        check_heads(self, "hidden_size", "n_head")
        if self.n_head > MOST_HEADS:
            raise ValueError(f"n_head {self.n_head} (limit: {MOST_HEADS})")

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.hidden_size // self.n_head

    @property
    def intermediate_size(self) -> int:
        """F, the width of the feed-forward layer."""
        return 4 * self.hidden_size


def fields_of(config_json: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` with the older name of hidden_size turned into that; it counts before the newer one."""
    settings = dict(config_json)
    width = settings.pop("n_embed", None)
    return settings if width is None else {**settings, "hidden_size": width}


def spec(config: Config) -> Spec:
    """BLOOM in the engine's words."""
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        head_size=config.head_size,
        intermediate_size=config.intermediate_size,
        max_tokens=NO_LIMIT,
        hidden_act=HIDDEN_ACT,
        norm_eps=config.layer_norm_epsilon,
        attention_scale=1 / math.sqrt(config.head_size),
        norm_first=True,
        causal=True,
        distance_slopes=slopes(config.n_head),
    )


LAYER = "h.{}."

PARAMETERS = (
    Parameter("word_embeddings", "word_embeddings.weight", ("vocab_size", "hidden_size")),
    Parameter("embeddings_norm_weight", "word_embeddings_layernorm.weight", ("hidden_size",)),
    Parameter("embeddings_norm_bias", "word_embeddings_layernorm.bias", ("hidden_size",)),
    Parameter("final_norm_weight", "ln_f.weight", ("hidden_size",)),
    Parameter("final_norm_bias", "ln_f.bias", ("hidden_size",)),
)

LAYER_PARAMETERS = (
    Parameter("attention_norm_weight", "input_layernorm.weight", ("hidden_size",)),
    Parameter("attention_norm_bias", "input_layernorm.bias", ("hidden_size",)),
    *(
        Parameter(f"{name}_{kind}", f"self_attention.query_key_value.{kind}", shape, Part(place, 3, "n_head"))
        for place, name in enumerate(("query", "key", "value"))
        for kind, shape in (("weight", ("hidden_size", "hidden_size")), ("bias", ("hidden_size",)))
    ),
    Parameter("attention_output_weight", "self_attention.dense.weight", ("hidden_size", "hidden_size")),
    Parameter("attention_output_bias", "self_attention.dense.bias", ("hidden_size",)),
    Parameter("feed_forward_norm_weight", "post_attention_layernorm.weight", ("hidden_size",)),
    Parameter("feed_forward_norm_bias", "post_attention_layernorm.bias", ("hidden_size",)),
    Parameter("intermediate_weight", "mlp.dense_h_to_4h.weight", ("intermediate_size", "hidden_size")),
    Parameter("intermediate_bias", "mlp.dense_h_to_4h.bias", ("intermediate_size",)),
    Parameter("output_weight", "mlp.dense_4h_to_h.weight", ("hidden_size", "intermediate_size")),
    Parameter("output_bias", "mlp.dense_4h_to_h.bias", ("hidden_size",)),
)

ARCHITECTURE = Architecture(
    name="bloom",
    config=Config,
    spec=spec,
    parameters=PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    layer=LAYER,
    tokenizer_class="TokenizersBackend",
    activation="",
    fields_of=fields_of,
    accepted={"apply_residual_connection_post_layernorm": (False,)},
    derived={"n_inner": lambda config: (config.intermediate_size, None)},
    harmless=(
        "attention_dropout",
        "attention_softmax_in_fp32",
        "bias_dropout_fusion",
        "hidden_dropout",
        "masked_softmax_fusion",
        "offset_alibi",
        "pretraining_tp",
        "seq_length",  # what it was trained on; the bias by distance goes on
        "skip_bias_add",
        "skip_bias_add_qkv",
        "slow_but_exact",
    ),
    aliases={"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    prefixes=("transformer.",),
)
