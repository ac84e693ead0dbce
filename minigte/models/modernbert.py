"""What a ModernBERT encoder is: places are angles, most layers look at neighbours alone, and all are gated.

Warner et al. 2024, "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder for Fast, Memory
Efficient, and Long Context Finetuning and Inference". Field names are those of Hugging Face's
``ModernBertConfig``; older and newer keys of ``config.json`` are turned into them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minigte.models.architecture import Architecture, ClassificationHead, Parameter, Part
from minigte.models.spec import HIDDEN_ACTS, Spec

GLOBAL, LOCAL = "full_attention", "sliding_attention"  # the values of layer_types
MOST_LAYERS = 4096  # each is named one by one


@dataclass(frozen=True)
class Config:
    """The sizes of one ModernBERT encoder; every field has the name and meaning it has in ``config.json``."""

    vocab_size: int  # V, rows of the word embedding table
    hidden_size: int  # D, width of the vector that follows a token through the layers
    num_hidden_layers: int  # how many layers
    num_attention_heads: int  # H, heads per layer; D = H * K
    intermediate_size: int  # F, width of the feed-forward layer
    max_position_embeddings: int = 8192  # the longest text, in tokens
    norm_eps: float = 1e-5  # added to the variance in LayerNorm
    norm_bias: bool = False  # whether the norms have a bias,
    attention_bias: bool = False  # the products of attention,
    mlp_bias: bool = False  # and those of feed-forward
    hidden_activation: str = "gelu"  # one of the values of HIDDEN_ACTS
    local_attention: int = 128  # how far a local layer looks, to both sides together
    global_attn_every_n_layers: int = 3  # the first of so many layers is global, the others are local
    layer_types: tuple[str, ...] | None = None  # GLOBAL or LOCAL by layer, where that does not say it
    global_rope_theta: float = 160_000.0  # the base of the rotary angles in global layers
    local_rope_theta: float = 10_000.0  # and in local ones

    def __post_init__(self) -> None:
        """Raise ValueError where the sizes do not fit together."""
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of twice the num_attention_heads "
                f"{self.num_attention_heads}: every head is turned in pairs"
            )
        if self.local_attention < 2:
            raise ValueError(f"local_attention {self.local_attention} must be at least 2")
        if self.num_hidden_layers > MOST_LAYERS:
            raise ValueError(f"num_hidden_layers {self.num_hidden_layers} (limit: {MOST_LAYERS})")
        for key in ("global_rope_theta", "local_rope_theta"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key} must be more than 0, not {getattr(self, key)!r}")
        if self.layer_types is None:
            return
        for kind in self.layer_types:
            if kind not in (GLOBAL, LOCAL):
                raise ValueError(f"layer_types has {kind!r} (known: {GLOBAL}, {LOCAL})")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types has {len(self.layer_types)} layers, but num_hidden_layers is "
                f"{self.num_hidden_layers}"
            )

    @property
    def head_size(self) -> int:
        """K, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """GLOBAL or LOCAL, of every layer."""
        if self.layer_types is not None:
            return self.layer_types
        every = self.global_attn_every_n_layers
        return tuple(LOCAL if layer % every else GLOBAL for layer in range(self.num_hidden_layers))

    @property
    def window(self) -> int:
        """How far a local layer looks to each side."""
        return self.local_attention // 2


def fields_of(config_json: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` with the keys of today's transformers turned into the fields above.

    Raises ValueError for what is not implemented.
    """
    settings = dict(config_json)
    kinds = settings.pop("layer_types", None)
    if kinds is not None:
        if not isinstance(kinds, list):
            raise ValueError(f"layer_types must be a list, not {kinds!r}")
        every = settings.get("global_attn_every_n_layers", Config.global_attn_every_n_layers)
        is_whole = len(kinds) == settings.get("num_hidden_layers") and type(every) is int and every > 0
        periodic = [LOCAL if layer % every else GLOBAL for layer in range(len(kinds))] if is_whole else None
        settings["layer_types"] = None if kinds == periodic else tuple(kinds)
    parameters = settings.pop("rope_parameters", None)
    if not isinstance(parameters, dict | None):
        raise ValueError(f"rope_parameters must be an object, not {parameters!r}")
    for kind, own in (parameters or {}).items():
        key = {GLOBAL: "global_rope_theta", LOCAL: "local_rope_theta"}.get(kind)
        if key is None or not isinstance(own, dict | None):
            raise ValueError(
                f"rope_parameters must have objects under {GLOBAL} and {LOCAL}, not {parameters!r}"
            )
        for name, value in (own or {}).items():
            if name == "rope_theta":
                settings[key] = value
            elif name not in ("rope_type", "type") or value != "default":
                raise ValueError(f"minigte does not implement rope_parameters with {name} {value!r}")
    return settings


def spec(config: Config) -> Spec:
    """ModernBERT in the engine's words."""
    bases = {LOCAL: float(config.local_rope_theta), GLOBAL: float(config.global_rope_theta)}
    return Spec(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        head_size=config.head_size,
        intermediate_size=config.intermediate_size,
        max_tokens=config.max_position_embeddings,
        hidden_act=config.hidden_activation,
        norm_eps=config.norm_eps,
        attention_scale=1 / math.sqrt(config.head_size),
        norm_first=True,
        gated=True,
        windows=tuple(config.window if kind == LOCAL else 0 for kind in config.kinds),
        rotary_bases=tuple(bases[kind] for kind in config.kinds),
    )


LAYER = "layers.{}."

PARAMETERS = (
    Parameter("word_embeddings", "embeddings.tok_embeddings.weight", ("vocab_size", "hidden_size")),
    Parameter("embeddings_norm_weight", "embeddings.norm.weight", ("hidden_size",)),
    Parameter("embeddings_norm_bias", "embeddings.norm.bias", ("hidden_size",), present="norm_bias"),
    Parameter("final_norm_weight", "final_norm.weight", ("hidden_size",)),
    Parameter("final_norm_bias", "final_norm.bias", ("hidden_size",), present="norm_bias"),
)

SQUARE, WIDE = ("hidden_size", "hidden_size"), ("intermediate_size", "hidden_size")
LAYER_PARAMETERS = (
    # The first layer's input has been normed already.
    Parameter("attention_norm_weight", "attn_norm.weight", ("hidden_size",), first_layer=1),
    Parameter("attention_norm_bias", "attn_norm.bias", ("hidden_size",), present="norm_bias", first_layer=1),
    *(
        parameter
        for place, name in enumerate(("query", "key", "value"))
        for parameter in (
            Parameter(f"{name}_weight", "attn.Wqkv.weight", SQUARE, Part(place, 3)),
            Parameter(f"{name}_bias", "attn.Wqkv.bias", ("hidden_size",), Part(place, 3), "attention_bias"),
        )
    ),
    Parameter("attention_output_weight", "attn.Wo.weight", SQUARE),
    Parameter("attention_output_bias", "attn.Wo.bias", ("hidden_size",), present="attention_bias"),
    Parameter("feed_forward_norm_weight", "mlp_norm.weight", ("hidden_size",)),
    Parameter("feed_forward_norm_bias", "mlp_norm.bias", ("hidden_size",), present="norm_bias"),
    Parameter("intermediate_weight", "mlp.Wi.weight", WIDE, Part(0, 2)),
    Parameter("intermediate_bias", "mlp.Wi.bias", ("intermediate_size",), Part(0, 2), "mlp_bias"),
    Parameter("gate_weight", "mlp.Wi.weight", WIDE, Part(1, 2)),
    Parameter("gate_bias", "mlp.Wi.bias", ("intermediate_size",), Part(1, 2), "mlp_bias"),
    Parameter("output_weight", "mlp.Wo.weight", ("hidden_size", "intermediate_size")),
    Parameter("output_bias", "mlp.Wo.bias", ("hidden_size",), present="mlp_bias"),
)


def classification_head(config_json: Mapping[str, Any]) -> ClassificationHead:
    """What ``config.json`` says of the head. Raises ValueError for what is not implemented."""
    pooling = config_json.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise ValueError(f"minigte does not implement classifier_pooling {pooling!r} (known: cls, mean)")
    activation = config_json.get("classifier_activation", "gelu")
    if activation not in HIDDEN_ACTS:
        known = ", ".join(HIDDEN_ACTS)
        raise ValueError(f"minigte does not implement classifier_activation {activation!r} (known: {known})")
    parameters = [
        Parameter("dense_weight", "head.dense.weight", ("hidden_size", "hidden_size")),
        Parameter("norm_weight", "head.norm.weight", ("hidden_size",)),
        Parameter("output_weight", "classifier.weight", ("num_labels", "hidden_size")),
        Parameter("output_bias", "classifier.bias", ("num_labels",)),
    ]
    if config_json.get("classifier_bias", False):
        parameters.append(Parameter("dense_bias", "head.dense.bias", ("hidden_size",)))
    if config_json.get("norm_bias", Config.norm_bias):
        parameters.append(Parameter("norm_bias", "head.norm.bias", ("hidden_size",)))
    eps = config_json.get("norm_eps", Config.norm_eps)
    return ClassificationHead(HIDDEN_ACTS[activation], tuple(parameters), pooling, eps)


ARCHITECTURE = Architecture(
    name="modernbert",
    config=Config,
    spec=spec,
    parameters=PARAMETERS,
    layer_parameters=LAYER_PARAMETERS,
    classification_head=classification_head,
    layer=LAYER,
    tokenizer_class="TokenizersBackend",
    activation="hidden_activation",
    fields_of=fields_of,
    accepted={"rope_scaling": (None,), "is_causal": (False,), "is_decoder": (False,)},
    harmless=(
        "attention_dropout",
        "classifier_activation",
        "classifier_bias",
        "classifier_pooling",
        "decoder_bias",
        "deterministic_flash_attn",
        "embedding_dropout",
        "initializer_cutoff_factor",
        "layer_norm_eps",  # norm_eps counts
        "mlp_dropout",
        "position_embedding_type",
        "reference_compile",
        "repad_logits_with_grad",
        "sparse_pred_ignore_index",
        "sparse_prediction",
    ),
    prefixes=("model.",),
)
