"""Output precision: float32 vectors stored in fewer bits, as sentence-transformers stores them.

Not to be taken for ``dtype``, which is the precision the model computes in.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Matrix
from minigte.calls.arguments import one_of
from minigte.errors import InputError

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
FEW = 100  # vectors: ranges that are taken from fewer change a lot from sample to sample

Int8 = npt.NDArray[np.int8]
UInt8 = npt.NDArray[np.uint8]
Quantized: TypeAlias = Float32 | Int8 | UInt8

logger = logging.getLogger(__name__)


@overload
def quantize_embeddings(
    embeddings: list[Matrix],
    precision: str,
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> list[Quantized]: ...
@overload
def quantize_embeddings(
    embeddings: npt.ArrayLike,
    precision: Literal["float32"],
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> Float32: ...
@overload
def quantize_embeddings(
    embeddings: npt.ArrayLike,
    precision: Literal["int8", "binary"],
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> Int8: ...
@overload
def quantize_embeddings(
    embeddings: npt.ArrayLike,
    precision: Literal["uint8", "ubinary"],
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> UInt8: ...
@overload
def quantize_embeddings(
    embeddings: npt.ArrayLike,
    precision: str,
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> Quantized: ...
def quantize_embeddings(
    embeddings: Any,
    precision: str,
    ranges: npt.ArrayLike | None = None,
    calibration_embeddings: npt.ArrayLike | None = None,
) -> Any:
    """Store vectors in fewer bits: (..., D) float -> (..., D), or (..., D / 8) for the binary ones.

    "int8", "uint8": each component's range is cut into 255 equal steps. ``ranges`` (2, D) has the minima and
    maxima; without it they are taken from ``calibration_embeddings``, or else from ``embeddings``
    themselves, and then the same text has another code in another list.
    "binary", "ubinary": one bit a component, set where it is positive, eight to a byte; "binary" is the
    same byte minus 128.

    A list of matrices, such as token embeddings, gives a list; all of them share one range a component.

    Raises InputError for an unknown precision, for anything but float vectors, and where ranges would have to
    come from a single vector, do not fit, or overflow float32.
    Source: sentence-transformers, "Embedding Quantization".
    """
    one_of("precision", precision, PRECISIONS)
    if isinstance(embeddings, list) and (not embeddings or np.ndim(embeddings[0]) == 2):
        matrices = [_floats("embeddings", matrix) for matrix in embeddings]
        sample = np.concatenate(matrices) if matrices else np.empty((0, 0))
        chosen = _ranges(sample, precision, ranges, calibration_embeddings) if len(sample) else None
        return [_quantized(matrix, precision, chosen) for matrix in matrices]
    vectors = _floats("embeddings", embeddings)
    chosen = _ranges(vectors, precision, ranges, calibration_embeddings) if len(vectors) else None
    return _quantized(vectors, precision, chosen)


def scale_to_int8(vectors: npt.ArrayLike) -> Int8:
    """Codes of vectors (..., D) from -127 to 127: each vector times what makes its largest component 127.

    No ranges are needed or kept, a text's code depends on no other text, and the cosine of two codes is
    nearly that of their vectors. Not the codes of ``quantize_embeddings``, whose steps differ by component.
    """
    array = _floats("vectors", vectors)
    largest = np.abs(array).max(axis=-1, keepdims=True, initial=0)
    return np.rint(array * (127 / np.where(largest == 0, 1, largest))).astype(np.int8)


def _quantized(vectors: npt.NDArray[Any], precision: str, ranges: Float32 | None) -> Quantized:
    """Codes of vectors (..., D). ``ranges`` (2, D) are None for no vectors, and for other precisions."""
    if precision == "float32":
        with np.errstate(over="ignore", under="ignore"):  # from float64
            return vectors.astype(np.float32, copy=False)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - np.uint8(128)).view(np.int8)
    if ranges is None:
        return np.zeros(vectors.shape, precision)
    start, stop = ranges  # (D,)
    with np.errstate(over="ignore", under="ignore"):  # beyond its range a component has the code at its end
        step = (stop - start) / np.float32(255)
        codes = np.clip(np.floor((vectors - start) / np.where(step == 0, np.float32(1), step)), 0, 255)
    return codes.astype(np.uint8) if precision == "uint8" else (codes - 128).astype(np.int8)


def _ranges(
    vectors: npt.NDArray[Any],
    precision: str,
    ranges: npt.ArrayLike | None,
    calibration_embeddings: npt.ArrayLike | None,
) -> Float32 | None:
    """Each component's smallest and largest value, (2, D): those given, or those of a sample."""
    if precision not in ("int8", "uint8"):
        return None
    if not np.isfinite(vectors).all():
        raise InputError(f"the embeddings hold NaN or infinity, which have no {precision} code")
    if ranges is not None:
        chosen = _floats("ranges", ranges)
    elif calibration_embeddings is not None:
        sample = _floats("calibration_embeddings", calibration_embeddings)
        if sample.ndim != 2 or len(sample) == 0:
            raise InputError(
                f"calibration_embeddings must be (n, D) vectors, n at least 1, not {sample.shape}"
            )
        chosen = np.stack([sample.min(axis=0), sample.max(axis=0)])
    elif vectors.ndim == 1 or len(vectors) == 1:
        raise InputError(
            f"precision {precision!r} needs ranges, or more than one text to take them from: "
            "embed a sample and call quantize_embeddings(..., calibration_embeddings=sample)"
        )
    else:
        if len(vectors) < FEW:
            logger.warning(
                "%s codes take their ranges from %d vectors alone: more, or ranges, are more stable",
                precision,
                len(vectors),
            )
        chosen = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    if chosen.shape != (2, vectors.shape[-1]):
        raise InputError(
            f"ranges must be (2, {vectors.shape[-1]}), minima and maxima by component, not {chosen.shape}"
        )
    with np.errstate(over="ignore", under="ignore"):
        chosen = chosen.astype(np.float32)
        span = chosen[1] - chosen[0]
    if not (np.isfinite(span) & (span >= 0)).all():
        raise InputError(
            "ranges must be finite, minima in row 0 and maxima in row 1; their difference must fit float32"
        )
    return chosen


def _floats(name: str, vectors: object) -> npt.NDArray[Any]:
    """The vectors as an array of numbers that are no codes yet: (D,) or (B, D)."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2) or isinstance(vectors, np.ma.MaskedArray):
        raise InputError(f"{name} must be (D,) or (B, D) numbers, not {type(vectors).__name__} {array.shape}")
    if array.dtype in (np.int8, np.uint8):
        raise InputError(f"{name} must be float vectors, not {array.dtype} codes: quantize them once")
    return array
