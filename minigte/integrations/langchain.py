"""minigte inside LangChain: ``pip install langchain-core``.

from minigte.integrations.langchain import MinigteEmbeddings

store = InMemoryVectorStore.from_texts(texts, MinigteEmbeddings("thenlper/gte-small"))
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from minigte.embedder import Embedder
from minigte.errors import MissingDependencyError
from minigte.integrations.reranking import Scorer, ranked
from minigte.loading.sources import DEFAULT_MODEL

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import ConfigDict, Field
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.langchain needs langchain-core ({error}): pip install langchain-core"
    ) from error


class MinigteEmbeddings(Embeddings):
    """An Embedder as LangChain wants its embeddings, with the model's prompts for queries and documents.

    The async methods are LangChain's own, which call these in a thread; any number may run at once.
    """

    def __init__(self, model: str | os.PathLike[str] | Embedder = DEFAULT_MODEL, **options: Any) -> None:
        """Use an Embedder, or the one that ``Embedder(model, **options)`` loads."""
        self.embedder = model if isinstance(model, Embedder) else Embedder(model, **options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        return self.embedder.encode_document(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self.embedder.encode_query(text).tolist()


class MinigteReranker(BaseDocumentCompressor):
    """Keeps the ``top_n`` documents that answer a query best, best first.

    Each is a copy that has its score in ``metadata["relevance_score"]``, as with LangChain's own rerankers.
    """

    model: Scorer = Field(repr=False)
    """What scores: a CrossEncoder, or an Embedder, which compares vectors."""
    top_n: int | None = 3
    """How many documents are kept; None is all of them."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, best first."""
        found = ranked(self.model, query, [document.page_content for document in documents], self.top_n)
        return [
            documents[place].model_copy(
                update={"metadata": {**documents[place].metadata, "relevance_score": score}}
            )
            for place, score in found
        ]
