"""Page 2, Embeddings. Put your answers in place of the lines that raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def look_up_by_product(input_ids: Ids, vocab_size: int) -> Float32:
    """The matrix whose product with a table (V, D) is its rows ``input_ids`` (T, D): (T,) ids -> (T, V)."""
    raise NotImplementedError


def sum_of_the_parts(input_ids: Ids, words: Float32, positions: Float32, token_types: Float32) -> Float32:
    """Word + position + token type of one text, before LayerNorm: (T,) ids and three tables -> (T, D)."""
    raise NotImplementedError


def position_ids(offsets: Ids) -> Ids:
    """The place of each token in its own text: (B + 1,) -> (N,). [0, 3, 5] gives [0, 1, 2, 0, 1]."""
    raise NotImplementedError


def most_alike(table: Float32, i: int) -> int:
    """The row with the largest cosine with row i, i itself aside: (V, D) -> a place in the table."""
    raise NotImplementedError
