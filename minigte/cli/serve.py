"""``minigte serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minigte.backend import BACKENDS, DTYPES
from minigte.cross_encoder import CrossEncoder
from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.loading.config import is_cross_encoder
from minigte.loading.sources import DEFAULT_MODEL, find_model

if TYPE_CHECKING:
    from minigte.server.service import Service

KEYS_VARIABLE = "MINIGTE_API_KEYS"
# What the server cannot do without, of the extra "serve" of pyproject.toml.
PACKAGES = ("uvicorn", "httptools", "msgspec", "orjson", "prometheus-client")


@click.command(
    short_help="Serve clients of OpenAI, TEI, Ollama and Cohere over HTTP.",
    epilog="\b\nExamples:\n"
    "  minigte serve\n"
    "  minigte serve --model thenlper/gte-small --alias text-embedding-3-small=thenlper/gte-small\n"
    "  minigte serve --host 0.0.0.0 --dtype int8 --api-key-file keys.txt --log-format json",
)
@click.option(
    "--model",
    "names",
    multiple=True,
    help="The folder or the name of a model. Can be given more than once; cross-encoders rerank.  "
    f"[env var: MINIGTE_MODEL; default: {DEFAULT_MODEL}]",
)
@click.option("--alias", "aliases", multiple=True, metavar="ALIAS=NAME", help="Another name for a model.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port to listen on; 0 is any free one.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="The numbers the model computes in.",
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="What computes; auto takes the first of built, jit and numpy that works.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of each worker; by default the workers share all cores.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that answer; they share the weights.",
)
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    help="A key that clients must send. Other users of the machine can see it in the list of processes: "
    f"prefer a file, or {KEYS_VARIABLE}.",
)
@click.option(
    "--api-key-file",
    type=click.Path(dir_okay=False),
    help="A file of keys, one per line, of which clients must send one.",
)
@click.option(
    "--max-body-bytes",
    type=click.IntRange(min=1),
    default=8 << 20,
    show_default=True,
    help="Largest body of a request.",
)
@click.option(
    "--max-texts",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    help="Most texts in a request.",
)
@click.option(
    "--max-queue-tokens",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Most tokens that may wait; a request beyond that gets 429.",
)
@click.option(
    "--max-queue-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Longest wait; a request that would wait longer gets 429.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Most connections at a time.",
)
@click.option(
    "--cl100k-base",
    type=click.Path(dir_okay=False),
    help="OpenAI's cl100k_base.tiktoken, so that requests that name one of OpenAI's models may "
    "send token ids.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The form of the log on stderr.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to log; info has one line per request.",
)
@click.option("--cache-folder", type=click.Path(file_okay=False), help="Where downloads are kept.")
@click.option("--offline", "local_files_only", is_flag=True, help="Do not use the network.")
def serve(
    names: tuple[str, ...],
    aliases: tuple[str, ...],
    host: str,
    port: int,
    workers: int,
    api_keys: tuple[str, ...],
    api_key_file: str | None,
    cl100k_base: str | None,
    log_format: str,
    log_level: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Serve embeddings over HTTP to clients of OpenAI, text-embeddings-inference, Ollama and Cohere.

    Clients only need another base URL. SIGTERM or Ctrl-C stops the server, after it has answered the
    requests that have arrived.
    """
    # One text has its tokens soonest in the thread that asks, and a pool of threads would not survive a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from minigte.server import logs, run
        from minigte.server.limits import Limits
    except ImportError as error:
        raise MissingDependencyError(
            f"minigte serve needs {error.name}: pip install {' '.join(PACKAGES)}"
        ) from None
    from minigte.runtime.resources import usable_cores

    logs.set_up(log_format, log_level)
    if workers > 1 and not hasattr(os, "fork"):
        raise InputError("--workers needs fork, which this system does not have: omit it")
    limits = Limits(**{name: options.pop(name) for name in [*options] if name.startswith("max_")})
    keys = _keys(api_keys, api_key_file)
    meant = dict(_alias(alias) for alias in aliases)
    listening = run.listen(host, port)  # before the models are loaded, so that a port in use is said at once
    if threads is None and workers > 1:
        threads = max(1, usable_cores() // workers)
    if options["backend"] == "numpy":
        threads = None
    embedders: dict[str, Embedder] = {}
    cross_encoders: dict[str, CrossEncoder] = {}
    for name in names or (os.environ.get("MINIGTE_MODEL") or DEFAULT_MODEL,):
        served = _served_name(name)
        if served in (*embedders, *cross_encoders):
            raise InputError(f"two models would be served as {served!r}: give their folders different names")
        finding = {key: options[key] for key in ("cache_folder", "local_files_only")}
        if is_cross_encoder(find_model(name, **finding).folder):
            cross_encoders[served] = CrossEncoder(name, threads=threads, **options)
        else:
            embedders[served] = Embedder(name, threads=threads, **options)

    def make_app() -> Service:
        from minigte.server.app import create_app
        from minigte.server.tokens import Cl100k

        cl100k = None if cl100k_base is None else Cl100k(Path(cl100k_base))
        return create_app(
            embedders,
            cross_encoders=cross_encoders,
            aliases=meant,
            api_keys=keys,
            limits=limits,
            cl100k=cl100k,
        )

    logs.event(
        "models loaded",
        models=",".join([*embedders, *cross_encoders]),
        dtype=options["dtype"],
        url=run.url_of(listening),
    )
    raise SystemExit(run.serve(make_app, listening, limits, workers))


def _served_name(name: str) -> str:
    """A folder is served under its own name, without the path to it; anything else as it was given."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - as ``find_model`` takes it
    if not path.is_dir():
        return name
    last = path.absolute().name  # of a link, not of what it leads to
    return path.resolve().name if last in ("", "..") else last


def _alias(alias: str) -> tuple[str, str]:
    name, equals, model = alias.partition("=")
    if not (name and equals and model):
        raise InputError(
            f"--alias {alias!r} must be ALIAS=NAME, as in text-embedding-3-small={DEFAULT_MODEL}"
        )
    return name, model


def _keys(api_keys: tuple[str, ...], api_key_file: str | None) -> list[str]:
    """The keys of all three places. Raises InputError, which shows none of them."""
    keys = [*api_keys, *os.environ.get(KEYS_VARIABLE, "").split()]
    if api_key_file is not None:
        try:
            found = Path(api_key_file).read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise InputError(f"cannot read the keys in {api_key_file}: {reason}") from None
        if not found:  # a server that was meant to be closed must not be open
            raise InputError(f"{api_key_file} holds no key: write one on each line, or omit the option")
        keys += found
    if any(not key or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise InputError("an API key must consist of ASCII letters, digits and punctuation, without spaces")
    return keys
