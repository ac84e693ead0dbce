"""minigte inside LlamaIndex: ``pip install llama-index-core``.

from minigte.integrations.llama_index import MinigteEmbedding

Settings.embed_model = MinigteEmbedding(model_name="thenlper/gte-small")
"""

from __future__ import annotations

import os
from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.integrations.reranking import Scorer, ranked
from minigte.loading.sources import DEFAULT_MODEL

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.llama_index needs llama-index-core ({error}): pip install llama-index-core"
    ) from error

BATCH_TEXTS = 256  # LlamaIndex hands on so many texts at a time


class MinigteEmbedding(BaseEmbedding):
    """An Embedder as LlamaIndex wants its embeddings, with the model's prompts for queries and documents."""

    model_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments of minigte.Embedder, such as dtype."
    )
    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        model_name: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        embed_batch_size: int = BATCH_TEXTS,
        model_kwargs: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Load ``Embedder(model_name, **model_kwargs)``; ``others`` are LlamaIndex's, as callback_manager."""
        super().__init__(
            model_name=os.fspath(model_name),
            embed_batch_size=embed_batch_size,
            model_kwargs=model_kwargs or {},
            **others,
        )
        self._embedder = Embedder(self.model_name, **self.model_kwargs)

    @classmethod
    def class_name(cls) -> str:
        """Its name in what LlamaIndex saves."""
        return "MinigteEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.encode_query(query).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.encode_document(text).tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.encode_document(texts).tolist()


class MinigteRerank(BaseNodePostprocessor):
    """Keeps the ``top_n`` nodes that answer the query best, best first, with their new scores."""

    model: Scorer = Field(description="What scores: a CrossEncoder, or an Embedder.", exclude=True)
    top_n: int = Field(default=2, description="How many nodes are kept.")

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def class_name(cls) -> str:
        """Its name in what LlamaIndex saves."""
        return "MinigteRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("MinigteRerank needs the query: give query_bundle or query_str")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        found = ranked(self.model, query_bundle.query_str, texts, self.top_n)
        return [NodeWithScore(node=nodes[place].node, score=score) for place, score in found]
