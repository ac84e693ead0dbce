"""ModernBERT's forward pass, top to bottom: places are angles, and most layers look at neighbours alone.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F intermediate_size. Texts lie end to end, without padding: text b owns the rows
``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

import math

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.distances import inverse_frequencies
from minigte.models.modernbert import GLOBAL, LAYER, LOCAL, Config, spec
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(LAYER, "embeddings.norm", "attn.probs", "attn.Wo", "mlp.Wo", "mlp_sum", "final_norm")


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``ModernBertModel`` that makes it. What no module makes is called ``query``, ``key`` and ``value``
    (parts of what Wqkv makes), ``turned_query`` and ``turned_key``, ``scores`` (before softmax, of tokens out
    of reach too), ``probs``, ``context``, ``input`` and ``gate`` (parts of what Wi makes), ``product``, and
    ``attn_sum`` and ``mlp_sum`` (with the residual).
    """
    x = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    observe("embeddings.tok_embeddings", x)
    x = ops.layer_norm(
        x, weights.embeddings_norm_weight, weights.embeddings_norm_bias, config.norm_eps, out=x
    )
    observe("embeddings.norm", x)

    position_ids = ops.position_ids(offsets)  # (N,) 0..T-1 in each text
    bases = {LOCAL: config.local_rope_theta, GLOBAL: config.global_rope_theta}
    angles = {  # (N, K / 2)
        kind: ops.angles(position_ids, inverse_frequencies(base, config.head_size))
        for kind, base in bases.items()
    }
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, (layer, kind) in enumerate(zip(weights.layers, config.kinds, strict=True)):
        observe_layer = prefixed(LAYER.format(i), observe)
        x = encoder_layer(config, layer, x, kind, angles[kind], offsets, scratch, observe_layer)
    x = ops.layer_norm(x, weights.final_norm_weight, weights.final_norm_bias, config.norm_eps, out=x)
    observe("final_norm", x)
    return x  # (N, D)


def encoder_layer(
    config: Config,
    layer: LayerWeights,
    x: Float32,
    kind: str,
    angles: Float32,
    offsets: Ids,
    scratch: Scratch,
    observe: Observe,
) -> Float32:
    """Self-attention, then feed-forward, each of the normed x and added to x: x (N, D) -> x (N, D)."""
    normed = x  # (N, D); the first layer's is normed already
    if layer.attention_norm_weight.size:
        normed = ops.layer_norm(x, layer.attention_norm_weight, layer.attention_norm_bias, config.norm_eps)
        observe("attn_norm", normed)
    observe_attention = prefixed("attn.", observe)
    context = self_attention(config, layer, normed, kind, angles, offsets, scratch, observe_attention)
    weight, bias = layer.attention_output_weight, layer.attention_output_bias
    output = ops.linear(context, weight, bias, out=scratch.output)  # (N, D)
    observe("attn.Wo", output)
    x += output
    observe("attn_sum", x)

    normed = ops.layer_norm(x, layer.feed_forward_norm_weight, layer.feed_forward_norm_bias, config.norm_eps)
    observe("mlp_norm", normed)
    intermediate = feed_forward(config, layer, normed, scratch, prefixed("mlp.", observe))  # (N, F)
    output = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    observe("mlp.Wo", output)
    x += output
    observe("mlp_sum", x)
    return x  # (N, D)


def self_attention(
    config: Config,
    layer: LayerWeights,
    x: Float32,
    kind: str,
    angles: Float32,
    offsets: Ids,
    scratch: Scratch,
    observe: Observe,
) -> Float32:
    """Each token gathers the values of its text's tokens, or its neighbours: x (N, D) -> context (N, D)."""
    num_heads = config.num_attention_heads
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    context = scratch.context  # (N, D), filled below
    observe("query", query)
    observe("key", key)
    observe("value", value)
    query = ops.rotate(query, angles, num_heads)  # (N, D)
    key = ops.rotate(key, angles, num_heads)  # (N, D)
    observe("turned_query", query)
    observe("turned_key", key)

    for run in equal_lengths(offsets, num_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, num_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, num_heads) for a in (key, value))  # (R, H, T, K)
        scores = ops.attention_scores(q, k, 1 / math.sqrt(config.head_size))  # (R, H, T, T)
        observe("scores", scores)
        if kind == LOCAL:
            scores += ops.reach(run.distances, config.window, config.window)  # (T, T)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, num_heads)[:] = np.matmul(probs, v)  # (R, H, T, K)
    observe("context", context)
    return context


def feed_forward(
    config: Config, layer: LayerWeights, x: Float32, scratch: Scratch, observe: Observe
) -> Float32:
    """The first half of the feed-forward block: act(x W₀ᵀ) · x W₁ᵀ, (N, D) -> (N, F)."""
    weight, bias = layer.intermediate_weight, layer.intermediate_bias
    intermediate = ops.linear(x, weight, bias, out=scratch.intermediate)  # (N, F)
    observe("input", intermediate)
    intermediate = by_rows(ops.ACTIVATIONS[config.hidden_activation], intermediate)  # (N, F)
    observe("act", intermediate)
    gate = ops.linear(x, layer.gate_weight, layer.gate_bias)  # (N, F)
    observe("gate", gate)
    intermediate *= gate
    observe("product", intermediate)
    return intermediate
