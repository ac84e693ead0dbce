"""T5's encoder, top to bottom: norms stand before attention and feed-forward, and nothing has a bias.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D d_model, H heads, K d_kv, F d_ff.
Texts lie end to end, without padding: text b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.distances import bucket
from minigte.models.t5 import BLOCK, Config, spec
from minigte.models.weights import LayerWeights, Weights
from minigte.reference import ops
from minigte.reference.observe import Names, Observe, ignore, prefixed
from minigte.reference.packed import Scratch, by_rows, equal_lengths

NAMES = Names(
    BLOCK,
    "encoder.embed_tokens",
    "layer.0.SelfAttention.probs",
    "layer.0.SelfAttention.o",
    "layer.1.DenseReluDense.wo",
    "layer.1.sum",
    "encoder.final_layer_norm",
)


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``T5EncoderModel`` that makes it; what no module makes is called ``scores`` (before softmax),
    ``probs``, ``context``, ``product`` (of a gated feed-forward) and ``sum`` (with the residual).
    """
    x = ops.embedding(input_ids, weights.word_embeddings)  # (N, D), and nothing of where a token stands
    observe("encoder.embed_tokens", x)
    scratch = Scratch.allocate(spec(config), len(input_ids))
    for i, layer in enumerate(weights.layers):
        x = block(config, weights, layer, x, offsets, scratch, prefixed(BLOCK.format(i), observe))
    x = ops.rms_norm(x, weights.final_norm_weight, config.layer_norm_epsilon, out=x)
    observe("encoder.final_layer_norm", x)
    return x  # (N, D)


def block(
    config: Config,
    weights: Weights,
    layer: LayerWeights,
    x: Float32,
    offsets: Ids,
    scratch: Scratch,
    observe: Observe,
) -> Float32:
    """Self-attention, then feed-forward, each of the normed x and added to x: x (N, D) -> x (N, D)."""
    normed = ops.rms_norm(x, layer.attention_norm_weight, config.layer_norm_epsilon)  # (N, D)
    observe("layer.0.layer_norm", normed)
    observe_attention = prefixed("layer.0.SelfAttention.", observe)
    context = self_attention(config, weights, layer, normed, offsets, scratch, observe_attention)  # (N, H K)
    output = ops.linear(context, layer.attention_output_weight, out=scratch.output)  # (N, D)
    observe("layer.0.SelfAttention.o", output)
    x += output
    observe("layer.0.sum", x)

    normed = ops.rms_norm(x, layer.feed_forward_norm_weight, config.layer_norm_epsilon, out=normed)
    observe("layer.1.layer_norm", normed)
    observe_feed_forward = prefixed("layer.1.DenseReluDense.", observe)
    intermediate = feed_forward(config, layer, normed, scratch, observe_feed_forward)  # (N, F)
    output = ops.linear(intermediate, layer.output_weight, out=scratch.output)  # (N, D)
    observe("layer.1.DenseReluDense.wo", output)
    x += output
    observe("layer.1.sum", x)
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
    """Each token gathers the values of its own text's tokens: x (N, D) -> context (N, H * K).

    Scores are not scaled. What a head adds to the score of two tokens depends on the bucket of their distance
    alone, and is the same in all layers.
    """
    query = ops.linear(x, layer.query_weight, out=scratch.query)  # (N, H K)
    key = ops.linear(x, layer.key_weight, out=scratch.key)  # (N, H K)
    value = ops.linear(x, layer.value_weight, out=scratch.value)  # (N, H K)
    context = scratch.context  # (N, H K), filled below
    observe("q", query)
    observe("k", key)
    observe("v", value)

    num_heads = config.num_heads
    buckets_of_table = config.relative_attention_num_buckets, config.relative_attention_max_distance
    for run in equal_lengths(offsets, num_heads):  # R texts of T tokens
        q = ops.split_heads(query[run.queries], run.texts, num_heads)  # (R, H, T, K)
        k, v = (ops.split_heads(a[run.keys], run.texts, num_heads) for a in (key, value))  # (R, H, T, K)
        buckets = bucket(run.distances, *buckets_of_table)  # (T, T)
        bias = ops.distance_bias(buckets, weights.distance_embeddings)  # (H, T, T)
        scores = ops.attention_scores(q, k, 1, bias)  # (R, H, T, T)
        observe("scores", scores)
        probs = ops.softmax(scores, out=scores)  # (R, H, T, T)
        observe("probs", probs)
        ops.split_heads(context[run.queries], run.texts, num_heads)[:] = np.matmul(probs, v)  # (R, H, T, K)
    observe("context", context)
    return context


def feed_forward(
    config: Config, layer: LayerWeights, x: Float32, scratch: Scratch, observe: Observe
) -> Float32:
    """The first half of the feed-forward block: act(x Wᵀ), or act(x W₀ᵀ) · x W₁ᵀ: (N, D) -> (N, F).

    Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
    """
    activation = ops.ACTIVATIONS[config.hidden_act]
    if not config.gated:
        intermediate = ops.linear(x, layer.intermediate_weight, out=scratch.intermediate)  # (N, F)
        observe("wi", intermediate)
        intermediate = by_rows(activation, intermediate)  # (N, F)
        observe("act", intermediate)
        return intermediate
    intermediate = ops.linear(x, layer.intermediate_weight, out=scratch.intermediate)  # (N, F)
    observe("wi_0", intermediate)
    intermediate = by_rows(activation, intermediate)  # (N, F)
    observe("act", intermediate)
    gate = ops.linear(x, layer.gate_weight)  # (N, F)
    observe("wi_1", gate)
    intermediate *= gate
    observe("product", intermediate)
    return intermediate
