"""The command line: embed, similarity, search, explain, download, warmup, info.

Results alone go to stdout; progress, warnings and errors go to stderr, an error on one line. Exit
codes: 0 done, 1 an error, 2 a wrong call, 130 interrupted, 141 the reader of stdout went away.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import heapq
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import numpy as np

import minigte
from minigte.backend import BACKENDS, DTYPES, numba_missing
from minigte.cli.records import (
    GZIP,
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    Record,
    format_of,
    output_of,
    read_records,
)
from minigte.cli.resumable import Unfinished
from minigte.cli.serve import serve
from minigte.embedder import Embedder
from minigte.errors import InputError, MinigteError, MissingDependencyError, ModelNotFoundError, OutputError
from minigte.loading.hashes import model_sha256, sha256_of
from minigte.loading.sources import DEFAULT_MODEL, find_model, model_directory
from minigte.loading.weights import find_weights
from minigte.runtime.replacing import replacing

Command = TypeVar("Command", bound=Callable[..., Any])

STDIN = "-"


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    _open_closed()
    code = 0
    try:
        # Not cli.main(): that has its own ideas of a broken pipe and of an interrupt.
        with cli.make_context("minigte", sys.argv[1:]) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:  # --help and --version end so
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except MinigteError as error:
        click.echo(f"minigte: error: {error}", err=True)
        code = 1
    except BrokenPipeError:
        # What is still buffered has no reader; without this Python would report it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except KeyboardInterrupt:
        code = 130
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        click.echo(
            f"minigte: error: out of memory{detail}: try --dtype int8, or a smaller --batch-size", err=True
        )
        code = 1
    except OSError as error:
        click.echo(f"minigte: error: {error.filename or 'stdout'}: {error.strerror or error}", err=True)
        code = 1
    sys.exit(code)


def _open_closed() -> None:
    """Let nothing stand for each of the standard streams that the caller has closed, as services do.

    What is opened stays open until the process ends.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"minigte: warning: {message}", err=True)


def _examples(*lines: str) -> str:
    """A help page's closing part, which click must not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples(
        "minigte similarity 'what is the capital of China?' 'Beijing'",
        "minigte embed --input texts.txt --output vectors.npy",
        "minigte search 'opening hours' faq.txt",
    ),
)
@click.version_option(minigte.__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Text embeddings with gte-small and its family of BERT models, on the CPU."""


def _source_options(command: Command) -> Command:
    """Options of every command that loads a model: which, and how far it reads and writes."""
    for option in reversed(
        (
            click.option(
                "--model",
                "model_name_or_path",
                default=DEFAULT_MODEL,
                envvar="MINIGTE_MODEL",
                show_default=True,
                show_envvar=True,
                help="A model folder, or a model's name.",
            ),
            click.option("--revision", help="A commit, branch or tag of the model's repository."),
            click.option(
                "--cache-folder", type=click.Path(file_okay=False), help="Where downloads are kept."
            ),
            click.option("--offline", "local_files_only", is_flag=True, help="Never touch the network."),
            click.option(
                "--max-seq-length", type=int, help="Cut texts to fewer tokens than the model reads."
            ),
            click.option("--truncate-dim", type=int, help="Keep only the first components of each vector."),
        )
    ):
        command = option(command)
    return command


def _model_options(command: Command) -> Command:
    """These and how it computes; they arrive together in ``model_options``."""
    for option in reversed(
        (
            click.option(
                "--dtype",
                type=click.Choice(DTYPES),
                default="float32",
                show_default=True,
                help="Computed in.",
            ),
            click.option(
                "--backend",
                type=click.Choice(BACKENDS),
                default="auto",
                show_default=True,
                help="auto is numba where it works, else numpy.",
            ),
            click.option("--threads", type=click.IntRange(min=1), help="As many as there are, by default."),
        )
    ):
        command = option(command)
    return _source_options(command)


def _input_options(command: Command) -> Command:
    """Options of the commands that read texts from a file."""
    for option in reversed(
        (
            click.option(
                "--input-format",
                type=click.Choice(INPUT_FORMATS),
                help="What the file holds; by default its suffix tells, and otherwise it is lines.",
            ),
            click.option(
                "--column", default="text", show_default=True, help="The column or key of the texts."
            ),
            click.option(
                "--id-column", default="id", show_default=True, help="The column or key of the ids."
            ),
        )
    ):
        command = option(command)
    return command


@cli.command(
    short_help="Write one vector for each text of a file, or of stdin.",
    epilog=_examples(
        "minigte embed 'hello world'",
        "minigte embed --input texts.txt --output vectors.npy",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet",
        "minigte embed --input corpus.jsonl --column body --output vectors.parquet --resume",
        "cat queries.txt | minigte embed --prompt 'query: ' > vectors.jsonl",
    ),
)
@click.argument("texts", nargs=-1)
@click.option("--input", "-i", "input_path", help="A file of texts, or one ending in .gz; - is stdin.")
@click.option("--output", "-o", "output_path", help="Where to write; - is stdout, which is the default.")
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    help="By default the output's suffix tells; on stdout it is jsonl.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run to the same output was ended.")
@click.option("--prompt", help="Put this text in front of each text.")
@click.option("--prompt-name", help="Put the model's prompt of this name in front of each text.")
@click.option("--batch-size", type=int, default=256, show_default=True, help="Texts in one forward pass.")
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
@click.option("--progress/--no-progress", default=None, help="By default a bar is shown on a terminal.")
@_input_options
@_model_options
def embed(
    texts: tuple[str, ...],
    input_path: str | None,
    output_path: str | None,
    output_format: str | None,
    resume: bool,
    precision: str,
    progress: bool | None,
    input_format: str | None,
    column: str,
    id_column: str,
    prompt: str | None,
    prompt_name: str | None,
    batch_size: int,
    normalize_embeddings: bool,
    truncation: str,
    **model_options: Any,
) -> None:
    """Embed TEXTS, a file, or stdin; write one vector a text, with its id.

    The output appears under its name when it is whole. Until then what is done is kept beside it, in
    OUTPUT.unfinished: if the run is ended before, even by a power cut, the same command with --resume goes
    on from there, to the same file, byte for byte.
    """
    if output_path == STDIN:
        output_path = None
    if resume and output_path is None:
        raise click.UsageError("--resume needs the --output that is to be resumed")
    if texts and input_path:
        raise click.UsageError("give TEXTS or --input, not both")
    _refuse_two_prompts(prompt, prompt_name)
    if not texts and input_path is None and sys.stdin.isatty():
        raise click.UsageError("give TEXTS, --input FILE, or texts on stdin")
    output_format = output_format or (
        format_of(output_path, OUTPUT_FORMATS, "output") if output_path else "jsonl"
    )
    if output_path is None and output_format != "jsonl" and sys.stdout.isatty():
        raise click.UsageError(f"{output_format} on a terminal is no use: name a file with --output")

    with contextlib.ExitStack() as stack:
        if texts:
            records: Iterator[Record] = iter([Record(i, text) for i, text in enumerate(texts)])
        else:
            records = stack.enter_context(_open_records(input_path or STDIN, input_format, column, id_column))
        # Before the model is loaded, so that a second process on the same output is refused at once.
        kept = stack.enter_context(_keeping(Path(output_path), resume)) if output_path else None
        embedder = Embedder(**model_options)
        none = minigte.quantize_embeddings(np.empty((0, embedder.embedding_dimension), np.float32), precision)
        if kept is not None:
            options = {
                "minigte": minigte.__version__,
                "model sha256": model_sha256(embedder.source.folder, embedder.config),
                "--output-format": output_format,
                "--prompt": prompt,
                "--prompt-name": prompt_name,
                "--normalize": normalize_embeddings,
                "--precision": precision,
                "--max-seq-length": embedder.max_seq_length,
                "--truncate-dim": embedder.truncate_dim,
                "--dtype": embedder.backend.dtype,
                "--backend": embedder.backend_name,
                "instructions": embedder.backend.instructions,
                # The engine's bits depend on neither batches nor threads; those of NumPy's BLAS do.
                "--batch-size": batch_size if embedder.backend_name == "numpy" else None,
            }
            kept.start(options, records)
        output = output_of(output_format, none, kept.first() if kept else None)
        waiting: collections.deque[Record] = collections.deque()

        def read_texts() -> Iterator[str]:
            for record in records:
                waiting.append(record)
                yield record.text

        def encoded() -> Iterator[tuple[list[Record], bytes]]:
            for vectors in embedder.encode_stream(
                read_texts(),
                start=kept.texts if kept else 0,
                prompt=prompt,
                prompt_name=prompt_name,
                batch_size=batch_size,
                normalize_embeddings=normalize_embeddings,
                truncation=truncation,
                show_progress_bar=progress,
            ):
                chunk = [waiting.popleft() for _ in range(len(vectors))]
                rows = minigte.quantize_embeddings(vectors, precision)
                yield chunk, output.encode([record.id for record in chunk], rows)

        if kept is None:
            with _open_output(None) as out:
                output.write(out, (data for _, data in encoded()))
        else:
            for chunk, data in encoded():
                kept.append(chunk, data)
            kept.finish(output.write)


@cli.command(
    short_help="Print how similar every two of some texts are.",
    epilog=_examples("minigte similarity 'what is the capital of China?' 'Beijing' 'sorting algorithms'"),
)
@click.argument("texts", nargs=-1, required=True)
@_model_options
def similarity(texts: tuple[str, ...], **model_options: Any) -> None:
    """Print the similarity of every two of TEXTS as a table."""
    embedder = Embedder(**model_options)
    vectors = embedder.encode(list(texts))
    scores = embedder.similarity(vectors, vectors)
    labels = [" ".join(text.split()) for text in texts]  # on one line each
    width = min(48, max(map(len, labels)))
    number = len(str(len(texts)))
    click.echo(" " * (number + width + 2) + "".join(f"{i:>9}" for i in range(1, len(texts) + 1)))
    for i, (text, row) in enumerate(zip(labels, scores, strict=True), 1):
        label = text if len(text) <= width else text[: width - 1] + "…"
        click.echo(f"{i:>{number}} {label:<{width}} " + "".join(f"{score:9.4f}" for score in row))


@cli.command(
    short_help="Print the texts of a file that are most similar to a query.",
    epilog=_examples(
        "minigte search 'opening hours' faq.txt",
        "minigte search --top-k 3 --column body 'side effects of statins' corpus.jsonl",
        "grep -v '^#' notes.txt | minigte search 'what to buy' -",
    ),
)
@click.argument("query")
@click.argument("file")
@click.option(
    "--top-k", "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Matches shown."
)
@click.option("--progress/--no-progress", default=None, help="By default a bar is shown on a terminal.")
@_input_options
@_model_options
def search(
    query: str,
    file: str,
    top_k: int,
    progress: bool | None,
    input_format: str | None,
    column: str,
    id_column: str,
    **model_options: Any,
) -> None:
    """Print the texts of FILE (- is stdin) most similar to QUERY: score, id, text.

    Of lines, the id is the line's number, from 1.
    """
    with _open_records(file, input_format, column, id_column) as records:
        embedder = Embedder(**model_options)
        query_vector = np.atleast_2d(embedder.encode_query(query))
        waiting: collections.deque[Record] = collections.deque()

        def read_texts() -> Iterator[str]:
            for record in records:
                waiting.append(record)
                yield record.text

        best: list[tuple[float, Record]] = []
        for vectors in embedder.encode_stream(
            read_texts(), prompt_name="document", show_progress_bar=progress
        ):
            chunk = [waiting.popleft() for _ in range(len(vectors))]
            hits = minigte.semantic_search(query_vector, vectors, top_k, embedder.config.similarity_fn_name)[
                0
            ]
            best += [(hit["score"], chunk[hit["corpus_id"]]) for hit in hits]
            best = heapq.nlargest(top_k, best, key=lambda match: match[0])
    lines = (input_format or format_of(file, INPUT_FORMATS, "input")) == "lines"
    for score, record in best:
        text = " ".join(record.text.split())
        click.echo(f"{score:.4f}\t{record.id + 1 if lines else record.id}\t{text}")


EXPLAIN_FORMATS = ("html", "json", "png")


@cli.command(
    short_help="Show how the model makes a vector, or a similarity, of a text.",
    epilog=_examples(
        "minigte explain 'what is the capital of China?'",
        "minigte explain 'what is the capital of China?' 'Beijing' -o capital.html",
        "minigte explain --layer 3 --head 7 --png 'the cat sat on the mat'",
        "minigte explain 'hello world' --json -o - | head -c 300",
    ),
)
@click.argument("texts", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    "output_path",
    help="Where to write; - is stdout. By default minigte-explain.html (.json, .png) in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="All numbers as one JSON object.")
@click.option(
    "--png", "as_png", is_flag=True, help="A plain picture of one head, or of two texts' token pairs."
)
@click.option(
    "--layer", type=click.IntRange(min=0), default=0, show_default=True, help="Which to show first."
)
@click.option("--head", type=click.IntRange(min=0), default=0, show_default=True, help="Which to show first.")
@click.option("--prompt", help="Put this text in front of each text.")
@click.option("--prompt-name", help="Put the model's prompt of this name in front of each text.")
@_source_options
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
    the output, ask for another form.
    """
    if len(texts) > 2:
        raise click.UsageError("give one text, or two to compare")
    _refuse_two_prompts(prompt, prompt_name)
    if as_json and as_png:
        raise click.UsageError("give --json or --png, not both")
    suffix = Path(output_path or "").suffix[1:].lower()
    asked = "json" if as_json else "png" if as_png else None
    form = asked or {"": "html", "htm": "html"}.get(suffix, suffix)
    if form not in EXPLAIN_FORMATS:
        raise InputError(f"cannot tell the form of {output_path!r}: name it .html, .json or .png")
    path = Path(output_path or f"minigte-explain.{form}")
    if output_path == STDIN and form == "png" and sys.stdout.isatty():
        raise click.UsageError("a PNG on a terminal is no use: name a file with --output")
    embedder = Embedder(**model_options, backend="numpy")  # what explains is the reference
    encoder = embedder.config.encoder
    for name, value, count in (
        ("layer", layer, encoder.num_hidden_layers),
        ("head", head, encoder.num_attention_heads),
    ):
        if value >= count:
            raise InputError(f"--{name} must be from 0 to {count - 1}, not {value}")
    traces = [embedder.explain(text, prompt=prompt, prompt_name=prompt_name) for text in texts]
    explained = embedder.explain_similarity(*traces) if len(traces) == 2 else traces[0]
    with _open_output(None if output_path == STDIN else str(path)) as out:
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
    if output_path != STDIN:
        click.echo(path)


@cli.command(
    short_help="Fetch a model unless it is here, and print its folder.",
    epilog=_examples("minigte download", "minigte download thenlper/gte-small"),
)
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--revision", help="A commit, branch or tag of the model's repository.")
@click.option("--cache-folder", type=click.Path(file_okay=False), help="Where downloads are kept.")
def download(model: str, revision: str | None, cache_folder: str | None) -> None:
    """Fetch MODEL unless it is on this machine, and print its folder."""
    click.echo(find_model(model, revision=revision, cache_folder=cache_folder).folder)


@cli.command(
    short_help="Compile the kernels now, so that no process has to later.",
    epilog=_examples("minigte warmup", "minigte warmup int8"),
)
@click.argument("dtypes", nargs=-1, type=click.Choice(DTYPES))
def warmup(dtypes: tuple[str, ...]) -> None:
    """Compile the kernels of DTYPES, by default of all, and keep them on disk; print where.

    Run it when an image is built, so that no process has to compile later.
    """
    missing = numba_missing()
    if missing is not None:
        raise MissingDependencyError(f"warmup needs Numba, but {missing}")
    from minigte.engine.jit import kernel_directory
    from minigte.engine.scheduler import warmup

    for dtype in dtypes or DTYPES:
        warmup(dtype)
    directory = kernel_directory()
    if directory is None:
        raise OutputError("no directory that is safe and writable was found to keep kernels in")
    click.echo(directory)


@cli.command(
    short_help="Show versions, the model's folder, the backend and the caches.",
    epilog=_examples("minigte info", "minigte info --model ./my-model --json"),
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_model_options
def info(as_json: bool, **model_options: Any) -> None:
    """Show versions, the model's folder and where it came from, the backend and the caches.

    Nothing is downloaded.
    """
    facts: dict[str, object] = {
        "minigte": minigte.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in ("numpy", "numba", "tokenizers", "safetensors", "huggingface-hub", "onnx", "pyarrow"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    if numba_missing() is None:
        from minigte.engine.jit import kernel_directory

        facts["kernel cache"] = str(kernel_directory() or "none (no safe and writable directory)")
    facts["model cache"] = str(model_directory(model_options["cache_folder"]) or "none (no home directory)")
    try:
        embedder = Embedder(**{**model_options, "local_files_only": True})
    except ModelNotFoundError as error:
        facts["model"] = str(error)
    else:
        weights = find_weights(embedder.source.folder / embedder.config.transformer)
        config = embedder.config
        facts |= {
            "model": embedder.source.name,
            "origin": embedder.source.origin,
            "revision": embedder.source.revision or "none",
            "folder": str(embedder.source.folder),
            "weights": f"{weights.name}, sha256 {sha256_of(weights)}" if weights else "none",
            "parameters": embedder.num_parameters,
            "architecture": config.model_type,
            "embedding_dimension": embedder.embedding_dimension,
            "max_seq_length": embedder.max_seq_length,
            "pooling": " + ".join(config.pooling_modes),
            "normalize": config.normalize,
            "similarity": config.similarity_fn_name,
            "prompts": dict(embedder.prompts),
            "assumed": list(config.assumed),
            "dtype": embedder.backend.dtype,
            "backend": embedder.backend_name,
            "instructions": embedder.backend.instructions,
            "threads": embedder.backend.threads or "as NumPy's BLAS decides",
        }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, list):
            value = ", ".join(value) or "nothing"
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={prompt!r}" for key, prompt in value.items()) or "none"
        click.echo(f"{name + ':':<21}{value}")


cli.add_command(serve)


def _refuse_two_prompts(prompt: str | None, prompt_name: str | None) -> None:
    if prompt is not None and prompt_name is not None:
        raise click.UsageError("give --prompt or --prompt-name, not both")


@contextlib.contextmanager
def _open_records(
    path: str, input_format: str | None, column: str, id_column: str
) -> Iterator[Iterator[Record]]:
    """Open a file, or stdin, as records. Raises InputError where it cannot be read."""
    file_format = input_format or ("lines" if path == STDIN else format_of(path, INPUT_FORMATS, "input"))
    if path == STDIN:
        yield read_records(sys.stdin.buffer, "stdin", file_format, column, id_column)
        return
    try:
        file: Any = (gzip.open if path.lower().endswith(GZIP) else open)(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    with file:
        yield read_records(file, path, file_format, column, id_column)


@contextlib.contextmanager
def _keeping(path: Path, resume: bool) -> Iterator[Unfinished]:
    """Open what is done of an output; where the run fails after that, say how to go on."""
    with Unfinished(path, resume=resume) as kept:
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


@contextlib.contextmanager
def _open_output(path: str | None) -> Iterator[BinaryIO]:
    """Open stdout, or a file that appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        yield file
