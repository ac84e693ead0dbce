"""Safetensors: a file read tensor by tensor; and written.

The format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from minigte.arrays import Float32
from minigte.errors import CheckpointError
from minigte.loading.shards import check_listed
from minigte.loading.stored_tensors import StoredTensor, widen_bfloat16
from minigte.models.weights import StoredDtype

HALVES: dict[str, StoredDtype] = {"F16": "float16", "BF16": "bfloat16"}  # types of 16 bits


def read_safetensors(path: Path, expected: set[str] | None) -> Iterator[StoredTensor]:
    """The tensors of one safetensors file; ``expected`` are the names that an index lists."""
    with _naming(path):
        # It stays open for as long as a tensor of it may still be read.
        file = safetensors.safe_open(path, framework="numpy")
        names = list(file.keys())
        check_listed(path, set(names), expected)
        for name in names:
            stored = file.get_slice(name)
            shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
            read: Callable[[], npt.NDArray[Any]]
            if dtype == "BF16":
                read = functools.partial(_read_bfloat16, path, name)
            elif dtype in ("F64", "F32", "F16"):
                read = functools.partial(_read, path, file, name)
            else:  # it matters only if the tensor does
                read = functools.partial(_refuse, path, name, dtype)
            yield StoredTensor(name, shape, read, HALVES.get(dtype, "float32"))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of the block into a CheckpointError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, though the index lists it") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except (safetensors.SafetensorError, ValueError) as error:  # ValueError: more axes than NumPy knows
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}): download it again"
        ) from error


def _read(path: Path, file: Any, name: str) -> npt.NDArray[Any]:
    with _naming(path):
        array: npt.NDArray[Any] = file.get_tensor(name)
        return array


def _refuse(path: Path, name: str, dtype: str) -> Float32:
    raise CheckpointError(f"{path}: tensor {name} is {dtype} (known: F64, F32, F16, BF16)")


def _read_bfloat16(path: Path, name: str) -> Float32:
    """One bfloat16 tensor of a safetensors file that the library has found whole.

    NumPy has no such type, so the library has no array for it; the header says where its bytes are
    (https://huggingface.co/docs/safetensors/index#format).
    """
    with _naming(path), path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        tensor = json.loads(file.read(header_size))[name]
        begin, end = tensor["data_offsets"]
        upper = np.fromfile(file, "<u2", (end - begin) // 2, offset=begin)
    return widen_bfloat16(upper).reshape(tensor["shape"])


def save_safetensors(tensors: Mapping[str, Float32], path: Path) -> None:
    """Write arrays as safetensors: float16 where that holds every value exactly, else float32."""
    from safetensors.numpy import save

    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    exact = all(np.array_equal(halves[name], tensor) for name, tensor in tensors.items())
    path.write_bytes(save(dict(halves if exact else tensors), metadata={"format": "np"}))
