"""``minigte embed``: one vector for each text."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options
from minigte.cli.formats import (
    DATABASES,
    OUTPUT_FORMATS,
    OUTPUT_SUFFIXES,
    STREAM,
    TEXT_COLUMN,
    URLS,
    output_format_of,
)
from minigte.errors import InputError

if TYPE_CHECKING:
    from minigte.cli.outputs import Vectors
    from minigte.cli.records import Record
    from minigte.cli.resumable import Unfinished
    from minigte.embedder import Embedder


def _not_empty(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if "" in names:
        raise click.BadParameter("the name is empty", context, option)
    return names


@click.command(
    cls=options.TextsCommand,
    short_help="Turn texts, files or stdin into vectors.",
    epilog=options.examples(
        "minigte embed 'hello world'",
        "minigte embed --input texts.txt --output vectors.npy",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet --resume",
        "minigte embed --input notes/ --chunk-tokens 256 --keep text --output notes.db",
        "minigte embed --input notes/ --chunk-tokens 256 --keep text --output notes.db --update",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet --update",
        "minigte embed --input faq.csv --keep text --output postgresql://me@localhost/shop --table faq",
        "minigte embed --input 'logs/*.csv' --keep lang,created --precision float16 --output logs.parquet",
        "cat queries.txt | minigte embed --prompt 'query: ' > vectors.jsonl",
        "jq -c '.[]' texts.json | minigte embed --output vectors.npy",
    ),
)
@click.argument("texts", nargs=-1)
@click.option(
    "--input",
    "-i",
    "input_paths",
    multiple=True,
    metavar="FILE",
    callback=_not_empty,
    help="A file of texts, plain or gzipped; a folder, where each .txt or .md file is one text; or a pattern "
    "such as 'notes/*.csv'. - is stdin. Can be given more than once.",
)
@options.one_file(
    "--output", "-o", "output_path", help="Where to write. Without it, or with -, that is stdout."
)
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    help="The format of the output. By default the suffix decides; stdout, devices and pipes get jsonl.",
)
@click.option("--resume", is_flag=True, help="Continue an earlier run to the same file that did not finish.")
@click.option("--table", default="embeddings", show_default=True, help="The database table to write to.")
@click.option(
    "--update", is_flag=True, help="Embed only what is new or has changed since the output was written."
)
@click.option(
    "--keep",
    metavar="COLUMNS",
    help="Columns or keys to copy to the output, such as lang,created. all copies all of them, and text "
    "copies the texts.",
)
@click.option(
    "--chunk-tokens",
    type=click.IntRange(min=1),
    help="Cut each text into chunks of at most this many tokens, at the ends of sentences. The third chunk "
    "of text 7 gets the id 7#2.",
)
@click.option(
    "--chunk-overlap",
    type=click.IntRange(min=0),
    help="Repeat the last sentences of a chunk at the start of the next, up to this many tokens.",
)
@options.prompts("each text")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="How many texts to compute at once.",
)
@click.option("--normalize", "normalize_embeddings", is_flag=True, help="Scale the vectors to length 1.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8", "binary", "ubinary"]),
    default="float32",
    show_default=True,
    help="The form of the numbers written; int8 scales each vector so that its largest component is 127.",
)
@click.option(
    "--truncation",
    type=click.Choice(["warn", "ignore", "error"]),
    default="warn",
    show_default=True,
    help="What to do with texts that are too long for the model.",
)
@options.progress
@options.reading
@options.model
def embed(
    texts: tuple[str, ...],
    input_paths: tuple[str, ...],
    output_path: str | None,
    output_format: str | None,
    resume: bool,
    table: str,
    update: bool,
    keep: str | None,
    chunk_tokens: int | None,
    chunk_overlap: int | None,
    precision: str,
    input_format: str | None,
    column: str | None,
    id_column: str | None,
    prompt: str | None,
    prompt_name: str | None,
    batch_size: int,
    normalize_embeddings: bool,
    truncation: str,
    progress: bool | None,
    **model_options: Any,
) -> None:
    """Embed TEXTS, files, a folder or stdin, and write one vector per text, with its id.

    If all TEXTS are names of files, minigte stops, because you may mean what the files hold: see --input.
    Put -- before them to embed the names.

    The output appears under its name once it is complete. Until then the work done so far is kept in
    OUTPUT.unfinished. If the run stops early, even in a power cut, give the same command with --resume:
    it continues from there and writes the same file, byte for byte. Devices and pipes are written to as
    vectors are made.

    An output that ends in .db, .sqlite, .duckdb or .lancedb, or a URL postgresql://..., is a database. Rows
    are added to one of its tables as they are made.

    With --update the same command embeds only what is new or has changed. A file comes out as a new run
    would write it; OUTPUT.digests keeps track of what it holds.
    """
    import numpy as np

    from minigte.cli.databases import OWN, Table
    from minigte.cli.earlier import Earlier
    from minigte.cli.encoding import encoded, encoded_anew
    from minigte.cli.inputs import open_records
    from minigte.cli.outputs import open_output, output_of, path_of
    from minigte.cli.progress import Share, unknown
    from minigte.cli.records import Columns, Record
    from minigte.runtime.replacing import is_replaceable

    if texts and input_paths:
        raise click.UsageError("give TEXTS or --input, not both")
    options.refuse_two_prompts(prompt, prompt_name)
    if chunk_overlap is not None and chunk_tokens is None:
        raise click.UsageError("--chunk-overlap needs --chunk-tokens")
    if not texts and not input_paths and sys.stdin.isatty():
        raise click.UsageError("give TEXTS, --input FILE, or texts on stdin")
    output = path_of(output_path)
    server = output_path if output_path and output_path.startswith(URLS) else None
    if server:
        output_format = output_format or "postgresql"
    database = (
        output is not None and (output_format or OUTPUT_SUFFIXES.get(output.suffix.lower())) in DATABASES
    )
    if (output_format == "postgresql") != bool(server):
        raise click.UsageError("postgresql goes with an --output such as postgresql://user@host/database")
    if server and precision in ("int8", "binary"):
        raise click.UsageError(f"pgvector has no type for {precision}: give float32, float16 or ubinary")
    if resume and database:
        raise click.UsageError(
            "--resume is for files; a database already has the finished rows: use --update to continue"
        )
    keeps = output is not None and not database and is_replaceable(output)
    if resume and not keeps:
        raise click.UsageError("--resume needs --output with the name of the file to resume")
    if update and not (keeps or database):
        raise click.UsageError("--update needs --output with the name of the file or database to update")
    output_format = output_format or _format_of(output, keeps or database)
    if output is None and output_format in DATABASES:
        raise click.UsageError(f"{output_format} needs --output with the name of the database")
    if output is None and output_format not in ("jsonl", "csv") and sys.stdout.isatty():
        raise click.UsageError(f"{output_format} cannot be shown on a terminal: name a file with --output")
    inputs = input_paths or (STREAM,)
    if not texts:
        for path in inputs:
            _refuse_one_file(path, output_path or STREAM)
    kept_columns = tuple(dict.fromkeys(keep.split(","))) if keep else ()  # "all" is KEEP_ALL
    if kept_columns and output_format == "npy":
        raise click.UsageError("an .npy file holds only vectors: omit --keep, or write Parquet")
    for name in kept_columns:
        if name in OWN:
            raise click.UsageError(f"--keep {name}: the output already has a column of this name")

    with contextlib.ExitStack() as stack:
        records: Iterator[Record]
        share: Share = unknown
        if texts:
            kept_texts = ({TEXT_COLUMN: text} if kept_columns else {} for text in texts)
            records = iter([Record(n, *pair) for n, pair in enumerate(zip(texts, kept_texts, strict=True))])
        else:
            columns = Columns(column, id_column, kept_columns)
            records = opened = stack.enter_context(open_records(inputs, input_format, columns))
            share = opened.share
        # Before the model is loaded, so that a second process on the same output is refused at once.
        rows = None
        if output and database:
            rows = stack.enter_context(Table(output_format, server or output, table, update=update))
        kept = stack.enter_context(_keeping(output, resume)) if output and keeps else None
        earlier = Earlier(output) if output and kept and update else None
        embedder = options.load(**model_options)
        if chunk_tokens is not None:
            text_key = column or TEXT_COLUMN
            prefix = embedder._prompt(prompt_name, prompt)
            records = _cut(records, embedder, chunk_tokens, chunk_overlap or 0, prefix, text_key)
        decided = {
            "--output-format": output_format,
            "--prompt": prompt,
            "--prompt-name": prompt_name,
            "--normalize": normalize_embeddings,
            "--precision": precision,
            "--keep": keep,
            "--chunk-tokens": chunk_tokens,
            "--chunk-overlap": chunk_overlap,
            **_decided_by_model(embedder, batch_size),
        }
        like = _stored(np.empty((0, embedder.embedding_dimension), np.float32), precision)
        if earlier is not None:
            earlier.start(decided, like, resume=resume)
            records = earlier.noting(records)
        if kept is not None:
            kept.start(decided, records)
        if rows is not None:
            rows.start(decided)
            records = rows.changed(records)
        start = kept.texts if kept else 0
        encode_options: dict[str, Any] = {
            "progress": progress,
            "start": start,
            "share": share,
            "prompt": prompt,
            "prompt_name": prompt_name,
            "batch_size": batch_size,
            "normalize_embeddings": normalize_embeddings,
            "truncation": truncation,
        }
        store = functools.partial(_stored, precision=precision)
        found: Iterator[tuple[list[Record], Vectors]]
        if earlier is None:
            found = ((chunk, store(x)) for chunk, x in encoded(embedder, records, **encode_options))
        else:
            found = encoded_anew(embedder, records, earlier, store, **encode_options)
        if rows is not None:
            for chunk, vectors in found:
                rows.write(chunk, vectors)
            if rows.skipped:
                click.echo(f"minigte: {rows.skipped} texts were already there", err=True)
            return
        form = output_of(output_format, like, kept.first() if kept else None)

        def chunks() -> Iterator[tuple[list[Record], bytes]]:
            number = start
            for chunk, vectors in found:
                yield chunk, form.encode(chunk, vectors, number)
                number += len(chunk)

        if kept is None:
            with open_output(output) as out:
                form.write(out, (data for _, data in chunks()))
        else:
            for chunk, data in chunks():
                kept.append(chunk, data)
            kept.finish(form.write)
            if earlier is not None:
                earlier.write()
                if earlier.reused:
                    click.echo(f"minigte: {earlier.reused} texts were already there", err=True)


def _stored(vectors: Vectors, precision: str) -> Vectors:
    """Vectors (B, D) in the precision that is asked for."""
    import numpy as np

    from minigte.vectors.quantization import quantize_embeddings, scale_to_int8

    if precision == "float16":
        return vectors.astype(np.float16)
    return scale_to_int8(vectors) if precision == "int8" else quantize_embeddings(vectors, precision)


def _cut(
    records: Iterator[Record], embedder: Embedder, size: int, overlap: int, prefix: str, text_key: str
) -> Iterator[Record]:
    """The chunks of records, each with the record's id and its number; what was kept of the text is its own.

    With the prompt a chunk has at most ``size`` tokens. Raises InputError where the model reads fewer.
    """
    from minigte.cli.ids import as_text
    from minigte.tokenizing.chunking import cut

    if size > embedder.max_seq_length:
        raise InputError(
            f"--chunk-tokens {size} is more than the {embedder.max_seq_length} tokens the model reads: "
            "choose fewer"
        )
    size -= embedder.count_tokens(prefix) - embedder.tokenizer.num_special_tokens
    for record in records:
        for number, text in enumerate(cut(record.text, embedder.tokenizer, size, overlap)):
            kept = {**record.kept, text_key: text} if text_key in record.kept else record.kept
            yield record._replace(id=f"{as_text(record.id)}#{number}", text=text, kept=kept)


def _format_of(output: Path | None, keeps: bool) -> str:
    """What the output's name says; of stdout, of a device and of a pipe it need not say anything."""
    if output is None or not (keeps or output.suffix in OUTPUT_SUFFIXES):
        return "jsonl"
    return output_format_of(output)


def _refuse_one_file(input_path: str, output_path: str) -> None:
    """Raise InputError where input and output are the same file, by whatever names."""
    both = []
    for path, stream in ((input_path, sys.stdin), (output_path, sys.stdout)):
        try:
            both.append(os.fstat(stream.fileno()) if path == STREAM else Path(path).stat())
        except (OSError, ValueError):  # there is none, so it is not the other
            return
    if stat.S_ISREG(both[0].st_mode) and os.path.samestat(*both):
        name = "stdin" if input_path == STREAM else input_path
        raise InputError(f"{name} is both input and output: write to another file")


def _decided_by_model(embedder: Embedder, batch_size: int) -> dict[str, Any]:
    """What decides the vectors' bits besides the options: each by the name that a user knows it by."""
    import minigte.version
    from minigte.loading.hashes import model_sha256

    return {
        "minigte": minigte.version.__version__,
        "model sha256": model_sha256(embedder.source.folder, embedder.config),
        "--max-seq-length": embedder.max_seq_length,
        "--truncate-dim": embedder.truncate_dim,
        "--dtype": embedder.backend.dtype,
        "--backend": embedder.backend_name,
        "instructions": embedder.backend.instructions,
        # The engine's bits depend on neither batches nor threads; those of NumPy's BLAS do.
        "--batch-size": batch_size if embedder.backend_name == "numpy" else None,
    }


@contextlib.contextmanager
def _keeping(output: Path, resume: bool) -> Iterator[Unfinished]:
    """Open what is done of an output; where the run fails after that, say how to go on."""
    from minigte.cli.resumable import Unfinished

    with Unfinished(output, resume=resume) as kept:
        try:
            yield kept
        except BaseException:
            if kept.texts:
                click.echo(
                    f"minigte: {kept.texts} texts are done, in {kept.path}: "
                    "the same command with --resume continues from there",
                    err=True,
                )
            raise
