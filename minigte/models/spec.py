"""What an engine must know of a model: its sizes, and how it does the few things that architectures vary."""

from __future__ import annotations

from dataclasses import dataclass

# Activations by the names that config.json may give them -> the one that minigte computes it by. The names
# on the left of one function differ in transformers by the order of their roundings alone.
HIDDEN_ACTS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_10": "gelu_10",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

# Tokens of the longest text of a model that has no table of places: more than fit in any memory.
NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Spec:
    """One encoder, whatever its architecture; ``models/<architecture>.py`` makes it from a config.

    The order of the work is the same for all. Tokens' embeddings are summed and perhaps normalised; each
    layer adds attention, then feed-forward, to its input. The norms stand after these sums, or
    (``norm_first``) before attention and feed-forward, and then a last one after the last layer.
    """

    vocab_size: int  # V, rows of the word embedding table
    hidden_size: int  # D, width of the vector that follows a token through the layers
    num_hidden_layers: int  # L
    num_attention_heads: int  # H, heads per layer
    head_size: int  # K, width of one head
    intermediate_size: int  # F, width of the feed-forward layer
    max_tokens: int  # the longest text, in tokens
    hidden_act: str  # the feed-forward's activation
    norm_eps: float  # added to the variance in every norm
    attention_scale: float  # scores are query times key times this
    type_vocab_size: int = 0  # rows of the token type table
    first_position: int = 0  # the row of the position table that belongs to a text's first token
    padding_id: int = -1  # a token that does not count as a place: it has the row before first_position
    norm_first: bool = False
    rms_norm: bool = False  # norms divide by the root of the mean square, and do not centre
    gated: bool = False  # feed-forward is act(a) * b, of two products
    causal: bool = False  # a token attends to itself and what came before it
    windows: tuple[int, ...] = ()  # per layer, how far to each side a token attends; 0 is the whole text
    rotary_bases: tuple[float, ...] = ()  # per layer, the base of the angles by which queries and keys turn
    distance_buckets: tuple[int, int] | None = None  # (buckets, largest distance): see distances.bucket
    distance_slopes: tuple[float, ...] = ()  # per head, what a step further away adds to the score
