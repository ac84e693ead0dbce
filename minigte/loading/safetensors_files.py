"""Safetensors: one file, or the shards that an index lists, read tensor by tensor; and written.

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
from minigte.loading.stored_tensors import StoredTensor
from minigte.runtime.reading import check_file, read_object


def read_shards(index: Path) -> Iterator[StoredTensor]:
    """Read the shards that an index lists; each must hold exactly the tensors listed for it."""
    for shard, names in shards_of(index).items():
        check_file(index.parent / shard, CheckpointError)
        yield from read_safetensors(index.parent / shard, names)


def shards_of(index: Path) -> dict[str, set[str]]:
    """The files that an index lists, in order, and the names of the tensors in each."""
    weight_map = read_object(index, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index} has no weight_map of tensor names to file names")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise CheckpointError(
                f"{index}: {shard!r} is not the name of a safetensors file of the same folder"
            )
        shards.setdefault(shard, set()).add(name)
    return dict(sorted(shards.items()))


def read_safetensors(path: Path, expected: set[str] | None) -> Iterator[StoredTensor]:
    """The tensors of one safetensors file; ``expected`` are the names that an index lists."""
    with _naming(path):
        # It stays open for as long as a tensor of it may still be read.
        file = safetensors.safe_open(path, framework="numpy")
        names = list(file.keys())
        if expected is not None and set(names) != expected:
            name = min(set(names) ^ expected)
            raise CheckpointError(f"{path} and the index disagree about the tensor {name}: get both again")
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
            yield name, shape, read


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
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): get it again") from error


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
        upper = np.fromfile(file, "<u2", (end - begin) // 2, offset=begin)  # the upper half of a float32
    return (upper.astype(np.uint32) << 16).view(np.float32).reshape(tensor["shape"])


def save_safetensors(tensors: Mapping[str, Float32], path: Path) -> None:
    """Write arrays as safetensors: float16 where that holds every value exactly, else float32."""
    from safetensors.numpy import save

    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    exact = all(np.array_equal(halves[name], tensor) for name, tensor in tensors.items())
    path.write_bytes(save(dict(halves if exact else tensors), metadata={"format": "np"}))
