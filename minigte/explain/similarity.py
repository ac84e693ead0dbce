"""The similarity of two texts, cut into what each pair of their tokens gives to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigte.arrays import Float64
from minigte.errors import InputError
from minigte.explain.trace import Trace
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS


@dataclass(frozen=True, repr=False)
class SimilarityTrace:
    """The similarity of two texts, cut into what each pair of their tokens gives to it.

    ``a`` and ``b`` are the traces of the two texts, and ``score`` is the similarity of their vectors.
    ``pairs`` (Ta, Tb) has the part of every pair of tokens; they add up to the score. ``by_layer`` (L + 1,)
    has the score if the model ended after the embeddings, after the first layer, and so on.
    """

    a: Trace
    b: Trace
    score: float
    pairs: Float64
    by_layer: Float64

    def top_pairs(self, k: int = 10) -> list[tuple[str, str, float]]:
        """The ``k`` pairs that give most: (token of a, token of b, its part of the score), largest first."""
        order = np.argsort(-self.pairs, axis=None, kind="stable")[:k]
        places = zip(*np.unravel_index(order, self.pairs.shape), strict=True)
        return [(self.a.tokens[i], self.b.tokens[j], float(self.pairs[i, j])) for i, j in places]

    def __repr__(self) -> str:
        rows = [f"{self.a.config.similarity_fn_name} {self.score:.4f} of {self.a.text!r} and {self.b.text!r}"]
        rows += [f"{part:8.4f}  {x}  {y}" for x, y, part in self.top_pairs()]
        rows.append("by layer: " + " ".join(f"{score:.3f}" for score in self.by_layer))
        return "\n".join(rows)


def trace_similarity(a: Trace, b: Trace) -> SimilarityTrace:
    """Cut the similarity of two texts into pairs of tokens, and follow it through the layers."""
    if a.model != b.model or a.vector.shape != b.vector.shape:
        raise InputError(f"the traces are of two models, {a.model} and {b.model}: explain both with one")
    name = a.config.similarity_fn_name
    if name not in ("cosine", "dot"):
        raise InputError(
            f"the similarity {name!r} is not a sum over pairs of tokens, as cosine and dot are: "
            "look at each text with explain"
        )
    left, right = a.contributions, b.contributions  # (Ta, D), (Tb, D)
    pairs = left @ right.T  # (Ta, Tb)
    if name == "cosine":
        lengths = [max(float(np.linalg.norm(parts.sum(axis=0))), 1e-12) for parts in (left, right)]
        pairs /= lengths[0] * lengths[1]
    by_layer = SIMILARITY_FUNCTIONS[name].pairwise(a.layer_vectors, b.layer_vectors).astype(np.float64)
    return SimilarityTrace(a, b, float(by_layer[-1]), pairs, by_layer)
