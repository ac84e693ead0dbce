"""Text embeddings with gte-small and other encoders, in NumPy and Numba.

>>> from minigte import Embedder
>>> embedder = Embedder("thenlper/gte-small")
>>> embedder.encode("what is the capital of China?").shape
(384,)

An ``Embedder`` turns text into vectors. The functions below work on vectors of any origin; their names are
those of ``sentence_transformers.util``. Every error is a ``MinigteError``, whose message says what to do.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

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
    UnsupportedError,
)
from minigte.vectors.quantization import quantize_embeddings
from minigte.vectors.search import semantic_search
from minigte.vectors.similarity import (
    SimilarityFunction,
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    pairwise_manhattan_sim,
)
from minigte.version import __version__ as __version__

if TYPE_CHECKING:
    from minigte.batching.async_embedder import AsyncEmbedder
    from minigte.cross_encoder import CrossEncoder
    from minigte.embedder import Embedder
    from minigte.vectors.mining import community_detection, paraphrase_mining, paraphrase_mining_embeddings

# What loads models, and so needs most of the package: imported when it is asked for. Functions on vectors and
# ``except MinigteError`` need not wait for it.
_MODULES = {
    "AsyncEmbedder": "minigte.batching.async_embedder",
    "CrossEncoder": "minigte.cross_encoder",
    "Embedder": "minigte.embedder",
    "community_detection": "minigte.vectors.mining",
    "paraphrase_mining": "minigte.vectors.mining",
    "paraphrase_mining_embeddings": "minigte.vectors.mining",
}

__all__ = [
    "AssumptionWarning",
    "AsyncEmbedder",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "CrossEncoder",
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
    "SimilarityFunction",
    "TokenizerError",
    "TruncationWarning",
    "UnsupportedError",
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "manhattan_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "quantize_embeddings",
    "semantic_search",
]

# What goes on is logged under "minigte"; nothing is shown unless the program asks for it.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import what _MODULES names."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
