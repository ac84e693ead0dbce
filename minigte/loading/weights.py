"""A model folder's weight files, read into named float32 arrays and checked against the architecture.

Read: ``model.safetensors``, else ``pytorch_model.bin``, each whole or in shards that an index lists, or an
ONNX export where there is neither. Values may be float64, float32, float16 or bfloat16.

As in transformers, what stands beside the encoder (the heads of other tasks, layers beyond
``num_hidden_layers``) is passed over.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from minigte.arrays import Float32
from minigte.errors import CheckpointError
from minigte.loading.config import ModelConfig
from minigte.loading.safetensors_files import read_safetensors
from minigte.loading.shards import read_shards, shards_of
from minigte.loading.stored_tensors import StoredTensor, read_tensor
from minigte.models.architecture import Architecture, ClassificationHead, Tensor
from minigte.models.weights import (
    ABSENT,
    FLOAT32,
    ClassificationHeadWeights,
    LayerWeights,
    StoredAs,
    StoredDtype,
    Weights,
)
from minigte.runtime.reading import check_file
from minigte.vectors.head import DenseConfig

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
STATE_DICT = "pytorch_model.bin"
STATE_DICT_INDEX = "pytorch_model.bin.index.json"
ONNX = ("model.onnx", "onnx/model.onnx")


def load_weights(folder: Path, config: ModelConfig) -> Weights:
    """Read the weights of a model folder as read-only float32 arrays.

    Raises CheckpointError where no file is found, a file is damaged, a tensor is missing, unknown, of
    another shape or not finite; the message names the file and the tensor.
    """
    read = functools.cache(_Checkpoint(folder, config).read)  # several arrays may be kept in one tensor
    return _weights(config, lambda tensor: tensor.take(read(tensor.name)))


def load_classification_head(
    folder: Path, config: ModelConfig, head: ClassificationHead, num_labels: int
) -> ClassificationHeadWeights:
    """The arrays of a head for so many labels, of a model folder. Raises CheckpointError."""
    tensors = list(head.tensors(config.encoder, num_labels))
    read = _Checkpoint(folder, config, tensors).read
    return ClassificationHeadWeights(**{tensor.field: read(tensor.name) for tensor in tensors})


def weights_like(config: ModelConfig, stored_as: StoredAs) -> Weights:
    """Arrays of the shapes that a model of this configuration has; they take no memory and hold zeros."""
    return _weights(config, lambda tensor: np.broadcast_to(np.float32(0), tensor.shape), stored_as)


def stored_weights(folder: Path, config: ModelConfig) -> Weights:
    """As ``load_weights``, but each array is read whenever it is asked for, and kept by nobody here.

    So the weights of a large model can be packed one array at a time. Of safetensors the header is read here,
    for the types of what is large. All else waits for the first array, which nobody asks for where
    packed weights are mapped: what can be wrong with the file as a whole, its tensors' names and their
    shapes is found then; damaged values are when they are read.
    """
    checkpoint = functools.cache(lambda: _Checkpoint(folder, config))

    def read(name: str) -> Float32:
        return checkpoint().read(name)

    arrays: dict[int | None, dict[str, Tensor]] = {
        layer: {} for layer in range(config.spec.num_hidden_layers)
    }
    arrays[None] = {}
    for tensor in config.architecture.tensors(config.encoder):
        arrays[tensor.layer][tensor.field] = tensor
    own = arrays.pop(None)
    layers = tuple(cast(LayerWeights, _Stored(layer, read)) for layer in arrays.values())
    return cast(Weights, _Stored(own, read, layers, _stored_as(folder, config)))


def _stored_as(folder: Path, config: ModelConfig) -> StoredAs:
    """As ``Weights`` has it: float32 where a file does not say it at its beginning, as safetensors do."""
    path, architecture = _find_readable(folder / config.transformer), config.architecture
    if path.name not in (SAFETENSORS, INDEX):
        return FLOAT32
    large = {}  # the names of tensors: which field of StoredAs they belong to
    for tensor in architecture.tensors(config.encoder):
        if tensor.layer is not None and len(tensor.shape) == 2:
            large[tensor.name] = "layers"
        elif tensor.field == "word_embeddings":
            large[tensor.name] = "word_embeddings"
    dtypes: dict[str, set[StoredDtype]] = {}
    for stored in _stored_tensors(path):
        name = architecture.canonical_name(stored.name)
        if field := large.get(architecture.tied.get(name, name)):
            dtypes.setdefault(field, set()).add(stored.dtype)
    return StoredAs(**{field: found.pop() for field, found in dtypes.items() if len(found) == 1})


class _Stored:
    """Stands for a LayerWeights, or for a Weights, and reads the attribute that it is asked for."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        read: Callable[[str], Float32],
        layers: tuple[LayerWeights, ...] = (),
        stored_as: StoredAs = FLOAT32,
    ) -> None:
        self._tensors, self._read = tensors, read
        self.layers, self.stored_as = layers, stored_as

    def __getattr__(self, name: str) -> Float32:
        if name not in self._tensors:
            if name.startswith("_"):  # what Python asks of any object
                raise AttributeError(name)
            return ABSENT
        tensor = self._tensors[name]
        return _read_only(tensor.take(self._read(tensor.name)))


def _weights(
    config: ModelConfig, array: Callable[[Tensor], Float32], stored_as: StoredAs = FLOAT32
) -> Weights:
    fields: dict[int | None, dict[str, Float32]] = {}
    for tensor in config.architecture.tensors(config.encoder):
        fields.setdefault(tensor.layer, {})[tensor.field] = _read_only(array(tensor))
    own = fields.pop(None)
    layers = tuple(LayerWeights(**layer) for layer in fields.values())
    return Weights(**own, layers=layers, stored_as=stored_as)


def _read_only(array: Float32) -> Float32:
    array.flags.writeable = False
    return array


def count_parameters(config: ModelConfig) -> int:
    """How many numbers a model's arrays hold in all."""
    counted = config.architecture.counted(config.encoder)
    dense = [module for module in config.head if isinstance(module, DenseConfig)]
    return sum(count * math.prod(tensor.shape) for tensor, count in counted) + sum(
        module.out_features * (module.in_features + module.bias) for module in dense
    )


def find_weights(folder: Path) -> Path | None:
    """The file with the weights of the encoder in ``folder``, or None.

    transformers takes safetensors, else a state dict, and never an ONNX export: what lies beside either may
    be another model's, such as the one that was fine-tuned.
    """
    names = (SAFETENSORS, INDEX, STATE_DICT, STATE_DICT_INDEX, *ONNX)
    return next((folder / name for name in names if (folder / name).exists()), None)


def weight_files(folder: Path) -> list[Path]:
    """All files with the weights of the encoder in ``folder``. Raises CheckpointError where there is none."""
    path = _find_readable(folder)
    listed = path.name in (INDEX, STATE_DICT_INDEX)
    files = [folder / shard for shard in shards_of(path)] if listed else [path]
    for file in files:
        check_file(file, CheckpointError)
    return files


def _find_readable(folder: Path) -> Path:
    """The weight file of the encoder in ``folder``, of a kind that is read. Raises CheckpointError."""
    path = find_weights(folder)
    if path is None:
        raise CheckpointError(
            f"no weights ({SAFETENSORS}, {STATE_DICT} or {ONNX[0]}) in {folder}: download them"
        )
    check_file(path, CheckpointError)
    return path


def _stored_tensors(path: Path) -> Iterator[StoredTensor]:
    if path.name in (STATE_DICT, STATE_DICT_INDEX):
        from minigte.loading.state_dict_files import read_state_dict  # 5 ms that safetensors are spared

        if path.name == STATE_DICT_INDEX:
            return read_shards(path, read_state_dict)
        return read_state_dict(path, None)
    if path.suffix == ".onnx":
        from minigte.loading.onnx_files import read_onnx

        return read_onnx(path)
    if path.name == INDEX:
        return read_shards(path, read_safetensors)
    return read_safetensors(path, None)


class _Checkpoint:
    """A model's weight file, whose tensors are known by name and shape to be the model's.

    A tensor is read when it is asked for: what does not belong to the model costs no memory, however large it
    is.
    """

    def __init__(self, folder: Path, config: ModelConfig, head: Sequence[Tensor] = ()) -> None:
        """Look for the file in a model folder; the model may have a ``head``. Raises CheckpointError."""
        tensors = config.architecture.tensors(config.encoder)
        self._shapes = {tensor.name: tensor.stored_shape for tensor in itertools.chain(tensors, head)}
        self._path = _find_readable(folder / config.transformer)
        self._tensors = _find_tensors(
            self._path,
            self._shapes,
            config.architecture,
            config.spec.num_hidden_layers,
            {tensor.name for tensor in head},
        )

    def read(self, name: str) -> Float32:
        """One of the model's tensors, in float32. Raises CheckpointError."""
        return read_tensor(self._path, StoredTensor(name, self._shapes[name], self._tensors[name]))


def _find_tensors(
    path: Path,
    expected: Mapping[str, tuple[int, ...]],
    architecture: Architecture,
    num_hidden_layers: int,
    head: Collection[str],
) -> dict[str, Callable[[], Any]]:
    """What reads each of the tensors ``expected`` of a file, those of a ``head`` among them.

    What is neither the encoder's nor the head's is passed over.
    """
    own = tuple({name.partition(".")[0] + "." for name in expected})  # where an encoder's tensors are
    tensors: dict[str, Callable[[], Any]] = {}
    unknown: dict[str, tuple[int, ...]] = {}  # in the encoder
    others: list[str] = []
    spare: set[str] = set()  # those that were found under another name of theirs
    for stored in _stored_tensors(path):
        name = architecture.canonical_name(stored.name)
        if name in architecture.tied:
            name = architecture.tied[name]
            if name in tensors:
                continue
            spare.add(name)
        elif name in spare:
            spare.remove(name)
            del tensors[name]
        if name in tensors or name in unknown:
            raise CheckpointError(f"{path} has two tensors {name}: download it again")
        if name not in expected:
            if name.startswith(architecture.unused) or _layer(name, architecture) >= num_hidden_layers:
                continue
            if name.startswith(own):
                unknown[name] = stored.shape
            else:
                others.append(name)
            continue
        if stored.shape != expected[name]:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {stored.shape}, config.json says {expected[name]}"
            )
        tensors[name] = stored.read
    for name, shape in expected.items():
        if name not in tensors:
            beside = f"; it has others, the first {others[0]}" if others else ""
            if name in head:
                beside += "; an embedding model has no head that scores: use Embedder, or minigte search"
            raise CheckpointError(f"{path} has no tensor {name} (expected shape {shape}){beside}")
    if unknown:
        name, shape = next(iter(unknown.items()))
        raise CheckpointError(
            f"{path} has {len(unknown)} tensors of the encoder that config.json does not account for, "
            f"the first {name} of shape {shape}: take both files of one model"
        )
    return tensors


def _layer(name: str, architecture: Architecture) -> int:
    """The number of the layer that a tensor belongs to, -1 if to none."""
    prefix, _, suffix = architecture.layer.partition("{}")
    number = name.removeprefix(prefix).partition(suffix)[0]
    return int(number) if name.startswith(prefix) and number.isdecimal() and len(number) < 10 else -1
