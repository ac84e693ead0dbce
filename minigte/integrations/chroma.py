"""minigte inside Chroma: ``pip install chromadb``.

from minigte.integrations.chroma import MinigteEmbeddingFunction

embedding_function = MinigteEmbeddingFunction("thenlper/gte-small")
collection = client.create_collection("faq", embedding_function=embedding_function)

A collection keeps the function's configuration, and a later process opens it by its name alone, once it has
imported this module.
"""

from __future__ import annotations

import os
from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.loading.sources import DEFAULT_MODEL

try:
    from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
    from chromadb.utils.embedding_functions import register_embedding_function
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.chroma needs chromadb ({error}): pip install chromadb"
    ) from error

# Chroma's names for what a model's ``similarity_fn_name`` says.
SPACES: dict[str, Space] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


@register_embedding_function
class MinigteEmbeddingFunction(EmbeddingFunction[Documents]):
    """An Embedder as Chroma wants it, with the model's prompts for queries and documents."""

    def __init__(self, model_name: str | os.PathLike[str] = DEFAULT_MODEL, **options: Any) -> None:
        """Load ``Embedder(model_name, **options)``; all of it is kept in the collection's configuration."""
        for name, value in options.items():
            if not isinstance(value, (str, int, float, dict, type(None))):
                raise InputError(f"{name} is {type(value).__name__}: Chroma keeps texts, numbers and dicts")
        self._config = {"model_name": os.fspath(model_name), "options": options}
        self._embedder = Embedder(model_name, **options)

    def __call__(self, input: Documents) -> Embeddings:
        """One float32 vector for each document."""
        return list(self._embedder.encode_document(input))

    def embed_query(self, input: Documents) -> Embeddings:
        """One float32 vector for each query."""
        return list(self._embedder.encode_query(input))

    @staticmethod
    def name() -> str:
        """What Chroma calls it in a collection's configuration."""
        return "minigte"

    def default_space(self) -> Space:
        """The model's own similarity; cosine where Chroma has none of its kind."""
        return SPACES.get(self._embedder.similarity_fn_name, "cosine")

    def supported_spaces(self) -> list[Space]:
        """All of Chroma's."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """What ``build_from_config`` needs."""
        return self._config

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> EmbeddingFunction[Documents]:
        """The function that ``get_config`` has described."""
        return MinigteEmbeddingFunction(config["model_name"], **config["options"])
