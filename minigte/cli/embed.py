"""``minigte embed``: one vector for each text."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minigte.cli import options
from minigte.cli.formats import OUTPUT_FORMATS, OUTPUT_SUFFIXES, STREAM, output_format_of
from minigte.errors import InputError

if TYPE_CHECKING:
    from minigte.cli.records import Record
    from minigte.cli.resumable import Unfinished
    from minigte.embedder import Embedder


@click.command(
    cls=options.TextsCommand,
    short_help="Write one vector for each text of a file, or of stdin.",
    epilog=options.examples(
        "minigte embed 'hello world'",
        "minigte embed --input texts.txt --output vectors.npy",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet --resume",
        "cat queries.txt | minigte embed --prompt 'query: ' > vectors.jsonl",
        "jq -c '.[]' texts.json | minigte embed --output vectors.npy",
    ),
)
@click.argument("texts", nargs=-1)
@options.one_file("--input", "-i", "input_path", help="A file of texts, also gzipped; - is stdin.")
@options.one_file("--output", "-o", "output_path", help="Where to write; - is stdout, which is the default.")
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    help="By default the output's suffix tells; on stdout, a device or a pipe it is jsonl.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run to the same output was ended.")
@options.prompts("each text")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Texts in one forward pass.",
)
@click.option("--normalize", "normalize_embeddings", is_flag=True, help="Scale the vectors to length 1.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "binary", "ubinary"]),
    default="float32",
    show_default=True,
    help="Of the vectors that are written.",
)
@click.option(
    "--truncation",
    type=click.Choice(["warn", "ignore", "error"]),
    default="warn",
    show_default=True,
    help="What to do about texts that are too long for the model.",
)
@options.progress
@options.reading
@options.model
def embed(
    texts: tuple[str, ...],
    input_path: str | None,
    output_path: str | None,
    output_format: str | None,
    resume: bool,
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
    """Embed TEXTS, a file, or stdin; write one vector a text, with its id.

    TEXTS that are all names of files are refused, unless they stand behind --.

    The output appears under its name when it is whole. Until then what is done is kept beside it, in
    OUTPUT.unfinished: if the run is ended before, even by a power cut, the same command with --resume goes
    on from there, to the same file, byte for byte. A device or a pipe is written to as it goes.
    """
    import numpy as np

    from minigte.cli.encoding import encoded
    from minigte.cli.inputs import open_records
    from minigte.cli.outputs import open_output, output_of, path_of
    from minigte.cli.records import Columns, Record
    from minigte.runtime.replacing import is_replaceable
    from minigte.vectors.quantization import quantize_embeddings

    if texts and input_path:
        raise click.UsageError("give TEXTS or --input, not both")
    options.refuse_two_prompts(prompt, prompt_name)
    if not texts and input_path is None and sys.stdin.isatty():
        raise click.UsageError("give TEXTS, --input FILE, or texts on stdin")
    output = path_of(output_path)
    keeps = output is not None and is_replaceable(output)
    if resume and not keeps:
        raise click.UsageError("--resume needs the --output that is to be resumed, which is a file")
    output_format = output_format or _format_of(output, keeps)
    if output is None and output_format != "jsonl" and sys.stdout.isatty():
        raise click.UsageError(f"{output_format} on a terminal is no use: name a file with --output")
    if not texts:
        _refuse_one_file(input_path or STREAM, output_path or STREAM)

    with contextlib.ExitStack() as stack:
        if texts:
            records = iter([Record(number, text) for number, text in enumerate(texts)])
        else:
            source = open_records(input_path or STREAM, input_format, Columns(column, id_column))
            records = stack.enter_context(source)
        # Before the model is loaded, so that a second process on the same output is refused at once.
        kept = stack.enter_context(_keeping(output, resume)) if output and keeps else None
        embedder = options.load(**model_options)
        if kept is not None:
            decided = {
                "--output-format": output_format,
                "--prompt": prompt,
                "--prompt-name": prompt_name,
                "--normalize": normalize_embeddings,
                "--precision": precision,
            }
            kept.start(decided | _decided_by_model(embedder, batch_size), records)
        like = quantize_embeddings(np.empty((0, embedder.embedding_dimension), np.float32), precision)
        form = output_of(output_format, like, kept.first() if kept else None)
        start = kept.texts if kept else 0

        def chunks() -> Iterator[tuple[list[Record], bytes]]:
            number = start
            for chunk, vectors in encoded(
                embedder,
                records,
                progress=progress,
                start=start,
                prompt=prompt,
                prompt_name=prompt_name,
                batch_size=batch_size,
                normalize_embeddings=normalize_embeddings,
                truncation=truncation,
            ):
                rows = quantize_embeddings(vectors, precision)
                yield chunk, form.encode([record.id for record in chunk], rows, number)
                number += len(chunk)

        if kept is None:
            with open_output(output) as out:
                form.write(out, (data for _, data in chunks()))
        else:
            for chunk, data in chunks():
                kept.append(chunk, data)
            kept.finish(form.write)


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
                    "the same command with --resume goes on from there",
                    err=True,
                )
            raise
