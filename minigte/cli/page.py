"""``minigte page``: a model as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minigte.cli import options
from minigte.loading.sources import DEFAULT_MODEL

if TYPE_CHECKING:
    from minigte.page.site import Dtype


@click.command(
    short_help="Make a web page in which a model computes.",
    epilog=options.examples(
        "minigte page thenlper/gte-small -o gte-small-page",
        "minigte page ./gte-small --dtype float32 -o gte-small.html",
    ),
)
@click.argument("model", default=DEFAULT_MODEL)
@options.one_file(
    "--output", "-o", "output", help="A folder to write to, or a file that ends in .html.  [required]"
)
@click.option(
    "--dtype",
    type=click.Choice(("int8", "float32")),
    default="int8",
    show_default=True,
    help="The numbers the model computes in; float32 makes larger files.",
)
@options.origin
def page(
    model: str,
    output: str | None,
    dtype: Dtype,
    revision: str | None,
    cache_folder: str | None,
) -> None:
    """Make a web page in which MODEL computes, in the browser of whoever opens it.

    MODEL is thenlper/gte-small by default. Put a folder on any web server; other pages can import its
    minigte.js. A single file that ends in .html also opens from a disk, without a network. No server has to
    compute.
    """
    from minigte.cli.outputs import open_output
    from minigte.loading.sources import find_model
    from minigte.page.site import one_file, site, write_folder

    if output is None:
        raise click.UsageError("give --output FOLDER, or --output FILE.html")
    path = Path(output)
    made = site(find_model(model, revision=revision, cache_folder=cache_folder), dtype)
    if path.suffix.lower() in (".html", ".htm"):
        with open_output(path) as out:
            out.writelines(one_file(made))
    else:
        write_folder(made, path)
        path = path / "index.html"
    click.echo(path)
