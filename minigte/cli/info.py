"""``minigte info``: what is here, and what a model is."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options
from minigte.errors import InputError

if TYPE_CHECKING:
    from minigte.cross_encoder import CrossEncoder
    from minigte.embedder import Embedder

PACKAGES = ("numpy", "numba", "tokenizers", "safetensors", "huggingface-hub", "onnx", "pyarrow")


@click.command(
    short_help="Show versions, the model, the backend and the caches.",
    epilog=options.examples("minigte info", "minigte info --model ./my-model --json"),
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.model
def info(as_json: bool, **model_options: Any) -> None:
    """Show versions, the model and where it came from, the backend and the caches.

    The model can be an embedding model or a cross-encoder. Nothing is downloaded: a model that is not on
    this machine is an error.
    """
    facts = _of_this_machine(model_options["cache_folder"]) | _of_model(model_options)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, list):
            value = ", ".join(value) or "nothing"
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={prompt!r}" for key, prompt in value.items()) or "none"
        click.echo(f"{name + ':':<21}{value}")


def _of_this_machine(cache_folder: str | None) -> dict[str, object]:
    import platform
    from importlib import metadata

    import minigte.version
    from minigte.backend import jit_missing, offers
    from minigte.loading.packed_folders import packed_cache
    from minigte.loading.sources import model_directory

    facts: dict[str, object] = {
        "minigte": minigte.version.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts |= {f"kernels, {backend}": found for backend, found in offers().items()}
    if jit_missing() is None:
        from minigte.backend import kernel_directory

        facts["kernel cache"] = str(kernel_directory() or "none (no safe and writable directory)")
    cache = model_directory(cache_folder)
    facts["model cache"] = str(cache or "none (no home directory)")
    if cache is not None:
        size = sum(path.stat().st_size for path in packed_cache(cache).glob("*"))
        facts["packed cache"] = f"{packed_cache(cache)}, {size / 1e6:.0f} MB"
    return facts


def _of_model(model_options: dict[str, Any]) -> dict[str, object]:
    from minigte.loading.config import is_cross_encoder
    from minigte.loading.hashes import sha256_of
    from minigte.loading.sources import find_model
    from minigte.loading.weights import find_weights

    model_options = {**model_options, "local_files_only": True}
    finding = {key: model_options[key] for key in ("revision", "cache_folder", "local_files_only")}
    source = find_model(model_options["model_name_or_path"], **finding)
    model: Embedder | CrossEncoder
    if is_cross_encoder(source.folder):
        model = _cross_encoder(source.name, **model_options)
        kind, config, own = "cross-encoder", model.config.model, _of_cross_encoder(model)
    else:
        model = options.load(**model_options)
        kind, config, own = "embedding model", model.config, _of_embedder(model)
    weights = find_weights(source.folder / config.transformer)
    return {
        "model": source.name,
        "kind": kind,
        "origin": source.origin,
        "revision": source.revision or "none",
        "folder": str(source.folder),
        "weights": f"{weights.name}, sha256 {sha256_of(weights)}" if weights else "none",
        "architecture": config.model_type,
        **own,
        "dtype": model.backend.dtype,
        "backend": model.backend_name,
        "packed weights": model.backend.weights_are,
        "instructions": model.backend.instructions,
        "threads": model.backend.threads or "as NumPy's BLAS decides",
    }


def _of_embedder(embedder: Embedder) -> dict[str, object]:
    config = embedder.config
    return {
        "parameters": embedder.num_parameters,
        "embedding_dimension": embedder.embedding_dimension,
        "max_seq_length": embedder.max_seq_length,
        "pooling": " + ".join(config.pooling_modes),
        "normalize": config.normalize,
        "similarity": config.similarity_fn_name,
        "prompts": dict(embedder.prompts),
        "assumed": list(config.assumed),
    }


def _cross_encoder(
    name: str, *, max_seq_length: int | None, truncate_dim: int | None, **model_options: Any
) -> CrossEncoder:
    """The model that the options for any model ask for."""
    if truncate_dim is not None:
        raise InputError(f"--truncate-dim is about vectors, and {name} is a cross-encoder: omit it")
    return options.load_cross_encoder(max_length=max_seq_length, **model_options)


def _of_cross_encoder(model: CrossEncoder) -> dict[str, object]:
    from minigte.loading.weights import count_parameters

    config = model.config
    head = config.classification_head.tensors(config.model.encoder, config.num_labels)
    return {
        "parameters": count_parameters(config.model) + sum(math.prod(tensor.shape) for tensor in head),
        "labels": list(config.labels),
        "activation_fn": config.activation_fn,
        "max_seq_length": model.max_seq_length,
    }
