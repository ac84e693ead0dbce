"""State dicts of PyTorch (``pytorch_model.bin``), read without PyTorch, and without running what is in them.

``torch.save`` writes a pickle that describes the tensors, and their numbers beside it: since PyTorch 1.6 a
zip archive, uncompressed, with the pickle in ``data.pkl`` and each storage in ``data/<key>``; before, one
file with several pickles and then the storages. A tensor is a view of a storage, which several may share
(torch/serialization.py, torch/_utils.py).
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.errors import CheckpointError
from minigte.loading.pickled import RefusedError, fill, read_pickle
from minigte.loading.shards import check_listed
from minigte.loading.stored_tensors import StoredTensor, widen_bfloat16

READ_LIMIT = 16 << 20  # bytes of a pickle, or of an archive's list of files; 200 kB for a hundred layers
LARGEST = 2**63  # elements

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first pickle of the old form
LOCAL_HEADER = 30  # bytes in front of a file in an archive, before its name

FLOATS = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}  # as they are stored
SIZES = {  # bytes of one element; all dtypes but those of FLOATS are refused where such a tensor is needed
    **{name: np.dtype(stored).itemsize for name, stored in FLOATS.items()},
    **{"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1},
}

WAY_OUT = "save the model as safetensors where PyTorch is installed"


class Storage(NamedTuple):
    """The numbers that one or several tensors are views of."""

    key: str
    dtype: str
    size: int  # elements


class Tensor(NamedTuple):
    """A view of a storage."""

    storage: Storage
    offset: int  # elements, as are the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def reach(self) -> int:
        """How many elements of the storage lie from the first to the last of the tensor, both included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


Places = dict[str, tuple[int, int]]  # a storage's key -> where its bytes begin in the file, and how many


class BoundedFile(io.BufferedReader):
    """A file for ``zipfile``, which would read a list of files of whatever size the archive says."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, but never many."""
        if size is not None and size > READ_LIMIT:
            raise ValueError(f"a part that describes others takes more than {READ_LIMIT >> 20} MB")
        return super().read(size)


def read_state_dict(path: Path, expected: set[str] | None) -> Iterator[StoredTensor]:
    """The tensors of one file; ``expected`` are the names that an index lists."""
    try:
        with BoundedFile(io.FileIO(path)) as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            state_dict, places = (_read_archive if zipped else _read_old_form)(file)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, though the index lists it") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except RefusedError as error:
        raise CheckpointError(
            f"{path} {error}, which no state dict does and minigte refuses: {WAY_OUT}"
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is not a complete state dict ({error}): download it again") from error
    tensors = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} has no tensors at its top level, so it is not a state dict: {WAY_OUT}")
    check_listed(path, set(tensors), expected)
    for name, tensor in tensors.items():
        read = functools.partial(_read_tensor, path, name, tensor, places[tensor.storage.key])
        yield StoredTensor(name, tensor.shape, read)


def _read_archive(file: BoundedFile) -> tuple[dict[str, Any], Places]:
    storages: dict[str, Storage] = {}
    with zipfile.ZipFile(file) as archive:
        parts = archive.NameToInfo
    top = next((name for name in parts if name.count("/") == 1 and name.endswith("/data.pkl")), None)
    if top is None:
        raise ValueError("the archive has no data.pkl")
    folder = top.removesuffix("data.pkl")
    if folder + "byteorder" in parts and _content(parts[folder + "byteorder"], file) != b"little":
        raise RefusedError("is not in little-endian byte order")
    stream = io.BytesIO(_content(parts[top], file))
    state_dict = read_pickle(stream, NAMES, functools.partial(_storage, storages))
    return _checked(state_dict), {key: _place(parts[f"{folder}data/{key}"], file) for key in storages}


def _place(part: zipfile.ZipInfo, file: BoundedFile) -> tuple[int, int]:
    """Where a part of the archive begins, and its size."""
    if part.compress_type != zipfile.ZIP_STORED or part.flag_bits & 1 or part.compress_size != part.file_size:
        raise RefusedError("has compressed or encrypted parts")
    file.seek(part.header_offset)
    header = file.read(LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return part.header_offset + LOCAL_HEADER + name + extra, part.file_size


def _content(part: zipfile.ZipInfo, file: BoundedFile) -> bytes:
    start, size = _place(part, file)
    file.seek(start)
    return file.read(size)


def _read_old_form(file: BoundedFile) -> tuple[dict[str, Any], Places]:
    storages: dict[str, Storage] = {}
    stream = io.BytesIO(file.read(READ_LIMIT))

    def pickled() -> Any:
        return read_pickle(stream, NAMES, functools.partial(_storage, storages))

    if pickled() != MAGIC_NUMBER:
        raise ValueError("neither a zip archive nor of the older form")
    pickled()  # the version of the form, 1001 ever since
    if not pickled()["little_endian"]:
        raise RefusedError("is not in little-endian byte order")
    state_dict = _checked(pickled())
    keys = pickled()
    places: Places = {}
    at = stream.tell()
    for key in keys:
        storage = storages[key]
        at += 8  # the number of elements once more
        places[key] = at, storage.size * SIZES[storage.dtype]
        at += places[key][1]
    if unlisted := storages.keys() - places.keys():
        raise ValueError(f"its list of storages lacks {min(unlisted)}")
    return state_dict, places


def _checked(state_dict: Any) -> dict[str, Any]:
    if not isinstance(state_dict, dict):
        raise TypeError(f"it holds a {type(state_dict).__name__}, not a dict")
    return state_dict


def _storage(storages: dict[str, Storage], persistent_id: Any) -> Storage:
    """A storage by what the pickle says of it: "storage", type, key, device, elements, perhaps a view."""
    kind, dtype, key, _, size, *view = persistent_id
    if kind != "storage" or dtype not in SIZES or not isinstance(key, str):
        raise ValueError("it describes no storage")
    if view not in ([], [None]):
        raise RefusedError("has a storage that is a view of another")
    storages[key] = Storage(key, dtype, _number(size))
    return storages[key]


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError("a size is not a number of elements")
    return value


def _ordered_dict(pairs: Any = ()) -> dict[str, Any]:
    """What stands for collections.OrderedDict."""
    made: dict[str, Any] = {}
    fill(made, pairs)
    return made


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """What stands for torch._utils._rebuild_tensor_v2; hooks and the like do not matter."""
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError("it describes no tensor")
    if len(shape) != len(strides):
        raise ValueError("a tensor has fewer or more strides than axes")
    tensor = Tensor(storage, _number(offset), tuple(map(_number, shape)), tuple(map(_number, strides)))
    if tensor.offset + tensor.reach > storage.size:
        raise ValueError("a tensor reaches beyond its storage")
    return tensor


def _parameter(data: Any, *_: Any) -> Any:
    """What stands for torch._utils._rebuild_parameter."""
    return data


NAMES: dict[str, object] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}


def _read_tensor(path: Path, name: str, tensor: Tensor, place: tuple[int, int]) -> npt.NDArray[Any]:
    """The tensor's numbers, still in the file: they are read from there where they are needed."""
    storage = tensor.storage
    if storage.dtype not in FLOATS:
        known = ", ".join(FLOATS)
        raise CheckpointError(f"{path}: tensor {name} is {storage.dtype} (known: {known})")
    stored = np.dtype(FLOATS[storage.dtype])
    start, size = place
    if storage.size * stored.itemsize > size or start + size > path.stat().st_size:
        raise CheckpointError(f"{path} is cut short in the tensor {name}: download it again")
    if not tensor.reach:
        return np.empty(tensor.shape, stored)
    start += tensor.offset * stored.itemsize
    values = np.memmap(path, stored, "r", start, tensor.reach)
    strides = [stride * stored.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
    return widen_bfloat16(array) if storage.dtype == "bfloat16" else array
