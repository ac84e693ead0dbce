"""A model folder's weight files, read into named float32 arrays and checked against the architecture.

Read: ``model.safetensors``, shards listed in ``model.safetensors.index.json``, or an ONNX export.
Values may be float32, float16 or bfloat16; names may carry the prefix ``bert.``. Pickles
(``pytorch_model.bin``) can run code when they are opened, so they are never read.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from minigte.config import Config, read_json
from minigte.errors import CheckpointError, ConfigError
from minigte.files import sha256_of
from minigte.models import ARCHITECTURES, bert

Float32 = npt.NDArray[np.float32]

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# POSIX shares such pages with forked children unless told not to; Windows has no choice and no fork.
PRIVATE: Any = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}

ONNX = ("model.onnx", "onnx/model.onnx")


def load_weights(folder: Path, config: Config) -> bert.Weights:
    """Read the folder's weights as read-only float32 arrays.

    Raises CheckpointError where no file is found, a file is damaged, a tensor is missing, unknown, of
    another shape or not finite; the message names the file and the tensor.
    """
    architecture = ARCHITECTURES[config.model_type]
    path, tensors = _read_tensors(folder, architecture)
    encoder = config.encoder

    def take(name: str, axes: tuple[str, ...]) -> Float32:
        shape = tuple(getattr(encoder, axis) for axis in axes)
        if name not in tensors:
            raise CheckpointError(f"{path} has no tensor {name} (expected shape {shape})")
        tensor = tensors.pop(name)
        if tensor.shape != shape:
            raise CheckpointError(f"{path}: tensor {name} has shape {tensor.shape}, config.json says {shape}")
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinity: get the file again")
        tensor.flags.writeable = False
        return tensor

    embeddings = {row.field: take(row.name, row.shape) for row in architecture.EMBEDDING_PARAMETERS}
    layers = []
    for i in range(encoder.num_hidden_layers):
        prefix = architecture.ENCODER_LAYER.format(i)
        rows = {row.field: take(prefix + row.name, row.shape) for row in architecture.LAYER_PARAMETERS}
        layers.append(architecture.LayerWeights(**rows))
    if tensors:
        name, tensor = next(iter(tensors.items()))
        raise CheckpointError(
            f"{path} has {len(tensors)} tensors that a {config.model_type} of this config.json does not, "
            f"the first {name} of shape {tensor.shape}"
        )
    return architecture.Weights(**embeddings, layers=tuple(layers))


def count_parameters(weights: bert.Weights) -> int:
    """How many numbers a model's arrays hold in all."""
    own = sum(a.size for a in vars(weights).values() if isinstance(a, np.ndarray))
    return own + sum(array.size for layer in weights.layers for array in vars(layer).values())


def find_weights(folder: Path) -> Path | None:
    """The file that ``load_weights`` would read, or None."""
    return next((folder / name for name in (SAFETENSORS, INDEX, *ONNX) if (folder / name).exists()), None)


def model_sha256(folder: Path) -> str:
    """One sha256 over a model folder's weights, configuration and tokenizer files."""
    files = {*folder.glob("*.json"), *folder.glob("*/config.json"), *folder.glob("model-*.safetensors")}
    weights = find_weights(folder)
    if weights is not None:
        files.update(weights.parent.glob(weights.name + "*"))  # an ONNX export may have a second file
    hashes = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}" for path in sorted(files)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def save_safetensors(tensors: Mapping[str, Float32], path: Path) -> None:
    """Write arrays as safetensors: float16 where that holds every value exactly, else float32."""
    from safetensors.numpy import save

    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    exact = all(np.array_equal(halves[name], tensor) for name, tensor in tensors.items())
    path.write_bytes(save(dict(halves if exact else tensors), metadata={"format": "np"}))


def canonical_name(name: str) -> str:
    """A tensor's name without the ``bert.`` prefix, and with today's names for LayerNorm's arrays."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _own(stored: npt.NDArray[Any]) -> Float32:
    """A float32 copy in pages of its own.

    An engine packs most weights and drops them, and malloc would keep what is freed: 80 MB of gte-small.
    """
    try:
        pages = mmap.mmap(-1, max(1, stored.size * 4), **PRIVATE)
    except OSError as error:
        raise MemoryError(f"no memory for {stored.size * 4} bytes of weights ({error.strerror})") from error
    array: Float32 = np.frombuffer(pages, np.float32, stored.size).reshape(stored.shape)
    array[...] = stored
    return array


def _read_tensors(folder: Path, architecture: ModuleType) -> tuple[Path, dict[str, Float32]]:
    """Find the weight file and read its tensors, but for those the architecture does not use."""
    path = find_weights(folder)
    if path is None:
        pickle = folder / "pytorch_model.bin"
        hint = (
            f": {pickle.name} is a pickle, which can run code when opened; save the model as safetensors"
            if pickle.exists()
            else ""
        )
        raise CheckpointError(f"no weights ({SAFETENSORS}, {INDEX} or {ONNX[0]}) in {folder}{hint}")
    _check_regular(path)
    if path.name == INDEX:
        pairs = _read_shards(path)
    elif path.suffix == ".onnx":
        from minigte.onnx_export import read_onnx

        pairs = read_onnx(path)
    else:
        pairs = _read_safetensors(path, None)
    tensors: dict[str, Float32] = {}
    for stored_name, tensor in pairs:
        name = canonical_name(stored_name)
        if name.startswith(architecture.UNUSED):
            continue
        if name in tensors:
            raise CheckpointError(f"{path} has two tensors {name}")
        tensors[name] = tensor
    return path, tensors


def _check_regular(path: Path) -> None:
    """Refuse what is no file: a named pipe would be waited for, a device never ends."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a regular file")
    except OSError as error:  # its name is too long
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _read_shards(index: Path) -> Iterator[tuple[str, Float32]]:
    """Read the shards that an index lists; each must hold exactly the tensors listed for it."""
    try:
        weight_map = read_json(index, required=True).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index} has no weight_map of tensor names to file names")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        shards.setdefault(shard, set()).add(name)
    for shard, names in sorted(shards.items()):
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise CheckpointError(
                f"{index}: {shard!r} is not the name of a safetensors file of the same folder"
            )
        _check_regular(index.parent / shard)
        yield from _read_safetensors(index.parent / shard, names)


def _read_safetensors(path: Path, expected: set[str] | None) -> Iterator[tuple[str, Float32]]:
    """Read one safetensors file tensor by tensor, as float32; ``expected`` are the names an index lists."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            if expected is not None and dtypes.keys() != expected:
                name = min(dtypes.keys() ^ expected)
                raise CheckpointError(
                    f"{path} and the index disagree about the tensor {name}: get both again"
                )
            # NumPy has no bfloat16: the library hands such tensors out as bytes alone, a file at once.
            raw = dict(safetensors.deserialize(path.read_bytes())) if "BF16" in dtypes.values() else {}
            for name, dtype in dtypes.items():
                if canonical_name(name) == "embeddings.position_ids":  # integers
                    continue
                if dtype == "BF16":
                    upper = np.frombuffer(raw.pop(name)["data"], "<u2")  # the upper half of a float32
                    tensor = (upper.astype(np.uint32) << 16).view(np.float32)
                    yield name, _own(tensor.reshape(file.get_slice(name).get_shape()))
                elif dtype in ("F32", "F16"):
                    yield name, _own(file.get_tensor(name))
                else:
                    raise CheckpointError(f"{path}: tensor {name} is {dtype} (known: F32, F16, BF16)")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, though the index lists it") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except (safetensors.SafetensorError, ValueError) as error:  # ValueError: more axes than NumPy knows
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): get it again") from error
