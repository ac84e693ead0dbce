"""``minigte rerank``: the texts of a file, ordered by how well a cross-encoder finds they answer a query."""

from __future__ import annotations

import heapq
import itertools
import json
import warnings
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options
from minigte.errors import InputError

if TYPE_CHECKING:
    from minigte.cli.records import Record

DEFAULT_MODEL = "cross-encoder/ms-marco-MiniLM-L6-v2"
CHUNK_TEXTS = 1024  # read and scored at a time


@click.command(
    short_help="Order the texts of a file by how well they answer a query.",
    epilog=options.examples(
        "minigte rerank 'opening hours' faq.txt",
        "minigte rerank --top-k 3 --json 'side effects of statins' found.jsonl",
        "minigte search --top-k 100 'what to buy' notes.txt | cut -f3 | minigte rerank 'what to buy' -",
    ),
)
@click.argument("query")
@click.argument("file")
@click.option("--top-k", "-k", type=click.IntRange(min=1), help="How many texts to print; by default all.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, with id, score and text."
)
@click.option(
    "--model",
    "model_name_or_path",
    default=DEFAULT_MODEL,
    envvar="MINIGTE_RERANKER",
    show_default=True,
    show_envvar=True,
    help="The folder or the name of a cross-encoder.",
)
@options.origin
@click.option("--offline", "local_files_only", is_flag=True, help="Do not use the network.")
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Cut pairs to this many tokens, at most what the model reads.",
)
@options.reading
@options.computing
def rerank(
    query: str,
    file: str,
    top_k: int | None,
    as_json: bool,
    input_format: str | None,
    column: str | None,
    id_column: str | None,
    **model_options: Any,
) -> None:
    """Order the texts of FILE (- is stdin) by how well they answer QUERY, and print score, id and text.

    A cross-encoder reads the query together with each text, which is slower than comparing vectors but
    judges better. Texts without ids are numbered from 0, as in minigte embed.
    """
    from minigte.cli.encoding import Part
    from minigte.cli.ids import as_text
    from minigte.cli.inputs import open_records
    from minigte.cli.records import Columns
    from minigte.runtime.progress import Progress
    from minigte.tokenizing.tokenizer import cut_warning

    with open_records([file], input_format, Columns(column, id_column)) as records:
        model = options.load_cross_encoder(**model_options)
        if model.num_labels != 1:
            labels = ", ".join(model.config.labels)
            raise InputError(
                f"{model.source.name} gives a pair {model.num_labels} scores ({labels}), and texts are "
                "ordered by one: choose another model with --model, or get all scores from /predict of "
                "minigte serve"
            )
        best: list[tuple[float, Record]] = []
        with Progress(None, iter(()), 0) as progress:  # one bar, and below one warning, for all chunks
            while chunk := list(itertools.islice(records, CHUNK_TEXTS)):
                part: Any = Part(progress)
                texts = [record.text for record in chunk]
                hits = model.rank(query, texts, top_k, show_progress_bar=part, truncation="ignore")
                progress.read(len(chunk), part.cut)
                best += [(hit["score"], chunk[hit["corpus_id"]]) for hit in hits]
                if top_k is not None:
                    best = heapq.nlargest(top_k, best, key=lambda match: match[0])
    if progress.cut:
        warnings.warn(cut_warning(progress.cut, progress.texts, model.max_seq_length, "pairs"), stacklevel=2)
    best.sort(key=lambda match: match[0], reverse=True)
    for score, record in best:
        if as_json:
            click.echo(json.dumps({"id": record.id, "score": score, "text": record.text}, ensure_ascii=False))
        else:
            click.echo(f"{score:.4f}\t{as_text(record.id)}\t{' '.join(record.text.split())}")
