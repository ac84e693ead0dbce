"""Text embeddings with gte-small and its family of BERT models, in NumPy and Numba.

>>> from minigte import Embedder
>>> embedder = Embedder("thenlper/gte-small")
>>> embedder.encode("what is the capital of China?").shape
(384,)
"""

from minigte.embedder import Embedder
from minigte.errors import (
    AssumptionWarning,
    CheckpointError,
    ConfigError,
    DownloadError,
    InputError,
    InputTooLongError,
    MinigteError,
    MissingDependencyError,
    ModelNotFoundError,
    OutOfMemoryError,
    OutputError,
    TokenizerError,
    TruncationWarning,
)
from minigte.vectors.quantization import quantize_embeddings
from minigte.vectors.search import semantic_search

__version__ = "0.1.0"

__all__ = [
    "AssumptionWarning",
    "CheckpointError",
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
    "TokenizerError",
    "TruncationWarning",
    "quantize_embeddings",
    "semantic_search",
]
