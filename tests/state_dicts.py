"""State dicts as ``torch.save`` writes them, written without PyTorch; and what else a pickle may ask for."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.loading.safetensors_files import read_safetensors

STORAGES = {"F64": "Double", "F32": "Float", "F16": "Half", "BF16": "BFloat16", "I64": "Long"}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class Name(NamedTuple):
    """What a pickle imports."""

    module: str
    name: str


class Call(NamedTuple):
    """What a pickle calls, and with what; then what it gives it to keep."""

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None


class Stored(NamedTuple):
    """A storage: it lies beside the pickle."""

    dtype: str
    key: str
    content: bytes
    size: int


class Pickler(pickle._Pickler):
    """Writes names and calls without importing or calling them."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Write one value."""
        match obj:
            case Name():
                self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
            case Call():
                self.save(obj.name)
                self.save(obj.arguments)
                self.write(b"R")
                if obj.state is not None:
                    self.save(obj.state)
                    self.write(b"b")
            case Stored():
                storage = Name("torch", f"{STORAGES[obj.dtype]}Storage")
                view = (None,) if self.old_form else ()
                self.save(("storage", storage, obj.key, "cpu", obj.size, *view))
                self.write(b"Q")
            case _:
                super().save(obj, save_persistent_id)

    old_form = False


def dumps(value: Any, *, protocol: int = 2, old_form: bool = False) -> bytes:
    """One pickle."""
    stream = io.BytesIO()
    pickler = Pickler(stream, protocol)
    pickler.old_form = old_form
    pickler.dump(value)
    return stream.getvalue()


def stored(array: npt.NDArray[Any], key: str, dtype: str) -> Stored:
    """A storage with an array's values."""
    if array.dtype != np.float32:
        dtype, content = "I64", array.astype("<i8").tobytes()
    elif dtype == "BF16":
        content = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
    else:
        content = array.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    return Stored(dtype, key, content, array.size)


def tensor(storage: Stored, shape: tuple[int, ...], *, offset: int = 0, strides: Any = None) -> Call:
    """A tensor over a storage, C-contiguous where no strides are given."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    arguments = (storage, offset, shape, strides, False, Call(Name("collections", "OrderedDict"), ()))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def write(
    path: Path,
    tensors: Mapping[str, Any],
    *,
    protocol: int = 2,
    byteorder: bytes | None = b"little",
    compression: int = zipfile.ZIP_STORED,
    change: Callable[[bytes], bytes] = lambda content: content,
) -> None:
    """Write a zip archive; ``tensors`` are what ``tensor`` gives, ``change`` spoils the pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{path.stem}/data.pkl", change(dumps(dict(tensors), protocol=protocol)))
        if byteorder is not None:
            archive.writestr(f"{path.stem}/byteorder", byteorder)
        for key, storage in storages(tensors).items():
            archive.writestr(f"{path.stem}/data/{key}", storage.content)
        archive.writestr(f"{path.stem}/version", b"3\n")


def write_old_form(path: Path, tensors: Mapping[str, Any], *, little_endian: bool = True) -> None:
    """Write the form of PyTorch before 1.6: pickles, then storages."""
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    kept = storages(tensors)
    content = b"".join(map(dumps, (MAGIC_NUMBER, 1001, system)))
    content += dumps(dict(tensors), old_form=True) + dumps(list(kept))
    for storage in kept.values():
        content += struct.pack("<q", storage.size) + storage.content
    path.write_bytes(content)


def storages(tensors: Mapping[str, Any]) -> dict[str, Stored]:
    """All storages that tensors view, by key."""
    found: dict[str, Stored] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Stored):
            found[value.key] = value
        elif isinstance(value, tuple):
            for part in value:
                visit(part)

    for value in tensors.values():
        visit(value)
    return found


def contiguous(arrays: Mapping[str, npt.NDArray[Any]], dtype: str = "F32") -> dict[str, Call]:
    """Every array as a tensor over a storage of its own."""
    return {
        name: tensor(stored(array, str(i), dtype), array.shape)
        for i, (name, array) in enumerate(arrays.items())
    }


def put_in_place_of(path: Path, write: Callable[..., None] = write) -> Path:
    """Put a pytorch_model.bin with the same arrays in place of a safetensors file; give its path."""
    arrays = {stored.name: np.array(stored.read()) for stored in read_safetensors(path, None)}
    path.unlink()
    state_dict = path.with_name("pytorch_model.bin")
    write(state_dict, contiguous(arrays))
    return state_dict
