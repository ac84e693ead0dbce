"""BLOOM's forward pass, top to bottom: every token sees what came before it, and the nearer the better.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F four times D. Texts lie end to end, without padding: text b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.bloom import HIDDEN_ACT, LAYER, Config, spec
from minigte.models.distances import slopes
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(
    LAYER,
    "word_embeddings_layernorm",
    "self_attention.probs",
    "self_attention.dense",
    "mlp.dense_4h_to_h",
    "mlp_sum",
    "ln_f",
)


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``BloomModel`` that makes it. What no module makes is called ``query``, ``key`` and ``value``
    (parts of what query_key_value makes), ``scores`` (before softmax, of the tokens that follow too),
    ``probs``, ``context``, and ``attention_sum`` and ``mlp_sum`` (with the residual).
    """
    x = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    observe("word_embeddings", x)
    weight, bias, eps = (
        weights.embeddings_norm_weight,
        weights.embeddings_norm_bias,
        config.layer_norm_epsilon,
    )
    x = ops.layer_norm(x, weight, bias, eps, out=x)
    observe("word_embeddings_layernorm", x)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        x = block(config, layer, x, offsets, scratch, prefixed(LAYER.format(i), observe))
    x = ops.layer_norm(x, weights.final_norm_weight, weights.final_norm_bias, eps, out=x)
    observe("ln_f", x)
    return x  # (N, D)


def block(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Self-attention, then feed-forward, each of the normed x and added to x: x (N, D) -> x (N, D)."""
    eps = config.layer_norm_epsilon
    normed = ops.layer_norm(x, layer.attention_norm_weight, layer.attention_norm_bias, eps)  # (N, D)
    observe("input_layernorm", normed)
    context = self_attention(config, layer, normed, offsets, scratch, prefixed("self_attention.", observe))
    weight, bias = layer.attention_output_weight, layer.attention_output_bias
    output = ops.linear(context, weight, bias, out=scratch.output)  # (N, D)
    observe("self_attention.dense", output)
    x += output
    observe("attention_sum", x)

    weight, bias = layer.feed_forward_norm_weight, layer.feed_forward_norm_bias
    normed = ops.layer_norm(x, weight, bias, eps, out=normed)  # (N, D)
    observe("post_attention_layernorm", normed)
    weight, bias = layer.intermediate_weight, layer.intermediate_bias
    intermediate = ops.linear(normed, weight, bias, out=scratch.intermediate)  # (N, F)
    observe("mlp.dense_h_to_4h", intermediate)
    intermediate = by_rows(ops.ACTIVATIONS[HIDDEN_ACT], intermediate)  # (N, F)
    observe("mlp.gelu_impl", intermediate)
    output = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    observe("mlp.dense_4h_to_h", output)
    x += output
    observe("mlp_sum", x)
    return x  # (N, D)


def self_attention(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Each token gathers the values of itself and of those before it in its text: x (N, D) -> context (N, D).

    What a head adds to the score of two tokens is its slope times their distance.
    """
    num_heads = config.n_head
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    context = scratch.context  # (N, D), filled below
    observe("query", query)
    observe("key", key)
    observe("value", value)

    for run in equal_lengths(offsets, num_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, num_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, num_heads) for a in (key, value))  # (R, H, T, K)
        bias = ops.linear_bias(run.distances, slopes(num_heads))  # (H, T, T)
        scores = ops.attention_scores(q, k, 1 / math.sqrt(config.head_size), bias)  # (R, H, T, T)
        observe("scores", scores)
        scores += ops.reach(run.distances, len(x), 0)  # (T, T)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, num_heads)[:] = np.matmul(probs, v)  # (R, H, T, K)
    observe("context", context)
    return context
