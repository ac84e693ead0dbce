"""minigte inside txtai: ``pip install txtai``.

embeddings = txtai.Embeddings(
    {"method": "minigte.integrations.txtai.MinigteVectors", "path": "thenlper/gte-small"}
)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigte.arrays import Float32
from minigte.embedder import Embedder
from minigte.errors import MissingDependencyError

try:
    from txtai.vectors import Vectors
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.txtai needs txtai ({error}): pip install txtai"
    ) from error


class MinigteVectors(Vectors):
    """An Embedder as txtai wants its vectors, with the model's prompts for queries and documents.

    txtai's own settings hold: ``instructions`` takes the place of the prompts, ``vectors`` has further
    arguments of ``Embedder``, such as {"dtype": "int8"}.
    """

    def loadmodel(self, path: str) -> Embedder:
        """Load the model that the configuration names."""
        return Embedder(path, **self.config.get("vectors", {}))

    def encode(self, data: Sequence[str], category: str | None = None) -> Float32:
        """(B, D) vectors of B texts; ``category`` is "query" or "data"."""
        prompt = "" if self.instructions else None
        encode = self.model.encode_document if category == "data" else self.model.encode_query
        vectors: Any = encode(data, prompt=prompt, batch_size=self.encodebatch)
        return vectors
