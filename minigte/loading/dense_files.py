"""The folder of a Dense module: its settings and its arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minigte.arrays import Float32
from minigte.errors import CheckpointError, ConfigError
from minigte.loading.keys import check_keys
from minigte.loading.safetensors_files import read_safetensors
from minigte.loading.stored_tensors import read_tensor
from minigte.runtime.reading import check_file, read_object
from minigte.vectors.head import ACTIVATION_FUNCTIONS, Dense, DenseConfig, Head, Normalize

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there counts
TORCH = "torch.nn."  # sentence-transformers runs no other code without being told to


def read_dense(folder: Path, path: str, width: int) -> DenseConfig:
    """Read the ``config.json`` of the Dense module in ``folder`` / ``path``, which gets vectors of ``width``.

    Raises ConfigError for what is missing, and for what minigte does not implement.
    """
    where = folder / path / "config.json"
    settings = read_object(where, ConfigError)
    if not where.exists():
        raise ConfigError(
            f"no config.json in {where.parent}, where modules.json has Dense: download the complete folder"
        )
    check_keys(where, "Dense", settings)
    for key in ("in_features", "out_features"):
        if type(settings.get(key)) is not int or settings[key] < 1:
            raise ConfigError(f"{where}: {key} must be a positive integer, not {settings.get(key)!r}")
    if settings["in_features"] != width:
        raise ConfigError(
            f"{where}: in_features is {settings['in_features']}, but the module before it gives {width} "
            "components"
        )
    bias = settings.get("bias", True)
    if not isinstance(bias, bool):
        raise ConfigError(f"{where}: bias must be true or false, not {bias!r}")
    named = settings.get("activation_function", TORCH + "Tanh")
    name = str(named).rpartition(".")[2]
    if not isinstance(named, str) or not named.startswith(TORCH) or name not in ACTIVATION_FUNCTIONS:
        raise ConfigError(
            f"{where}: minigte does not implement activation_function {named!r} (known, of {TORCH[:-1]}: "
            f"{', '.join(ACTIVATION_FUNCTIONS)})"
        )
    return DenseConfig(path, width, settings["out_features"], bias, name)


def load_head(folder: Path, modules: Iterable[DenseConfig | Normalize]) -> Head:
    """The modules behind pooling, with their arrays. Raises CheckpointError."""
    return tuple(load_dense(folder, m) if isinstance(m, DenseConfig) else m for m in modules)


def load_dense(folder: Path, config: DenseConfig) -> Dense:
    """Read the arrays of a Dense module as read-only float32. Raises CheckpointError."""
    own = folder / config.path
    path = next((own / name for name in WEIGHTS if (own / name).exists()), None)
    if path is None:
        raise CheckpointError(f"no {' or '.join(WEIGHTS)} in {own}, where modules.json has Dense")
    check_file(path, CheckpointError)
    if path.suffix == ".safetensors":
        tensors = read_safetensors(path, None)
    else:
        from minigte.loading.state_dict_files import read_state_dict  # 5 ms that safetensors are spared

        tensors = read_state_dict(path, None)
    expected: dict[str, tuple[int, ...]] = {"linear.weight": (config.out_features, config.in_features)}
    if config.bias:
        expected["linear.bias"] = (config.out_features,)
    arrays: dict[str, Float32] = {}
    for stored in tensors:
        name, shape = stored.name, stored.shape
        if name not in expected:
            raise CheckpointError(
                f"{path} has a tensor {name}, which a Dense as its config.json describes it does not have"
            )
        if shape != expected[name]:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {shape}, config.json says {expected[name]}"
            )
        arrays[name] = read_tensor(path, stored)
    for name, shape in expected.items():
        if name not in arrays:
            raise CheckpointError(f"{path} has no tensor {name} (expected shape {shape})")
    no_bias = np.zeros(config.out_features, np.float32)
    return Dense(config, arrays["linear.weight"], arrays.get("linear.bias", no_bias))
