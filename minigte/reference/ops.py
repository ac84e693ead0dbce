"""The operations of a transformer, one function each: formula, shapes, source.

All arrays are float32. Letters: N tokens in the packed batch, T tokens of one text, D hidden_size,
H heads, K head size, F intermediate_size. Where a function takes ``out``, the result is written there
and returned, so that a caller who loops over layers allocates once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from minigte.arrays import Float32, Ids
from minigte.models.weights import ABSENT


def embedding(ids: Ids, table: Float32) -> Float32:
    """Row ``ids[n]`` of the table for each token: (N,), (V, D) -> (N, D)."""
    return table[ids]


def position_ids(offsets: Ids) -> Ids:
    """Each token's place in its text, from 0: (B + 1,) -> (N,)."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def position_ids_behind(padding_id: int, input_ids: Ids, offsets: Ids) -> Ids:
    """Each token's row in a position table that keeps rows for padding: (N,), (B + 1,) -> (N,).

    A text's tokens have the rows padding_id + 1, + 2, ...; a padding token has padding_id and is not counted.
    """
    counted = input_ids != padding_id  # (N,)
    so_far = np.concatenate([[0], np.cumsum(counted)])  # (N + 1,)
    before = np.repeat(so_far[offsets[:-1]], np.diff(offsets))  # (N,) in the texts before
    return padding_id + (so_far[1:] - before) * counted


def linear(x: Float32, weight: Float32, bias: Float32 = ABSENT, *, out: Float32 | None = None) -> Float32:
    """y = x Wᵀ + b: (N, inputs), (outputs, inputs), (outputs,) -> (N, outputs)."""
    y = np.matmul(x, weight.T, out=out)  # (N, outputs)
    if bias.size:
        y += bias
    return y


def layer_norm(
    x: Float32, weight: Float32, bias: Float32, eps: float, *, out: Float32 | None = None
) -> Float32:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, over each row: (N, D) -> (N, D).

    The variance is the biased one, the mean of the squared deviations. ``out`` may be ``x`` itself.
    Ba, Kiros & Hinton 2016, "Layer Normalization", equation 4.
    """
    centred = np.subtract(x, x.mean(axis=-1, keepdims=True), out=out)  # (N, D)
    variance = np.einsum("nd,nd->n", centred, centred)[:, None] / np.float32(x.shape[-1])  # (N, 1)
    centred /= np.sqrt(variance + np.float32(eps))
    centred *= weight
    if bias.size:
        centred += bias
    return centred


def rms_norm(x: Float32, weight: Float32, eps: float, *, out: Float32 | None = None) -> Float32:
    """y = x / sqrt(mean(x²) + eps) * weight, over each row: (N, D) -> (N, D). ``out`` may be ``x`` itself.

    Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
    """
    mean_square = np.einsum("nd,nd->n", x, x)[:, None] / np.float32(x.shape[-1])  # (N, 1)
    y = np.divide(x, np.sqrt(mean_square + np.float32(eps)), out=out)
    y *= weight
    return y


def softmax(scores: Float32, *, out: Float32 | None = None) -> Float32:
    """p_j = exp(s_j) / sum_i exp(s_i) over the last axis; ``out`` may be ``scores`` itself.

    The row's maximum is subtracted first: it cancels in the fraction, and exp cannot overflow.
    """
    p = np.subtract(scores, scores.max(axis=-1, keepdims=True), out=out)
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p


def split_heads(a: Float32, texts: int, num_heads: int) -> Float32:
    """Cut each row into its heads: ``texts`` texts of T rows, (R * T, H * K) -> (R, H, T, K), a view."""
    return a.reshape(texts, -1, num_heads, a.shape[-1] // num_heads).swapaxes(1, 2)


def attention_scores(query: Float32, key: Float32, scale: float, bias: Float32 = ABSENT) -> Float32:
    """s = Q Kᵀ · scale + bias, for every text and head: (..., T, K), (..., T, K) -> (..., T, T).

    Attention is softmax(s) V: row i of softmax(s) says how much of each token's value goes into token i.
    ``scale`` is 1 / sqrt(K) in BERT. ``bias`` is added to the scores and broadcasts to (..., T, T); BERT
    has none (texts are not padded, so nothing is masked).
    Vaswani et al. 2017, "Attention Is All You Need", equation 1.
    """
    scores = np.matmul(query, key.swapaxes(-1, -2))  # (..., T, T)
    scores *= np.float32(scale)
    if bias.size:
        scores += bias
    return scores


def distance_bias(buckets: Ids, table: Float32) -> Float32:
    """What each head adds to two tokens' score, by the bucket of their distance: (T, T) -> (H, T, T)."""
    return np.ascontiguousarray(table[buckets].transpose(2, 0, 1))


def linear_bias(distances: Ids, slopes: Sequence[float]) -> Float32:
    """What each head adds to two tokens' score, its slope times their distance: (T, T) -> (H, T, T).

    Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input Length
    Extrapolation", section 3: a token further behind, j - i < 0, counts less.
    """
    return np.multiply.outer(np.array(slopes, np.float32), distances.astype(np.float32))


def reach(distances: Ids, before: int, after: int) -> Float32:
    """0 for tokens from ``before`` in front to ``after`` behind, -inf for others: (T, T) -> (T, T).

    Added to the scores it makes the probabilities of these others exactly 0.
    """
    within = (-before <= distances) & (distances <= after)
    return np.where(within, np.float32(0), np.float32(-np.inf))


def angles(position_ids: Ids, inverse_frequencies: Float32) -> Float32:
    """By which angle each pair of a token's query and key is turned: (N,), (K / 2,) -> (N, K / 2)."""
    return np.multiply.outer(position_ids.astype(np.float32), inverse_frequencies)


def rotate(rows: Float32, angles: Float32, num_heads: int) -> Float32:
    """Turn every head's pairs, its i-th and (K / 2 + i)-th component: (N, H * K), (N, K / 2) -> (N, H * K).

    The product of a query and a key that are turned so depends on the distance of their tokens alone.
    Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", equation 34.
    """
    left, right = np.moveaxis(rows.reshape(len(rows), num_heads, 2, -1), 2, 0)  # (N, H, K / 2)
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]  # (N, 1, K / 2)
    turned = np.stack([left * cosine - right * sine, right * cosine + left * sine], axis=2)
    return turned.reshape(rows.shape)


def erf(x: Float32) -> Float32:
    """erf(x) = 2/sqrt(pi) ∫₀ˣ exp(-t²) dt, to 1.5e-7, which float32's rounding raises to 5e-7.

    NumPy has no erf. Abramowitz & Stegun, "Handbook of Mathematical Functions", formula 7.1.26:
    erf(x) = 1 - (a₁t + a₂t² + a₃t³ + a₄t⁴ + a₅t⁵) exp(-x²) with t = 1/(1 + p x), for x >= 0.
    """
    magnitude = np.abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * magnitude)
    polynomial = t * np.float32(1.061405429)
    for a in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial += np.float32(a)
        polynomial *= t
    magnitude *= magnitude
    np.negative(magnitude, out=magnitude)
    polynomial *= np.exp(magnitude, out=magnitude)
    return np.copysign(np.float32(1) - polynomial, x)


def gelu(x: Float32) -> Float32:
    """x · Φ(x) = x/2 · (1 + erf(x / sqrt(2))), Φ the normal distribution's cumulative function.

    Hendrycks & Gimpel 2016, "Gaussian Error Linear Units". ``hidden_act`` "gelu".
    """
    y = erf(x * np.float32(math.sqrt(0.5)))
    y += np.float32(1)
    y *= np.float32(0.5)
    y *= x
    return y


def gelu_new(x: Float32) -> Float32:
    """x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³))), the tanh approximation of gelu.

    Same paper, section 2. ``hidden_act`` "gelu_new": another function, not a faster "gelu".
    """
    y = x * x
    y *= np.float32(0.044715)
    y += np.float32(1)
    y *= x  # x + 0.044715 x³
    y *= np.float32(math.sqrt(2 / math.pi))
    np.tanh(y, out=y)
    y += np.float32(1)
    y *= np.float32(0.5)
    y *= x
    return y


def relu(x: Float32) -> Float32:
    """max(x, 0). ``hidden_act`` "relu"."""
    return np.maximum(x, np.float32(0))


def silu(x: Float32) -> Float32:
    """x · σ(x) = x / (1 + exp(-x)), σ the logistic function. ``hidden_act`` "silu", also called "swish".

    Hendrycks & Gimpel 2016, "Gaussian Error Linear Units", section 4. Of exp only values up to 1 are taken,
    which cannot overflow: σ(x) = exp(x) / (1 + exp(x)) where x is negative.
    """
    e = np.exp(-np.abs(x))
    y = np.where(x < 0, e, np.float32(1))
    y /= np.float32(1) + e  # σ(x)
    y *= x
    return y


def gelu_10(x: Float32) -> Float32:
    """min(gelu(x), 10): gelu is never below -0.17. ``hidden_act`` "gelu_10".

    Wu et al. 2020, "Integer Quantization for Deep Learning Inference", section 5.
    """
    y = gelu(x)
    return np.minimum(y, np.float32(10), out=y)


ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {
    "gelu": gelu,
    "gelu_10": gelu_10,
    "gelu_new": gelu_new,
    "relu": relu,
    "silu": silu,
}
