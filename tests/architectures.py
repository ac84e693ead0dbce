"""What the tests know of each architecture: a tiny config, other values of its fields, random configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tiny

from minigte.models import ARCHITECTURES, bloom, distilbert, modernbert, mpnet, roberta, t5
from minigte.models.spec import HIDDEN_ACTS

Draw = Callable[..., Any]
ACTIVATIONS = sorted(set(HIDDEN_ACTS.values()))


@dataclass(frozen=True)
class Case:
    """One architecture for the tests."""

    config: Any  # of a tiny model, whose vocabulary is tiny.VOCABULARY
    changed: dict[str, Any]  # another value for every field of it
    draw: Callable[[Draw], dict[str, Any]]  # the fields of a random config
    heads: tuple[str, ...]  # transformers' classes that keep the encoder below the architecture's prefix
    golden: dict[str, dict[str, Any]]  # golden file -> the fields changed for it


def transformer_sizes(draw: Draw) -> dict[str, Any]:
    """Sizes that BERT's relatives have under the same names."""
    heads = draw(1, 2, 3, 4, 5, 7)
    return {
        "vocab_size": draw(5, 31, 64, 101, 257),
        "hidden_size": heads * draw(4, 5, 6, 8, 13, 16, 32),
        "num_hidden_layers": draw(1, 2, 3, 4),
        "num_attention_heads": heads,
        "intermediate_size": draw(1, 3, 16, 37, 64, 129),
        "layer_norm_eps": draw(1e-12, 1e-7, 1e-5, 1e-3, 0.1, 2.0),
        "hidden_act": draw(*ACTIVATIONS),
    }


def draw_bert(draw: Draw) -> dict[str, Any]:
    return {
        **transformer_sizes(draw),
        "max_position_embeddings": draw(1, 2, 7, 16, 40, 130),
        "type_vocab_size": draw(1, 2, 3),
    }


def draw_distilbert(draw: Draw) -> dict[str, Any]:
    heads = draw(1, 2, 3, 4, 5, 7)
    return {
        "vocab_size": draw(5, 31, 64, 101, 257),
        "dim": heads * draw(4, 5, 6, 8, 13, 16, 32),
        "n_layers": draw(1, 2, 3, 4),
        "n_heads": heads,
        "hidden_dim": draw(1, 3, 16, 37, 64, 129),
        "max_position_embeddings": draw(1, 2, 7, 16, 40, 130),
        "activation": draw(*ACTIVATIONS),
    }


def draw_roberta(draw: Draw) -> dict[str, Any]:
    return {
        **draw_bert(draw),
        "max_position_embeddings": draw(6, 7, 18, 42, 135),
        "pad_token_id": draw(1, 2, 4),
    }


def draw_mpnet(draw: Draw) -> dict[str, Any]:
    return {
        **transformer_sizes(draw),
        "max_position_embeddings": draw(3, 4, 9, 18, 40, 170),
        "relative_attention_num_buckets": draw(32, 33, 40),
    }


def draw_t5(draw: Draw) -> dict[str, Any]:
    return {
        "vocab_size": draw(5, 31, 64, 101, 257),
        "d_model": draw(12, 16, 27, 32, 60),
        "num_layers": draw(1, 2, 3, 4),
        "num_heads": draw(1, 2, 3, 4, 5, 7),
        "d_ff": draw(1, 3, 16, 37, 64, 129),
        "d_kv": draw(4, 5, 8, 13, 16, 33),
        "relative_attention_num_buckets": draw(4, 7, 20, 32, 64),
        "relative_attention_max_distance": draw(17, 50, 128, 200),
        "layer_norm_epsilon": draw(1e-12, 1e-6, 1e-3, 0.1, 2.0),
        "feed_forward_proj": draw(*t5.FEED_FORWARD_PROJ),
    }


def draw_modernbert(draw: Draw) -> dict[str, Any]:
    heads, layers = draw(1, 2, 3, 4, 5), draw(1, 2, 3, 4)
    every = draw(1, 2, 3, 4)
    kinds = tuple(draw(modernbert.GLOBAL, modernbert.LOCAL) for _ in range(layers))
    periodic = kinds == modernbert.Config(1, 2, layers, 1, 1, global_attn_every_n_layers=every).kinds
    return {
        "vocab_size": draw(5, 31, 64, 101, 257),
        "hidden_size": heads * draw(4, 6, 8, 14, 16, 32),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": draw(1, 3, 16, 37, 64, 129),
        "max_position_embeddings": draw(1, 2, 7, 16, 40, 130),
        "norm_eps": draw(1e-12, 1e-5, 1e-3, 0.1, 2.0),
        "norm_bias": draw(False, True),
        "attention_bias": draw(False, True),
        "mlp_bias": draw(False, True),
        "hidden_activation": draw(*ACTIVATIONS),
        "local_attention": draw(2, 3, 7, 16, 40),
        "global_attn_every_n_layers": every,
        "layer_types": None if periodic else draw(None, kinds),
        "global_rope_theta": draw(160_000.0, 10.0, 500.0),
        "local_rope_theta": draw(10_000.0, 3.0, 160_000.0),
    }


def draw_bloom(draw: Draw) -> dict[str, Any]:
    heads = draw(1, 2, 3, 4, 5, 7)
    return {
        "vocab_size": draw(5, 31, 64, 101, 257),
        "hidden_size": heads * draw(4, 5, 6, 8, 13, 16, 32),
        "n_layer": draw(1, 2, 3, 4),
        "n_head": heads,
        "layer_norm_epsilon": draw(1e-12, 1e-7, 1e-5, 1e-3, 0.1, 2.0),
    }


SIZES = {
    "vocab_size": 333,
    "hidden_size": 35,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 111,
    "max_position_embeddings": 77,
    "layer_norm_eps": 0.5,
    "hidden_act": "relu",
}

CASES = {
    "bert": Case(
        tiny.CONFIG,
        {**SIZES, "type_vocab_size": 1},
        draw_bert,
        ("BertForMaskedLM", "BertForPreTraining"),
        # One tiny model per activation, each with other sizes and another eps.
        {
            "tiny-gelu": {},
            "tiny-gelu-new": {
                "hidden_act": "gelu_new",
                "hidden_size": 18,
                "num_attention_heads": 3,
                "intermediate_size": 50,
                "layer_norm_eps": 1e-3,
            },
            "tiny-silu": {"hidden_act": "silu", "num_hidden_layers": 1, "intermediate_size": 9},
            "tiny-relu": {
                "hidden_act": "relu",
                "num_attention_heads": 1,
                "num_hidden_layers": 1,
                "type_vocab_size": 1,
                "layer_norm_eps": 0.1,
            },
        },
    ),
    "bloom": Case(
        bloom.Config(vocab_size=len(tiny.VOCABULARY), hidden_size=20, n_layer=2, n_head=5),
        {"vocab_size": 333, "hidden_size": 35, "n_layer": 5, "n_head": 2, "layer_norm_epsilon": 0.5},
        draw_bloom,
        ("BloomForCausalLM",),
        {"tiny-bloom": {}},
    ),
    "modernbert": Case(
        modernbert.Config(
            vocab_size=len(tiny.VOCABULARY),
            hidden_size=20,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=28,
            max_position_embeddings=34,
            local_attention=6,
        ),
        {
            "vocab_size": 333,
            "hidden_size": 30,
            "num_hidden_layers": 5,
            "num_attention_heads": 2,
            "intermediate_size": 111,
            "max_position_embeddings": 77,
            "norm_eps": 0.5,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "hidden_activation": "relu",
            "local_attention": 9,
            "global_attn_every_n_layers": 1,
            "layer_types": (modernbert.LOCAL, modernbert.GLOBAL),
            "global_rope_theta": 100.0,
            "local_rope_theta": 7.0,
        },
        draw_modernbert,
        ("ModernBertForMaskedLM",),
        {"tiny-modernbert": {"num_hidden_layers": 3, "norm_bias": True}},
    ),
    "distilbert": Case(
        distilbert.Config(
            vocab_size=len(tiny.VOCABULARY),
            dim=20,
            n_layers=2,
            n_heads=5,
            hidden_dim=28,
            max_position_embeddings=32,
        ),
        {
            "vocab_size": 333,
            "dim": 35,
            "n_layers": 5,
            "n_heads": 2,
            "hidden_dim": 111,
            "max_position_embeddings": 77,
            "activation": "relu",
        },
        draw_distilbert,
        ("DistilBertForMaskedLM",),
        {"tiny-distilbert": {}},
    ),
    "mpnet": Case(
        mpnet.Config(
            vocab_size=len(tiny.VOCABULARY),
            hidden_size=20,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=28,
            max_position_embeddings=50,
        ),
        {**SIZES, "relative_attention_num_buckets": 41},
        draw_mpnet,
        ("MPNetForMaskedLM",),
        {"tiny-mpnet": {"layer_norm_eps": 1e-5}},
    ),
    "roberta": Case(
        roberta.Config(
            vocab_size=len(tiny.VOCABULARY),
            hidden_size=20,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=28,
            max_position_embeddings=34,
        ),
        {**SIZES, "type_vocab_size": 1, "pad_token_id": 3},
        draw_roberta,
        ("RobertaForMaskedLM", "XLMRobertaForMaskedLM"),
        {"tiny-roberta": {"layer_norm_eps": 1e-5, "type_vocab_size": 1}},
    ),
    "t5": Case(
        t5.Config(
            vocab_size=len(tiny.VOCABULARY),
            d_model=20,
            num_layers=2,
            num_heads=3,
            d_ff=28,
            d_kv=8,
        ),
        {
            "vocab_size": 333,
            "d_model": 35,
            "num_layers": 5,
            "num_heads": 2,
            "d_ff": 111,
            "d_kv": 13,
            "relative_attention_num_buckets": 41,
            "relative_attention_max_distance": 40,
            "layer_norm_epsilon": 0.5,
            "feed_forward_proj": "gated-gelu",
        },
        draw_t5,
        ("T5Model", "T5ForConditionalGeneration"),
        {
            "tiny-t5": {},
            "tiny-t5-gated": {"feed_forward_proj": "gated-gelu", "num_heads": 2, "num_layers": 1},
        },
    ),
}


def random_config(name: str, seed: int) -> Any:
    """A small config of an architecture in which every field is drawn."""
    rng = np.random.default_rng(seed)

    def draw(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    case = CASES[name]
    return type(case.config)(**case.draw(draw))


def golden_configs() -> dict[str, Any]:
    """Golden file -> the config of its model."""
    return {
        file: dataclasses.replace(case.config, **fields)
        for case in CASES.values()
        for file, fields in case.golden.items()
    }


# Those that score pairs, too.
WITH_HEAD = {
    name: case for name, case in CASES.items() if ARCHITECTURES[name].classification_head is not None
}
