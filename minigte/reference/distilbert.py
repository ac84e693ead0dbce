"""DistilBERT's forward pass: BERT's, without token types, under names of its own.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D dim, H heads, K head size,
F hidden_dim. Texts lie end to end, without padding: text b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.distilbert import LAYER, LAYER_NORM_EPS, Config, spec
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(
    LAYER, "embeddings.LayerNorm", "attention.probs", "attention.out_lin", "ffn.lin2", "output_layer_norm"
)


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``DistilBertModel`` that makes it; what no module makes is called ``scores`` (before softmax),
    ``probs``, ``context``, ``sum`` (before the embeddings' LayerNorm) and ``sa_sum`` and ``output_sum``
    (before a layer's).
    """
    x = embeddings(weights, input_ids, offsets, prefixed("embeddings.", observe))  # (N, D)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        x = encoder_layer(config, layer, x, offsets, scratch, prefixed(LAYER.format(i), observe))
    return x  # (N, D)


def embeddings(weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe) -> Float32:
    """Word + position, then LayerNorm: (N,) -> (N, D)."""
    word = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    position = ops.embedding(ops.position_ids(offsets), weights.position_embeddings)  # (N, D)
    observe("word_embeddings", word)
    observe("position_embeddings", position)

    x = word + position  # (N, D)
    observe("sum", x)
    x = ops.layer_norm(x, weights.embeddings_norm_weight, weights.embeddings_norm_bias, LAYER_NORM_EPS, out=x)
    observe("LayerNorm", x)
    return x  # (N, D)


def encoder_layer(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    context = self_attention(config, layer, x, offsets, scratch, prefixed("attention.", observe))
    weight, bias = layer.attention_output_weight, layer.attention_output_bias
    output = ops.linear(context, weight, bias, out=scratch.output)  # (N, D)
    observe("attention.out_lin", output)
    x += output
    observe("sa_sum", x)
    x = ops.layer_norm(x, layer.attention_norm_weight, layer.attention_norm_bias, LAYER_NORM_EPS, out=x)
    observe("sa_layer_norm", x)

    weight, bias = layer.intermediate_weight, layer.intermediate_bias
    intermediate = ops.linear(x, weight, bias, out=scratch.intermediate)  # (N, F)
    observe("ffn.lin1", intermediate)
    intermediate = by_rows(ops.ACTIVATIONS[config.activation], intermediate)  # (N, F)
    observe("ffn.activation", intermediate)
    output = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    observe("ffn.lin2", output)
    x += output
    observe("output_sum", x)
    weight, bias = layer.feed_forward_norm_weight, layer.feed_forward_norm_bias
    x = ops.layer_norm(x, weight, bias, LAYER_NORM_EPS, out=x)
    observe("output_layer_norm", x)
    return x  # (N, D)


def self_attention(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Each token gathers the values of its own text's tokens: x (N, D) -> context (N, D)."""
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    context = scratch.context  # (N, D), filled below
    observe("q_lin", query)
    observe("k_lin", key)
    observe("v_lin", value)

    scale = 1 / math.sqrt(config.head_size)
    for run in equal_lengths(offsets, config.n_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, config.n_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, config.n_heads) for a in (key, value))
        scores = ops.attention_scores(q, k, scale)  # (R, H, T, T)
        observe("scores", scores)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, config.n_heads)[:] = np.matmul(probs, v)
    observe("context", context)
    return context
