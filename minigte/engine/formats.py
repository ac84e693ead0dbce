"""What a dtype means: one record says in which form weights, activations and attention's inputs are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigte.engine.level import Level

DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Format:
    """How a model computed in one dtype is kept in memory.

    bfloat16 is kept as uint16, its bits, and float16 as int16: to the kernels uint16 is bfloat16.
    """

    panel: type[np.generic]  # a packed weight
    group: int  # neighbours along the inner dimension that lie side by side in a panel
    stored: type[np.generic]  # what a stage leaves
    read: type[np.generic]  # what the next product reads of it
    attended: type[np.generic]  # query, key, value and the probabilities
    value_dtype: str  # the dtype of the product that makes the values
    rows: int  # multiplied at a time
    float16: bool = False  # whether weights that a checkpoint has in float16 are kept so


def format_of(dtype: str, level: Level) -> Format:
    """The format of ``dtype`` on a processor of this level."""
    rows = level.rows(narrow=dtype != "float32")
    narrow: Any = np.uint16 if level.bfloat16_dot else np.float32
    if dtype == "int8":
        # The value's product is the one where int8 costs most: rounding its input and weights alone makes
        # almost half of the pass's distance from float32 (1 - cosine 6e-4 on gte-small's short texts, 3.4e-4
        # without), for a twelfth of the arithmetic. So it takes bfloat16.
        read: Any = np.uint8 if level.int8_dot else np.int16  # as wide as what is multiplied
        return Format(np.int8, level.int8_group, np.float32, read, narrow, "bfloat16", rows)
    if dtype == "bfloat16":
        return Format(np.uint16, 2, narrow, narrow, narrow, "bfloat16", rows)
    return Format(np.float32, 1, np.float32, np.float32, np.float32, "float32", rows, level.float16)
