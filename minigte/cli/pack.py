"""``minigte pack``: a model's weights as the kernels read them, in a file."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from minigte.backend import DTYPES
from minigte.cli import options
from minigte.errors import InputError
from minigte.loading.sources import DEFAULT_MODEL


@click.command(
    short_help="Write a model's weights to a file that processes share.",
    epilog=options.examples(
        "minigte pack ./gte-small --dtype int8 --output ./gte-small/int8.packed",
        "MINIGTE_CPU=avx2 minigte pack ./gte-small --output ./gte-small/avx2.packed",
    ),
)
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="The numbers the model computes in.",
)
@options.one_file("--output", help="Where to write; minigte looks in the model's folder.  [required]")
@options.origin
def pack(model: str, dtype: str, output: str | None, revision: str | None, cache_folder: str | None) -> None:
    """Write the weights of MODEL, packed for this processor, to a file that all processes share.

    MODEL is thenlper/gte-small by default; it can be a cross-encoder too. Put the file into the model's
    folder, under a name that ends in .packed. There can be any number of them: a process that loads the model
    maps the one that fits the dtype, the processor and this version of minigte. Where none fits, minigte
    keeps a file of its own in the cache folder.
    """
    from minigte.backend import choose_backend, pack_weights
    from minigte.loading.config import is_cross_encoder, read_config
    from minigte.loading.cross_encoder_config import read_cross_encoder_config
    from minigte.loading.packed_folders import SUFFIX, PackedFolders
    from minigte.loading.sources import find_model, model_directory
    from minigte.loading.weights import stored_weights

    backend = choose_backend("auto", dtype)
    if backend == "numpy":
        raise InputError("the numpy backend uses the weights as they are: there is nothing to pack")
    if output is None:
        raise click.UsageError("give --output FILE")
    path = Path(output)
    if path.suffix != SUFFIX:
        raise InputError(f"--output {output} would never be found: its name must end in {SUFFIX}")
    folder = find_model(model, revision=revision, cache_folder=cache_folder).folder
    config = read_cross_encoder_config(folder).model if is_cross_encoder(folder) else read_config(folder)
    weights = stored_weights(folder, config)
    folders = PackedFolders(folder, config, model_directory(cache_folder))
    pack_weights(backend, config, weights, dtype, folders, path)
    if path.resolve().parent != folder.resolve():
        warnings.warn(
            f"{path} will be found once it is in {folder}, or in a copy of that folder", stacklevel=2
        )
    click.echo(path)
