"""``minigte download``: a model on this machine."""

from __future__ import annotations

import click

from minigte.cli import options
from minigte.loading.sources import DEFAULT_MODEL


@click.command(
    short_help="Download a model if it is not here yet; print its folder.",
    epilog=options.examples("minigte download", "minigte download thenlper/gte-small"),
)
@click.argument("model", default=DEFAULT_MODEL)
@options.origin
def download(model: str, revision: str | None, cache_folder: str | None) -> None:
    """Download MODEL if it is not on this machine yet, and print its folder.

    MODEL is thenlper/gte-small by default. To take the folder elsewhere, copy it with cp -rL: the cache may
    hold only links to its files.
    """
    from minigte.loading.sources import find_model

    click.echo(find_model(model, revision=revision, cache_folder=cache_folder).folder)
