"""Who wrote a token's hidden state: the residual stream as the sum that it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigte.arrays import Float32, Float64
from minigte.models.spec import Spec


def written_shares(
    states: Float32, added: Sequence[Float32], norms: Sequence[tuple[Float32, Float32]], spec: Spec
) -> Float64:
    """What share of each hidden state each writer has: (L + 1, 2 L + 2, T), sums over writers are 1.

    ``states`` (L + 1, T, D) are those after the embeddings and after every layer. The writers are the
    embeddings, then attention and feed-forward of every layer, which ``added`` (2 L of them, (T, D)) to what
    came in, and last the biases of the norms. ``norms`` are weight and bias of the norm after each of these
    sums, or, of a model whose norms stand before them, of its last norm alone.

    A norm takes off a row's mean, divides by its deviation, multiplies by weights and adds a bias. With that
    mean and that deviation it does the same to each part of a sum, so the parts still add up to the row. A
    part's share is its product with the row, over the row's with itself.
    """
    parts: Float64 = np.zeros((len(added) + 2, *states.shape[1:]))  # (2 L + 2, T, D)
    parts[0] = states[0]
    shares = [_shares(parts)]
    for i, block in enumerate(added):
        parts[i + 1] = block
        if not spec.norm_first:
            _norm(parts, *norms[i], spec)
        elif norms and i == len(added) - 1:
            _norm(parts, *norms[0], spec)
        if i % 2:
            shares.append(_shares(parts))
    return np.stack(shares)


def _norm(parts: Float64, weight: Float32, bias: Float32, spec: Spec) -> None:
    """The norm of the row that the parts add up to, done to each of them: (parts, T, D), in place."""
    if not spec.rms_norm:
        parts -= parts.mean(axis=-1, keepdims=True)
    row = parts.sum(axis=0)  # (T, D)
    parts *= weight / np.sqrt((row * row).mean(axis=-1, keepdims=True) + spec.norm_eps)
    if bias.size:
        parts[-1] += bias


def _shares(parts: Float64) -> Float64:
    """(parts, T, D) -> (parts, T)."""
    row = parts.sum(axis=0)  # (T, D)
    products: Float64 = np.einsum("ptd,td->pt", parts, row)
    return products / np.maximum(products.sum(axis=0), 1e-12)
