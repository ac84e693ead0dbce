"""minigte inside llm: ``pip install minigte`` beside it, then ``llm embed -m minigte -c 'some text'``.

llm finds this module by its entry point. ``minigte`` is gte-small, or what MINIGTE_MODEL names. The model is
loaded when it is first asked for a vector.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from minigte.errors import MissingDependencyError

try:
    import llm
except ImportError as error:
    raise MissingDependencyError(f"minigte.integrations.llm needs llm ({error}): pip install llm") from error

if TYPE_CHECKING:
    from minigte.embedder import Embedder

BATCH_TEXTS = 1024  # llm hands on so many texts of a collection at a time


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Tell llm of the model."""
    register(MinigteModel())


class MinigteModel(llm.EmbeddingModel):
    """An Embedder as llm wants its embedding models."""

    model_id = "minigte"
    batch_size = BATCH_TEXTS

    @functools.cached_property
    def _embedder(self) -> Embedder:
        from minigte.embedder import Embedder
        from minigte.loading.sources import DEFAULT_MODEL

        return Embedder(os.environ.get("MINIGTE_MODEL") or DEFAULT_MODEL)

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """One vector for each text; ``key`` is for models that want one."""
        texts: Any = items  # llm has refused bytes
        for vectors in self._embedder.encode_stream(texts, show_progress_bar=False):
            yield from vectors.tolist()
