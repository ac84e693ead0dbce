"""Text embeddings with gte-small and its family of BERT models, in NumPy and Numba."""

__version__ = "0.1.0"
