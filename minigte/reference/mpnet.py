"""MPNet's forward pass: BERT's, but for where places are counted from, and a bias by distance in attention.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F intermediate_size. Texts lie end to end, without padding: text b owns the rows
``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.distances import bucket
from minigte.models.mpnet import BUCKETS, ENCODER_LAYER, MAX_DISTANCE, PADDING_ID, Config, spec
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(
    ENCODER_LAYER,
    "embeddings.LayerNorm",
    "attention.attn.probs",
    "attention.attn.o",
    "output.dense",
    "output.LayerNorm",
)


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``MPNetModel`` that makes it; what no module makes is called ``scores`` (before softmax),
    ``probs``, ``context`` and ``sum`` (before a LayerNorm).
    """
    x = embeddings(config, weights, input_ids, offsets, prefixed("embeddings.", observe))  # (N, D)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        observe_layer = prefixed(ENCODER_LAYER.format(i), observe)
        x = encoder_layer(config, weights, layer, x, offsets, scratch, observe_layer)
    return x  # (N, D)


def embeddings(config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe) -> Float32:
    """Word + position, then LayerNorm: (N,) -> (N, D)."""
    position_ids = ops.position_ids_behind(PADDING_ID, input_ids, offsets)  # (N,) 2..T+1 in each text
    word = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    position = ops.embedding(position_ids, weights.position_embeddings)  # (N, D)
    observe("word_embeddings", word)
    observe("position_embeddings", position)

    x = word + position  # (N, D)
    observe("sum", x)
    weight, bias = weights.embeddings_norm_weight, weights.embeddings_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("LayerNorm", x)
    return x  # (N, D)


def encoder_layer(
    config: Config,
    weights: Weights,
    layer: LayerWeights,
    x: Float32,
    offsets: Ids,
    scratch: Scratch,
    observe: Observe,
) -> Float32:
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    context = self_attention(
        config, weights, layer, x, offsets, scratch, prefixed("attention.attn.", observe)
    )
    output = ops.linear(
        context, layer.attention_output_weight, layer.attention_output_bias, out=scratch.output
    )  # (N, D)
    observe("attention.attn.o", output)
    x += output
    observe("attention.sum", x)
    weight, bias = layer.attention_norm_weight, layer.attention_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("attention.LayerNorm", x)

    intermediate = ops.linear(
        x, layer.intermediate_weight, layer.intermediate_bias, out=scratch.intermediate
    )  # (N, F)
    observe("intermediate.dense", intermediate)
    intermediate = by_rows(ops.ACTIVATIONS[config.hidden_act], intermediate)  # (N, F)
    observe("intermediate.intermediate_act_fn", intermediate)
    output = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    observe("output.dense", output)
    x += output
    observe("output.sum", x)
    weight, bias = layer.feed_forward_norm_weight, layer.feed_forward_norm_bias
    x = ops.layer_norm(x, weight, bias, config.layer_norm_eps, out=x)
    observe("output.LayerNorm", x)
    return x  # (N, D)


def self_attention(
    config: Config,
    weights: Weights,
    layer: LayerWeights,
    x: Float32,
    offsets: Ids,
    scratch: Scratch,
    observe: Observe,
) -> Float32:
    """Each token gathers the values of its own text's tokens: x (N, D) -> context (N, D).

    A head's bias for two tokens depends on their distance alone, and is the same in all layers.
    """
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    context = scratch.context  # (N, D), filled below
    observe("q", query)
    observe("k", key)
    observe("v", value)

    scale, num_heads = 1 / math.sqrt(config.head_size), config.num_attention_heads
    for run in equal_lengths(offsets, num_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, num_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, num_heads) for a in (key, value))  # (R, H, T, K)
        buckets = bucket(run.distances, BUCKETS, MAX_DISTANCE)  # (T, T)
        bias = ops.distance_bias(buckets, weights.distance_embeddings)  # (H, T, T)
        scores = ops.attention_scores(q, k, scale, bias)  # (R, H, T, T)
        observe("scores", scores)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, num_heads)[:] = np.matmul(probs, v)  # (R, H, T, K)
    observe("context", context)
    return context
