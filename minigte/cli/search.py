"""``minigte search``: the texts, or the stored vectors, of a file that are most similar to a query."""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options
from minigte.errors import InputError

if TYPE_CHECKING:
    from minigte.arrays import Float32
    from minigte.cli.records import Record
    from minigte.cli.stored import Stored
    from minigte.embedder import Embedder

Match = tuple[float, dict[str, Any]]  # a score, and what is known of what has it


@click.command(
    short_help="Print the texts of a file that are most similar to a query.",
    epilog=options.examples(
        "minigte search 'opening hours' faq.txt",
        "minigte search --top-k 3 --column body 'side effects of statins' corpus.jsonl",
        "grep -v '^#' notes.txt | minigte search 'what to buy' -",
        "minigte search --prompt 'query: ' --document-prompt 'passage: ' 'opening hours' faq.txt",
        "minigte search 'opening hours' notes.db",
        "minigte search --queries questions.txt --json vectors.parquet",
        "minigte search 'opening hours' codes.npy --rescore vectors.npy",
    ),
)
@click.argument("arguments", nargs=-1, metavar="[QUERY] FILE")
@options.one_file("--queries", "queries_path", help="A file of queries, instead of QUERY.")
@click.option(
    "--top-k",
    "-k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many matches to print per query.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per match and line.")
@options.one_file(
    "--rescore",
    "rescore_path",
    help="An .npy file of the same vectors in float32. FILE, of int8 or binary vectors, then chooses "
    "candidates, and the float32 vectors score them.",
)
@click.option("--table", default="embeddings", show_default=True, help="The database table to read.")
@options.prompts("the query (by default the prompt named query)")
@click.option(
    "--document-prompt",
    help="Put this text before each text of FILE (by default the prompt named document).",
)
@options.progress
@options.reading
@options.model
def search(
    arguments: tuple[str, ...],
    queries_path: str | None,
    top_k: int,
    as_json: bool,
    rescore_path: str | None,
    table: str,
    prompt: str | None,
    prompt_name: str | None,
    document_prompt: str | None,
    progress: bool | None,
    input_format: str | None,
    column: str | None,
    id_column: str | None,
    **model_options: Any,
) -> None:
    """Find the texts of FILE that are most similar to QUERY, and print score, id and text of each.

    FILE can be texts, which are embedded first (- is stdin; in a folder each .txt or .md file is one text).
    Or it can be vectors that minigte embed has stored, as .npy, as Parquet or in SQLite. Texts without ids
    are numbered from 0, as in minigte embed. With --queries, each line begins with the query's id.
    """
    import numpy as np

    from minigte.cli.inputs import open_records
    from minigte.cli.records import Columns, Record
    from minigte.cli.stored import open_stored

    options.refuse_two_prompts(prompt, prompt_name)
    if len(arguments) != (1 if queries_path else 2):
        raise click.UsageError("give QUERY and FILE, or --queries QUERIES and FILE")
    file = arguments[-1]
    stored = open_stored(file, table)
    if stored is None and rescore_path:
        raise click.UsageError(f"--rescore needs a FILE of vectors, which {file} is not")
    if stored is not None and document_prompt is not None:
        raise click.UsageError(
            f"{file} already holds vectors, so --document-prompt does nothing: use minigte embed --prompt"
        )
    if queries_path:
        with open_records([queries_path], None, Columns()) as found:
            queries = list(found)
    else:
        queries = [Record(0, arguments[0])]
    embedder = options.load(**model_options)
    texts = [query.text for query in queries]
    vectors = np.atleast_2d(embedder.encode_query(texts, prompt=prompt, prompt_name=prompt_name))  # (Q, D)
    if stored is not None:
        matches = _in_vectors(stored, file, embedder, vectors, top_k, rescore_path)
    else:
        with open_records([file], input_format, Columns(column, id_column)) as records:
            matches = _in_texts(records, embedder, vectors, top_k, progress, document_prompt)
    for query, best in zip(queries, matches, strict=True):
        for score, what in best:
            click.echo(_line(query.id if queries_path else None, score, what, as_json))


def _in_texts(
    records: Any,
    embedder: Embedder,
    queries: Float32,
    top_k: int,
    progress: bool | None,
    document_prompt: str | None,
) -> list[list[Match]]:
    """The best texts of each query, embedded one chunk after the other."""
    from minigte.cli.encoding import encoded
    from minigte.vectors.search import semantic_search

    best: list[list[tuple[float, Record]]] = [[] for _ in queries]
    for chunk, vectors in encoded(
        embedder,
        records,
        progress=progress,
        share=records.share,
        task="document",
        prompt=document_prompt,
        prompt_name="document" if document_prompt is None else None,
    ):
        hits = semantic_search(queries, vectors, top_k, embedder.config.similarity_fn_name)
        for query, found in enumerate(hits):
            matches = best[query] + [(hit["score"], chunk[hit["corpus_id"]]) for hit in found]
            best[query] = heapq.nlargest(top_k, matches, key=lambda match: match[0])
    return [[(score, {"id": record.id, "text": record.text}) for score, record in found] for found in best]


def _in_vectors(
    stored: Stored, file: str, embedder: Embedder, queries: Float32, top_k: int, rescore_path: str | None
) -> list[list[Match]]:
    """The best rows of each query among vectors that are stored."""
    import numpy as np

    from minigte.cli.stored import Npy, in_precision, open_stored
    from minigte.vectors.nearest import OVERSAMPLING, nearest, rescored

    similarity = embedder.config.similarity_fn_name
    dim = embedder.embedding_dimension
    precision, parts = in_precision(stored.parts(), dim, file)
    if rescore_path is None:
        hits = nearest(queries, parts, top_k, precision=precision, similarity_fn_name=similarity)
    else:
        vectors = open_stored(rescore_path, "")
        if not isinstance(vectors, Npy) or vectors.rows.dtype != np.float32 or vectors.rows.shape[1] != dim:
            raise InputError(
                f"--rescore {rescore_path} is not an .npy file of float32 vectors with {dim} components"
            )
        hits = nearest(queries, parts, OVERSAMPLING * top_k, precision=precision)
        last = max((hit["corpus_id"] for found in hits for hit in found), default=-1)
        if last >= len(vectors.rows):
            raise InputError(
                f"{file} has a row {last}, and {rescore_path} has {len(vectors.rows)} rows in all"
            )
        hits = rescored(queries, hits, vectors.rows, top_k, similarity)
    return [
        list(
            zip(
                [hit["score"] for hit in found],
                stored.describe([hit["corpus_id"] for hit in found]),
                strict=True,
            )
        )
        for found in hits
    ]


def _line(query_id: Any, score: float, what: dict[str, Any], as_json: bool) -> str:
    """One match, for a reader or as JSON; ``query_id`` is None where there is one query."""
    from minigte.cli.ids import as_json as id_as_json
    from minigte.cli.ids import as_text

    if as_json:
        query = {} if query_id is None else {"query": id_as_json(query_id, "a query")}
        rest = {name: id_as_json(value, "a match") for name, value in what.items()}
        return json.dumps({**query, "score": float(f"{score:.6g}"), **rest}, ensure_ascii=False)
    shown = [] if query_id is None else [as_text(query_id)]
    shown += [f"{score:.4f}", as_text(what["id"])]
    text = what.get("text")
    return "\t".join(shown + ([" ".join(str(text).split())] if text is not None else []))
