"""Output precision: float32 vectors stored in fewer bits, as sentence-transformers stores them.

Not to be taken for ``dtype``, which is the precision the model computes in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.errors import InputError

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")

Quantized = npt.NDArray[np.float32] | npt.NDArray[np.int8] | npt.NDArray[np.uint8]


def quantize_embeddings(
    embeddings: Float32,
    precision: str,
    ranges: Float32 | None = None,
    calibration_embeddings: Float32 | None = None,
) -> Quantized:
    """Store vectors in fewer bits: (..., D) float32 -> (..., D), or (..., D / 8) for the binary ones.

    "int8", "uint8": each component's range, ``ranges`` (2, D) of minima and maxima, is cut into 255 equal
    steps; without ``ranges`` they are those of ``calibration_embeddings``, or else of ``embeddings``
    themselves, so that the same text in another list has another code.
    "binary", "ubinary": one bit a component, set where it is positive, eight to a byte; "binary" is the
    same byte minus 128.

    Raises InputError for an unknown precision, and where ranges would have to come from a single vector.
    Source: sentence-transformers, "Embedding Quantization".
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r} (known: {', '.join(PRECISIONS)})")
    if precision == "float32":
        return embeddings
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - np.uint8(128)).view(np.int8)
    if ranges is None:
        calibration = embeddings if calibration_embeddings is None else calibration_embeddings
        if calibration.ndim == 1 or len(calibration) == 1:
            raise InputError(
                f"precision {precision!r} needs ranges, or more than one text to take them from: "
                "embed a sample and call quantize_embeddings(..., calibration_embeddings=sample)"
            )
        if len(calibration) == 0:
            return np.zeros(embeddings.shape, precision)
        ranges = np.stack([calibration.min(axis=0), calibration.max(axis=0)])
    start, stop = np.asarray(ranges, np.float32)
    step = (stop - start) / np.float32(255)
    codes = np.clip(np.floor((embeddings - start) / np.where(step == 0, np.float32(1), step)), 0, 255)
    return codes.astype(np.uint8) if precision == "uint8" else (codes - 128).astype(np.int8)
