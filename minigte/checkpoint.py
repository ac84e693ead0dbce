"""A model folder's weight files, read into named float32 arrays and checked against the architecture.

Read: ``model.safetensors``, shards listed in ``model.safetensors.index.json``, or an ONNX export.
Values may be float32, float16 or bfloat16; names may carry the prefix ``bert.``. Pickles
(``pytorch_model.bin``) can run code when they are opened, so they are never read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from minigte.config import Config, read_json
from minigte.errors import CheckpointError, ConfigError
from minigte.files import sha256_of
from minigte.models import ARCHITECTURES, bert

Float32 = npt.NDArray[np.float32]
# A tensor's name and shape, and what reads it from its file.
StoredTensor = tuple[str, tuple[int, ...], Callable[[], npt.NDArray[Any]]]

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
    encoder = config.encoder

    def shapes(parameters: Iterable[bert.Parameter], prefix: str = "") -> dict[str, tuple[int, ...]]:
        return {prefix + row.name: tuple(getattr(encoder, axis) for axis in row.shape) for row in parameters}

    prefixes = [architecture.ENCODER_LAYER.format(i) for i in range(encoder.num_hidden_layers)]
    expected = shapes(architecture.EMBEDDING_PARAMETERS)
    for prefix in prefixes:
        expected |= shapes(architecture.LAYER_PARAMETERS, prefix)
    tensors = _read_tensors(folder, expected, architecture.UNUSED)

    def take(parameters: Iterable[bert.Parameter], prefix: str = "") -> dict[str, Float32]:
        return {row.field: tensors[prefix + row.name] for row in parameters}

    layers = (architecture.LayerWeights(**take(architecture.LAYER_PARAMETERS, prefix)) for prefix in prefixes)
    return architecture.Weights(**take(architecture.EMBEDDING_PARAMETERS), layers=tuple(layers))


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


def _read_tensors(
    folder: Path, expected: Mapping[str, tuple[int, ...]], unused: tuple[str, ...]
) -> dict[str, Float32]:
    """Find the weight file and read the tensors ``expected`` of it, which must be all but the ``unused``.

    A tensor is read when its name and shape are known to be right: what does not belong to the model costs no
    memory, however large it is.
    """
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
        stored = _read_shards(path)
    elif path.suffix == ".onnx":
        from minigte.onnx_export import read_onnx

        stored = read_onnx(path)
    else:
        stored = _read_safetensors(path, None)
    tensors: dict[str, Float32] = {}
    unknown: dict[str, tuple[int, ...]] = {}
    for stored_name, shape, read in stored:
        name = canonical_name(stored_name)
        if name.startswith(unused):
            continue
        if name in tensors or name in unknown:
            raise CheckpointError(f"{path} has two tensors {name}")
        if name not in expected:
            unknown[name] = shape
            continue
        if shape != expected[name]:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {shape}, config.json says {expected[name]}"
            )
        tensors[name] = _own(read())
        if not np.isfinite(tensors[name]).all():
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinity: get the file again")
        tensors[name].flags.writeable = False
    for name, shape in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{path} has no tensor {name} (expected shape {shape})")
    if unknown:
        name, shape = next(iter(unknown.items()))
        raise CheckpointError(
            f"{path} has {len(unknown)} tensors that the model of this config.json does not, "
            f"the first {name} of shape {shape}"
        )
    return tensors


def _check_regular(path: Path) -> None:
    """Refuse what is no file: a named pipe would be waited for, a device never ends."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is not a regular file")
    except OSError as error:  # its name is too long
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _read_shards(index: Path) -> Iterator[StoredTensor]:
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


def _read_safetensors(path: Path, expected: set[str] | None) -> Iterator[StoredTensor]:
    """The tensors of one safetensors file; ``expected`` are the names that an index lists."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if expected is not None and set(names) != expected:
                name = min(set(names) ^ expected)
                raise CheckpointError(
                    f"{path} and the index disagree about the tensor {name}: get both again"
                )
            for name in names:
                stored = file.get_slice(name)
                shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
                if dtype == "BF16":
                    read = functools.partial(_read_bfloat16, path, name)
                elif dtype in ("F32", "F16"):
                    read = functools.partial(file.get_tensor, name)
                elif canonical_name(name) == "embeddings.position_ids":  # integers
                    continue
                else:
                    raise CheckpointError(f"{path}: tensor {name} is {dtype} (known: F32, F16, BF16)")
                yield name, shape, read
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, though the index lists it") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except (safetensors.SafetensorError, ValueError) as error:  # ValueError: more axes than NumPy knows
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): get it again") from error


def _read_bfloat16(path: Path, name: str) -> Float32:
    """One bfloat16 tensor of a safetensors file that the library has found whole.

    NumPy has no such type, so the library has no array for it; the header says where its bytes are
    (https://huggingface.co/docs/safetensors/index#format).
    """
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        tensor = json.loads(file.read(header_size))[name]
        begin, end = tensor["data_offsets"]
        upper = np.fromfile(file, "<u2", (end - begin) // 2, offset=begin)  # the upper half of a float32
    return (upper.astype(np.uint32) << 16).view(np.float32).reshape(tensor["shape"])
