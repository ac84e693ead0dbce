"""``minigte similarity``: how similar every two of some texts are."""

from __future__ import annotations

from typing import Any

import click

from minigte.cli import options


@click.command(
    cls=options.TextsCommand,
    short_help="Print how similar texts are to each other.",
    epilog=options.examples(
        "minigte similarity 'what is the capital of China?' 'Beijing' 'sorting algorithms'",
        "minigte similarity --prompt 'query: ' 'a cat' 'a dog'",
    ),
)
@click.argument("texts", nargs=-1, required=True)
@options.prompts("each text")
@options.model
def similarity(
    texts: tuple[str, ...], prompt: str | None, prompt_name: str | None, **model_options: Any
) -> None:
    """Print a table of how similar TEXTS are to each other.

    If all TEXTS are names of files, minigte stops, because you may mean what the files hold. Put -- before
    them to compare the names.
    """
    options.refuse_two_prompts(prompt, prompt_name)
    embedder = options.load(**model_options)
    vectors = embedder.encode(list(texts), prompt=prompt, prompt_name=prompt_name)
    scores = embedder.similarity(vectors, vectors)
    labels = [" ".join(text.split()) for text in texts]  # on one line each
    width = min(48, max(map(len, labels)))
    number = len(str(len(texts)))
    click.echo(" " * (number + width + 2) + "".join(f"{i:>9}" for i in range(1, len(texts) + 1)))
    for i, (text, row) in enumerate(zip(labels, scores, strict=True), 1):
        label = text if len(text) <= width else text[: width - 1] + "…"
        click.echo(f"{i:>{number}} {label:<{width}} " + "".join(f"{score:9.4f}" for score in row))
