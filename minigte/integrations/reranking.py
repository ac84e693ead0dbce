"""Documents in the order in which they answer a query, as the rerankers of several programs need it.

A cross-encoder reads the query and a document together and says how well they fit. An Embedder compares their
vectors, which costs one pass a document and none for a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from minigte.embedder import Embedder


@runtime_checkable
class Ranker(Protocol):
    """What ranks pairs itself: ``rank`` is that of sentence-transformers' CrossEncoder."""

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None) -> Sequence[Any]:
        """The best documents first, each {"corpus_id": position, "score": number, ...}."""


Scorer: TypeAlias = Embedder | Ranker


def ranked(
    scorer: Scorer, query: str, documents: Sequence[str], top_k: int | None = None
) -> list[tuple[int, float]]:
    """The positions of the ``top_k`` best documents with their scores, best first; None is all of them."""
    if not documents:
        return []
    if isinstance(scorer, Embedder):
        [hits] = scorer.semantic_search(query, documents, top_k or len(documents))
        return [(hit["corpus_id"], hit["score"]) for hit in hits]
    found = scorer.rank(query, documents, top_k=top_k)
    return [(int(hit["corpus_id"]), float(hit["score"])) for hit in found]
