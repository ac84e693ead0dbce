"""A model folder's weight files, read into named float32 arrays and checked against the architecture.

Read: ``model.safetensors``, shards listed in ``model.safetensors.index.json``, or an ONNX export where
there is nothing else. Values may be float64, float32, float16 or bfloat16.
Pickles (``pytorch_model.bin``) can run code when they are opened, so they are never read.

As in transformers, what stands beside the encoder (the heads of other tasks, layers beyond
``num_hidden_layers``) is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from minigte.arrays import Float32
from minigte.errors import CheckpointError
from minigte.loading.config import ModelConfig
from minigte.loading.safetensors_files import read_safetensors, read_shards
from minigte.loading.stored_tensors import StoredTensor
from minigte.models.architecture import Architecture
from minigte.models.weights import LayerWeights, Weights
from minigte.runtime.memory import zeros
from minigte.runtime.reading import check_file

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ONNX = ("model.onnx", "onnx/model.onnx")


def load_weights(folder: Path, config: ModelConfig) -> Weights:
    """Read the weights of a model folder as read-only float32 arrays.

    Raises CheckpointError where no file is found, a file is damaged, a tensor is missing, unknown, of
    another shape or not finite; the message names the file and the tensor.
    """
    tensors = list(config.architecture.tensors(config.encoder))
    stored = _read_tensors(
        folder / config.transformer,
        {tensor.name: tensor.stored_shape for tensor in tensors},
        config.architecture,
        config.spec.num_hidden_layers,
    )
    fields: dict[int | None, dict[str, Float32]] = {}
    for tensor in tensors:
        array = fields.setdefault(tensor.layer, {})[tensor.field] = tensor.take(stored[tensor.name])
        array.flags.writeable = False
    own = fields.pop(None)
    return Weights(**own, layers=tuple(LayerWeights(**layer) for layer in fields.values()))


def count_parameters(weights: Weights) -> int:
    """How many numbers a model's arrays hold in all."""
    own = sum(a.size for a in vars(weights).values() if isinstance(a, np.ndarray))
    return own + sum(array.size for layer in weights.layers for array in vars(layer).values())


def find_weights(folder: Path) -> Path | None:
    """The file with the weights of the encoder in ``folder``, or None.

    transformers takes safetensors, else a pickle, and never an ONNX export: what lies beside either may be
    another model's, such as the one that was fine-tuned.
    """
    names = (SAFETENSORS, INDEX, *PICKLES, *ONNX)
    return next((folder / name for name in names if (folder / name).exists()), None)


def _stored_tensors(folder: Path) -> tuple[Path, Iterator[StoredTensor]]:
    """The weight file of the encoder in ``folder``, and the tensors in it. Raises CheckpointError."""
    path = find_weights(folder)
    if path is None:
        raise CheckpointError(f"no weights ({SAFETENSORS}, {INDEX} or {ONNX[0]}) in {folder}")
    if path.name in PICKLES:  # not even looked into
        what = "is a pickle" if path.suffix == ".bin" else "lists pickles"
        export = next((name for name in ONNX if (folder / name).exists()), None)
        other = f"; if {export} beside it is the same model, move the pickle away" if export else ""
        raise CheckpointError(
            f"{path} {what}, which can run code when opened, and minigte does not read them: save the model "
            f"as "
            f"safetensors{other}"
        )
    check_file(path, CheckpointError)
    if path.name == INDEX:
        return path, read_shards(path)
    if path.suffix == ".onnx":
        from minigte.loading.onnx_files import read_onnx

        return path, read_onnx(path)
    return path, read_safetensors(path, None)


def _read_tensors(
    folder: Path, expected: Mapping[str, tuple[int, ...]], architecture: Architecture, num_hidden_layers: int
) -> dict[str, Float32]:
    """Find the weight file and read the tensors ``expected`` of it; what is not the encoder's is passed over.

    A tensor is read when its name and shape are known to be right: what does not belong to the model costs no
    memory, however large it is.
    """
    path, stored = _stored_tensors(folder)
    own = tuple({name.partition(".")[0] + "." for name in expected})  # where an encoder's tensors are
    tensors: dict[str, Float32] = {}
    unknown: dict[str, tuple[int, ...]] = {}  # in the encoder
    others: list[str] = []
    for stored_name, shape, read in stored:
        name = architecture.canonical_name(stored_name)
        if name in tensors or name in unknown:
            raise CheckpointError(f"{path} has two tensors {name}")
        if name not in expected:
            if name.startswith(architecture.unused) or _layer(name, architecture) >= num_hidden_layers:
                continue
            if name.startswith(own):
                unknown[name] = shape
            else:
                others.append(name)
            continue
        if shape != expected[name]:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {shape}, config.json says {expected[name]}"
            )
        tensors[name] = zeros(shape, np.float32)
        with np.errstate(over="ignore"):  # of float64; what is infinite then is refused
            tensors[name][...] = read()
        if not np.isfinite(tensors[name]).all():
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinity: get the file again")
        tensors[name].flags.writeable = False
    for name, shape in expected.items():
        if name not in tensors:
            beside = f"; it has others, the first {others[0]}" if others else ""
            raise CheckpointError(f"{path} has no tensor {name} (expected shape {shape}){beside}")
    if unknown:
        name, shape = next(iter(unknown.items()))
        raise CheckpointError(
            f"{path} has {len(unknown)} tensors in the encoder that the model of this config.json does not, "
            f"the first {name} of shape {shape}"
        )
    return tensors


def _layer(name: str, architecture: Architecture) -> int:
    """The number of the layer that a tensor belongs to, -1 if to none."""
    prefix, _, suffix = architecture.layer.partition("{}")
    number = name.removeprefix(prefix).partition(suffix)[0]
    return int(number) if name.startswith(prefix) and number.isdecimal() and len(number) < 10 else -1
