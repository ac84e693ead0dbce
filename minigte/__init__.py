"""Text embeddings with gte-small and its family of BERT models, in NumPy and Numba.

>>> from minigte import Embedder
>>> embedder = Embedder("thenlper/gte-small")
>>> embedder.encode("what is the capital of China?").shape
(384,)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minigte.embedder import Embedder
from minigte.errors import (
    AssumptionWarning,
    CheckpointError,
    ClosedError,
    ConfigError,
    DownloadError,
    InputError,
    InputTooLongError,
    MinigteError,
    MissingDependencyError,
    ModelNotFoundError,
    OutOfMemoryError,
    OutputError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    TokenizerError,
    TruncationWarning,
)
from minigte.vectors.quantization import quantize_embeddings
from minigte.vectors.search import semantic_search

if TYPE_CHECKING:
    from minigte.async_embedder import AsyncEmbedder

__version__ = "0.1.0"

__all__ = [
    "AssumptionWarning",
    "AsyncEmbedder",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "DownloadError",
    "Embedder",
    "InputError",
    "InputTooLongError",
    "MinigteError",
    "MissingDependencyError",
    "ModelNotFoundError",
    "OutOfMemoryError",
    "OutputError",
    "OverloadedError",
    "QueueFullError",
    "QueueTimeoutError",
    "TokenizerError",
    "TruncationWarning",
    "quantize_embeddings",
    "semantic_search",
]


def __getattr__(name: str) -> Any:
    """Import what is only for asyncio, and takes as long to import as the rest, when it is asked for."""
    if name == "AsyncEmbedder":
        from minigte.async_embedder import AsyncEmbedder

        return AsyncEmbedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
