"""What every forward pass takes: the token ids of some texts, laid end to end without padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigte.arrays import Int64


@dataclass(frozen=True)
class Batch:
    """B texts in one row of N tokens; text b owns the tokens ``offsets[b]:offsets[b + 1]``."""

    input_ids: npt.NDArray[np.int32]  # (N,)
    offsets: Int64  # (B + 1,), rising from 0 to N
    index: Int64  # (B,), each text's place in the caller's list
    token_type_ids: npt.NDArray[np.int32] | None = None  # (N,); None is all 0, as for single texts

    @property
    def num_tokens(self) -> int:
        """N, the tokens of all texts together."""
        return len(self.input_ids)
