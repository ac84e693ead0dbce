"""BERT's forward pass, top to bottom, from token ids to the last hidden state.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads,
K head size, F intermediate_size. Texts lie end to end, without padding: text b owns the rows
``offsets[b]:offsets[b + 1]``. Only attention looks at more than one row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigte.models.bert import ENCODER_LAYER, Config, LayerWeights, Weights
from minigte.reference import ops

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.integer]
Observe = Callable[[str, Float32], object]

# The feed-forward activation is computed for this many rows at a time, so that its temporary arrays
# stay in the processor's cache. Any value gives the same bits.
ACTIVATION_ROWS = 16


@dataclass(frozen=True)
class Scratch:
    """The arrays one pass writes its intermediate results to, allocated once and used by every layer."""

    query: Float32  # (N, D)
    key: Float32  # (N, D)
    value: Float32  # (N, D)
    context: Float32  # (N, D)
    output: Float32  # (N, D)
    intermediate: Float32  # (N, F)

    @staticmethod
    def allocate(config: Config, num_tokens: int) -> Scratch:
        """Uninitialised arrays for ``num_tokens`` tokens."""
        hidden = (num_tokens, config.hidden_size)
        wide = (num_tokens, config.intermediate_size)
        shapes = (hidden, hidden, hidden, hidden, hidden, wide)
        return Scratch(*(np.empty(shape, np.float32) for shape in shapes))


def ignore(name: str, array: Float32) -> None:
    """The observer of a pass that nobody watches."""


def prefixed(prefix: str, observe: Observe) -> Observe:
    """An observer that puts a prefix in front of every name."""
    return lambda name, array: observe(prefix + name, array)


def forward(
    config: Config, weights: Weights, input_ids: Ids, offsets: Ids, observe: Observe = ignore
) -> Float32:
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> (N, D) float32.

    ``observe(name, array)`` is called with every intermediate, under the name of the module of Hugging
    Face's ``BertModel`` that makes it; the array is overwritten afterwards, so an observer keeps a copy.
    """
    x = embeddings(config, weights, input_ids, offsets)  # (N, D)
    observe("embeddings", x)
    scratch = Scratch.allocate(config, len(input_ids))
    for i, layer in enumerate(weights.layers):
        x = encoder_layer(config, layer, x, offsets, scratch, prefixed(ENCODER_LAYER.format(i), observe))
    return x  # (N, D)


def embeddings(config: Config, weights: Weights, input_ids: Ids, offsets: Ids) -> Float32:
    """Word + position + token type, then LayerNorm: (N,) -> (N, D). BERT, section 3 and figure 2."""
    lengths = np.diff(offsets)  # (B,)
    position_ids = np.arange(len(input_ids)) - np.repeat(offsets[:-1], lengths)  # (N,) 0..T-1 in each text
    x = ops.embedding(input_ids, weights.word_embeddings)  # (N, D)
    x += ops.embedding(position_ids, weights.position_embeddings)
    x += weights.token_type_embeddings[0]  # a single text is all segment 0
    return ops.layer_norm(
        x, weights.embeddings_norm_weight, weights.embeddings_norm_bias, config.layer_norm_eps, out=x
    )


def encoder_layer(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    context = self_attention(config, layer, x, offsets, scratch, observe)  # (N, D)
    attended = ops.linear(
        context, layer.attention_output_weight, layer.attention_output_bias, out=scratch.output
    )  # (N, D)
    x += attended
    x = ops.layer_norm(
        x, layer.attention_norm_weight, layer.attention_norm_bias, config.layer_norm_eps, out=x
    )
    observe("attention.output", x)

    intermediate = feed_forward(config, layer, x, scratch)  # (N, F)
    observe("intermediate", intermediate)
    output = ops.linear(intermediate, layer.output_weight, layer.output_bias, out=scratch.output)  # (N, D)
    x += output
    x = ops.layer_norm(x, layer.output_norm_weight, layer.output_norm_bias, config.layer_norm_eps, out=x)
    observe("output", x)
    return x  # (N, D)


def self_attention(
    config: Config, layer: LayerWeights, x: Float32, offsets: Ids, scratch: Scratch, observe: Observe
) -> Float32:
    """Each token gathers the values of its own text's tokens: x (N, D) -> context (N, D)."""
    query = ops.linear(x, layer.query_weight, layer.query_bias, out=scratch.query)  # (N, D)
    key = ops.linear(x, layer.key_weight, layer.key_bias, out=scratch.key)  # (N, D)
    value = ops.linear(x, layer.value_weight, layer.value_bias, out=scratch.value)  # (N, D)
    observe("attention.self.query", query)
    observe("attention.self.key", key)
    observe("attention.self.value", value)

    scale = 1 / math.sqrt(config.head_size)
    for start, stop, length in equal_lengths(offsets):

        def heads(a: Float32, rows: slice = slice(start, stop), length: int = length) -> Float32:
            """(R * T, D) -> (R, H, T, K), a view: R texts of T tokens, each row cut into its heads."""
            return a[rows].reshape(-1, length, config.num_attention_heads, config.head_size).swapaxes(1, 2)

        context, probs = ops.attention(heads(query), heads(key), heads(value), scale)
        heads(scratch.context)[:] = context  # (R, H, T, K) back to (R * T, D)
        observe("attention.self.probs", probs)  # (R, H, T, T)
    observe("attention.self.context", scratch.context)
    return scratch.context


def feed_forward(config: Config, layer: LayerWeights, x: Float32, scratch: Scratch) -> Float32:
    """The first half of the feed-forward block: act(x W₁ᵀ + b₁), (N, D) -> (N, F)."""
    intermediate = ops.linear(x, layer.intermediate_weight, layer.intermediate_bias, out=scratch.intermediate)
    activation = ops.ACTIVATIONS[config.hidden_act]
    for start in range(0, len(intermediate), ACTIVATION_ROWS):
        rows = intermediate[start : start + ACTIVATION_ROWS]
        rows[:] = activation(rows)
    return intermediate


def equal_lengths(offsets: Ids, max_tokens: int = 512) -> Iterator[tuple[int, int, int]]:
    """(start, stop, T) for each run of neighbouring texts of the same T tokens.

    A batch is ordered by length, so there are few runs, and one product handles all texts of a run. A
    run of more than one text holds at most ``max_tokens`` tokens, which bounds its attention scores.
    """
    lengths = np.diff(offsets).tolist()
    first = 0
    while first < len(lengths):
        length = lengths[first]
        last = first + 1
        while last < len(lengths) and lengths[last] == length and (last + 1 - first) * length <= max_tokens:
            last += 1
        yield int(offsets[first]), int(offsets[last]), length
        first = last


def trace(config: Config, weights: Weights, input_ids: Ids) -> dict[str, Float32]:
    """Every intermediate of one text's pass, by name: (T,) ids -> arrays as ``forward`` observes them."""
    intermediates: dict[str, Float32] = {}

    def keep(name: str, array: Float32) -> None:
        intermediates[name] = array.copy()

    forward(config, weights, input_ids, np.array([0, len(input_ids)]), keep)
    return intermediates
