"""``minigte explain``: how the model makes a vector, or a similarity, of a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from minigte.cli import options
from minigte.errors import InputError

FORMS = ("html", "json", "png")


@click.command(
    cls=options.TextsCommand,
    short_help="Show how a text becomes a vector, or two texts a similarity.",
    epilog=options.examples(
        "minigte explain 'what is the capital of China?'",
        "minigte explain 'what is the capital of China?' 'Beijing' -o capital.html",
        "minigte explain --layer 3 --head 7 --png 'the cat sat on the mat'",
        "minigte explain 'hello world' --json -o - | head -c 300",
    ),
)
@click.argument("texts", nargs=-1, required=True)
@options.one_file(
    "--output",
    "-o",
    "output_path",
    help="Where to write; - is stdout. The default is minigte-explain.html (.json, .png) in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Write all numbers as one JSON object.")
@click.option("--png", "as_png", is_flag=True, help="Draw one head, or the token pairs of two texts.")
@click.option(
    "--layer", type=click.IntRange(min=0), default=0, show_default=True, help="The layer to show first."
)
@click.option(
    "--head", type=click.IntRange(min=0), default=0, show_default=True, help="The head to show first."
)
@options.prompts("each text")
@options.source
def explain(
    texts: tuple[str, ...],
    output_path: str | None,
    as_json: bool,
    as_png: bool,
    layer: int,
    head: int,
    prompt: str | None,
    prompt_name: str | None,
    **model_options: Any,
) -> None:
    """Show every number between a text and its vector, or two texts and their similarity.

    Writes one HTML page that needs no network, and prints its path. --json and --png, or the suffix of
    the output, choose another form.

    If all TEXTS are names of files, minigte stops. Put -- before them to explain the names.
    """
    from minigte.cli.outputs import open_output, path_of

    if len(texts) > 2:
        raise click.UsageError("give one text, or two to compare")
    options.refuse_two_prompts(prompt, prompt_name)
    if as_json and as_png:
        raise click.UsageError("give --json or --png, not both")
    suffix = Path(output_path or "").suffix[1:].lower()
    asked = "json" if as_json else "png" if as_png else None
    form = asked or {"": "html", "htm": "html"}.get(suffix, suffix)
    if form not in FORMS:
        raise InputError(f"cannot tell the format of {output_path!r}: name it .html, .json or .png")
    path = path_of(output_path or f"minigte-explain.{form}")
    if path is None and form == "png" and sys.stdout.isatty():
        raise click.UsageError("a PNG cannot be shown on a terminal: name a file with --output")
    embedder = options.load(**model_options, backend="numpy")  # what explains is the reference
    encoder = embedder.config.encoder
    for name, value, count in (
        ("layer", layer, encoder.num_hidden_layers),
        ("head", head, encoder.num_attention_heads),
    ):
        if value >= count:
            raise InputError(f"--{name} must be from 0 to {count - 1}, not {value}")
    traces = [embedder.explain(text, prompt=prompt, prompt_name=prompt_name) for text in texts]
    explained = embedder.explain_similarity(*traces) if len(traces) == 2 else traces[0]
    with open_output(path) as out:
        if form == "png":
            from minigte.explain.files import write_png

            write_png(explained, out, layer=layer, head=head)
        elif form == "json":
            from minigte.explain.files import json_parts

            out.writelines(part.encode() for part in json_parts(explained))
            out.write(b"\n")
        else:
            from minigte.explain.page import page

            out.write(page(explained, layer=layer, head=head).encode())
    if path is not None:
        click.echo(path)
