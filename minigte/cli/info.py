"""``minigte info``: what is here, and what a model is."""

from __future__ import annotations

import json
from typing import Any

import click

from minigte.cli import options

PACKAGES = ("numpy", "numba", "tokenizers", "safetensors", "huggingface-hub", "onnx", "pyarrow")


@click.command(
    short_help="Show versions, the model, the backend and the caches.",
    epilog=options.examples("minigte info", "minigte info --model ./my-model --json"),
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.model
def info(as_json: bool, **model_options: Any) -> None:
    """Show versions, the model and where it came from, the backend and the caches.

    Downloads nothing: a model that is not on this machine is an error.
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
    from minigte.loading.hashes import sha256_of
    from minigte.loading.weights import find_weights

    embedder = options.load(**{**model_options, "local_files_only": True})
    weights = find_weights(embedder.source.folder / embedder.config.transformer)
    config = embedder.config
    return {
        "model": embedder.source.name,
        "origin": embedder.source.origin,
        "revision": embedder.source.revision or "none",
        "folder": str(embedder.source.folder),
        "weights": f"{weights.name}, sha256 {sha256_of(weights)}" if weights else "none",
        "parameters": embedder.num_parameters,
        "architecture": config.model_type,
        "embedding_dimension": embedder.embedding_dimension,
        "max_seq_length": embedder.max_seq_length,
        "pooling": " + ".join(config.pooling_modes),
        "normalize": config.normalize,
        "similarity": config.similarity_fn_name,
        "prompts": dict(embedder.prompts),
        "assumed": list(config.assumed),
        "dtype": embedder.backend.dtype,
        "backend": embedder.backend_name,
        "packed weights": embedder.backend.weights_are,
        "instructions": embedder.backend.instructions,
        "threads": embedder.backend.threads or "as NumPy's BLAS decides",
    }
