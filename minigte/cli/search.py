"""``minigte search``: the texts of a file that are most similar to a query."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options

if TYPE_CHECKING:
    from minigte.cli.records import Record


@click.command(
    short_help="Print the texts of a file that are most similar to a query.",
    epilog=options.examples(
        "minigte search 'opening hours' faq.txt",
        "minigte search --top-k 3 --column body 'side effects of statins' corpus.jsonl",
        "grep -v '^#' notes.txt | minigte search 'what to buy' -",
        "minigte search --prompt 'query: ' --document-prompt 'passage: ' 'opening hours' faq.txt",
    ),
)
@click.argument("query")
@click.argument("file")
@click.option(
    "--top-k", "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Matches shown."
)
@options.prompts("the query (by default the prompt named query)")
@click.option(
    "--document-prompt",
    help="Put this text in front of each text of FILE (by default the prompt named document).",
)
@options.progress
@options.reading
@options.model
def search(
    query: str,
    file: str,
    top_k: int,
    prompt: str | None,
    prompt_name: str | None,
    document_prompt: str | None,
    progress: bool | None,
    input_format: str | None,
    column: str | None,
    id_column: str | None,
    **model_options: Any,
) -> None:
    """Print the texts of FILE (- is stdin) most similar to QUERY: score, id, text.

    Texts without ids are called by their numbers, from 0, as minigte embed does.
    """
    import numpy as np

    from minigte.cli.encoding import encoded
    from minigte.cli.ids import as_text
    from minigte.cli.inputs import open_records
    from minigte.cli.records import Columns
    from minigte.vectors.search import semantic_search

    options.refuse_two_prompts(prompt, prompt_name)
    with open_records(file, input_format, Columns(column, id_column)) as records:
        embedder = options.load(**model_options)
        query_vector = np.atleast_2d(embedder.encode_query(query, prompt=prompt, prompt_name=prompt_name))
        best: list[tuple[float, Record]] = []
        for chunk, vectors in encoded(
            embedder,
            records,
            progress=progress,
            task="document",
            prompt=document_prompt,
            prompt_name="document" if document_prompt is None else None,
        ):
            [hits] = semantic_search(query_vector, vectors, top_k, embedder.config.similarity_fn_name)
            best += [(hit["score"], chunk[hit["corpus_id"]]) for hit in hits]
            best = heapq.nlargest(top_k, best, key=lambda match: match[0])
    for score, record in best:
        click.echo(f"{score:.4f}\t{as_text(record.id)}\t{' '.join(record.text.split())}")
