"""BERT's forward pass, top to bottom, from token ids to the last hidden state.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads,
K head size, F intermediate_size. Texts lie end to end, without padding: text b owns the rows
``offsets[b]:offsets[b + 1]``. Only attention looks at more than one row at a time.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.bert import ENCODER_LAYER, Config, spec
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(
    ENCODER_LAYER,
    "embeddings.LayerNorm",
    "attention.self.probs",
    "attention.output.dense",
    "output.dense",
    "output.LayerNorm",
)


def forward(
    config: Config,
    weights: Weights,
    input_ids: Ids,
    offsets: Ids,
    observe: Observe = ignore,
    token_type_ids: Ids | None = None,
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``token_type_ids`` (N,) tell the two texts of a pair apart; without them all are 0.
    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``BertModel`` that makes it; what no module makes is called ``scores`` (before softmax),
    ``probs``, ``context`` and ``sum`` (before a LayerNorm).
    """
    position_ids = ops.position_ids(offsets)  # (N,) 0..T-1 in each text
    if token_type_ids is None:
        token_type_ids = np.zeros_like(input_ids)  # (N,) a single text is all segment 0
    ids = input_ids, position_ids, token_type_ids
    x = embeddings(config, weights, *ids, prefixed("embeddings.", observe))  # (N, D)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        x = encoder_layer(config, layer, x, offsets, scratch, prefixed(ENCODER_LAYER.format(i), observe))
    return x  # (N, D)


def embeddings(
    config: Config,
    weights: Weights,
    input_ids: Ids,
    position_ids: Ids,
    token_type_ids: Ids,
    observe: Observe,
) -> Float32:
    """Word + position + token type, then LayerNorm: (N,) -> (N, D). BERT, section 3 and figure 2."""
    word = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    position = ops.embedding(position_ids, weights.position_embeddings)  # (N, D)
    token_type = ops.embedding(token_type_ids, weights.token_type_embeddings)  # (N, D)
    observe("word_embeddings", word)
    observe("position_embeddings", position)
    observe("token_type_embeddings", token_type)

    x = word + position + token_type  # (N, D)
    observe("sum", x)
    weight, bias = weights.embeddings_norm_weight, weights.embeddings_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("LayerNorm", x)
    return x  # (N, D)


def encoder_layer(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    context = self_attention(config, layer, x, offsets, scratch, prefixed("attention.self.", observe))
    weight, bias = layer.attention_output_weight, layer.attention_output_bias
    dense = ops.linear(context, weight, bias, out=scratch.output)  # (N, D)
    observe("attention.output.dense", dense)
    x += dense
    observe("attention.output.sum", x)
    weight, bias = layer.attention_norm_weight, layer.attention_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("attention.output.LayerNorm", x)

    intermediate = feed_forward(config, layer, x, scratch, prefixed("intermediate.", observe))  # (N, F)
    dense = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    observe("output.dense", dense)
    x += dense
    observe("output.sum", x)
    weight, bias = layer.feed_forward_norm_weight, layer.feed_forward_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("output.LayerNorm", x)
    return x  # (N, D)


def self_attention(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Each token gathers the values of its own text's tokens: x (N, D) -> context (N, D)."""
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    context = scratch.context  # (N, D), filled below
    observe("query", query)
    observe("key", key)
    observe("value", value)

    scale, num_heads = 1 / math.sqrt(config.head_size), config.num_attention_heads
    for run in equal_lengths(offsets, num_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, num_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, num_heads) for a in (key, value))  # (R, H, T, K)
        scores = ops.attention_scores(q, k, scale)  # (R, H, T, T)
        observe("scores", scores)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, num_heads)[:] = np.matmul(probs, v)  # (R, H, T, K)
    observe("context", context)
    return context


def feed_forward(
    config: Config, layer: LayerWeights, x: Float32, scratch: Scratch, observe: Observe
) -> Float32:
    """The first half of the feed-forward block: act(x W₁ᵀ + b₁), (N, D) -> (N, F)."""
    weight, bias = layer.intermediate_weight, layer.intermediate_bias
    intermediate = ops.linear(x, weight, bias, out=scratch.intermediate)  # (N, F)
    observe("dense", intermediate)
    intermediate = by_rows(ops.ACTIVATIONS[config.hidden_act], intermediate)  # (N, F)
    observe("intermediate_act_fn", intermediate)
    return intermediate
