"""A model folder's weight files, read into named float32 arrays and checked against the architecture.

Read: ``model.safetensors``, shards listed in ``model.safetensors.index.json``, or an ONNX export.
Values may be float32, float16 or bfloat16; names may carry the prefix ``bert.``. Pickles
(``pytorch_model.bin``) can run code when they are opened, so they are never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from minigte.arrays import Float32
from minigte.errors import CheckpointError
from minigte.loading.config import ModelConfig
from minigte.loading.safetensors_files import read_safetensors, read_shards
from minigte.loading.stored_tensors import StoredTensor, check_regular
from minigte.models import ARCHITECTURES, bert
from minigte.models.bert import canonical_name
from minigte.runtime.pages import zeros

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ONNX = ("model.onnx", "onnx/model.onnx")


def load_weights(folder: Path, config: ModelConfig) -> bert.Weights:
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
    check_regular(path)
    stored: Iterator[StoredTensor]
    if path.name == INDEX:
        stored = read_shards(path)
    elif path.suffix == ".onnx":
        from minigte.loading.onnx_files import read_onnx

        stored = read_onnx(path)
    else:
        stored = read_safetensors(path, None)
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
        tensors[name] = zeros(shape, np.float32)
        tensors[name][...] = read()
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
