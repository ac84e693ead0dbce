"""minigte inside Haystack: ``pip install haystack-ai``.

from minigte.integrations.haystack import MinigteDocumentEmbedder, MinigteTextEmbedder

pipeline.add_component("embedder", MinigteTextEmbedder("thenlper/gte-small"))
"""

from __future__ import annotations

from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.integrations.reranking import Scorer, ranked
from minigte.loading.sources import DEFAULT_MODEL

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.haystack needs haystack-ai ({error}): pip install haystack-ai"
    ) from error


class _Loaded:
    """A model that is named in a pipeline's YAML, and loaded when the pipeline is warmed up or first runs."""

    def __init__(self, model: str, model_kwargs: dict[str, Any] | None) -> None:
        self.model = model
        self.model_kwargs = model_kwargs or {}
        self._embedder: Embedder | None = None

    def warm_up(self) -> Embedder:
        """Load the model, once."""
        if self._embedder is None:
            self._embedder = Embedder(self.model, **self.model_kwargs)
        return self._embedder


@component
class MinigteTextEmbedder(_Loaded):
    """Embeds a query, with the model's prompt for queries."""

    def __init__(self, model: str = DEFAULT_MODEL, *, model_kwargs: dict[str, Any] | None = None) -> None:
        """``model_kwargs``: further arguments of ``Embedder``, such as ``dtype``."""
        _Loaded.__init__(self, model, model_kwargs)  # super() is lost where Haystack makes the class anew

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """{"embedding": the text's vector}."""
        if not isinstance(text, str):
            raise InputError(
                f"MinigteTextEmbedder takes a text, not {type(text).__name__}: for documents there is "
                "MinigteDocumentEmbedder"
            )
        return {"embedding": self.warm_up().encode_query(text).tolist()}

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline saves of it."""
        return default_to_dict(self, model=self.model, model_kwargs=self.model_kwargs)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MinigteTextEmbedder:
        """The component that ``to_dict`` has saved."""
        return default_from_dict(cls, data)


@component
class MinigteDocumentEmbedder(_Loaded):
    """Embeds documents, with the model's prompt for documents; an image or another blob is an empty text."""

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        model_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """``meta_fields_to_embed`` are put before the content, with ``embedding_separator`` between them.

        ``model_kwargs``: further arguments of ``Embedder``, such as ``dtype``.
        """
        _Loaded.__init__(self, model, model_kwargs)  # super() is lost where Haystack makes the class anew
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """{"documents": copies of them that have their vectors}."""
        if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
            raise InputError(
                "MinigteDocumentEmbedder takes a list of Documents: for a text there is MinigteTextEmbedder"
            )
        vectors = self.warm_up().encode_document([self._text(document) for document in documents])
        return {
            "documents": [
                Document.from_dict({**document.to_dict(flatten=False), "embedding": vector.tolist()})
                for document, vector in zip(documents, vectors, strict=True)
            ]
        }

    def _text(self, document: Document) -> str:
        fields = [document.meta.get(name) for name in self.meta_fields_to_embed]
        return self.embedding_separator.join(
            [*(str(field) for field in fields if field is not None), document.content or ""]
        )

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline saves of it."""
        return default_to_dict(
            self,
            model=self.model,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            model_kwargs=self.model_kwargs,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MinigteDocumentEmbedder:
        """The component that ``to_dict`` has saved."""
        return default_from_dict(cls, data)


@component
class MinigteRanker:
    """Puts the documents that answer a query best first, with their new scores."""

    def __init__(self, model: Scorer | str = DEFAULT_MODEL, top_k: int = 10) -> None:
        """``model``: a CrossEncoder, an Embedder, or the name of a model to load as an Embedder.

        Only with a name can a pipeline save the component.
        """
        self.model = model
        self.top_k = top_k
        self._scorer: Scorer | None = None

    def warm_up(self) -> Scorer:
        """Load the model, once."""
        if self._scorer is None:
            self._scorer = Embedder(self.model) if isinstance(self.model, str) else self.model
        return self._scorer

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """{"documents": the ``top_k`` best, best first}."""
        texts = [document.content or "" for document in documents]
        found = ranked(self.warm_up(), query, texts, self.top_k if top_k is None else top_k)
        return {
            "documents": [
                Document.from_dict({**documents[place].to_dict(flatten=False), "score": score})
                for place, score in found
            ]
        }

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline saves of it."""
        if not isinstance(self.model, str):
            raise InputError("a MinigteRanker can be saved when its model is a name: give one to it")
        return default_to_dict(self, model=self.model, top_k=self.top_k)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MinigteRanker:
        """The component that ``to_dict`` has saved."""
        return default_from_dict(cls, data)
