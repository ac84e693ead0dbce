"""``minigte warmup``: compiled kernels on this machine."""

from __future__ import annotations

import click

from minigte.backend import DTYPES
from minigte.cli import options
from minigte.errors import MissingDependencyError, OutputError


@click.command(
    short_help="Compile the kernels now, so that no process has to wait.",
    epilog=options.examples("minigte warmup", "minigte warmup int8"),
)
@click.argument("dtypes", nargs=-1, type=click.Choice(DTYPES))
def warmup(dtypes: tuple[str, ...]) -> None:
    """Compile the kernels of DTYPES (by default all), keep them on disk, and print where.

    Run it while you build an image, so that no process has to compile later. Only --backend jit needs it:
    an installed minigte brings its kernels compiled.
    """
    from minigte.backend import jit_missing, kernel_directory, kernels

    missing = jit_missing()
    if missing is not None:
        raise MissingDependencyError(f"warmup compiles kernels for --backend jit, but {missing}")

    for dtype in dtypes or DTYPES:
        kernels("jit").prepare(dtype)
    directory = kernel_directory()
    if directory is None:
        raise OutputError("found no safe, writable directory to keep kernels in")
    click.echo(directory)
