"""The command line: its commands, its exit codes, its standard streams.

Results alone go to stdout; progress, warnings and errors go to stderr, an error on one line. Exit
codes: 0 done, 1 an error, 2 a wrong call, 130 interrupted, 141 the reader of stdout went away.

A command's file imports what computes only when the command runs, so that a help page comes at once.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings

import click

import minigte.version
from minigte.cli import options
from minigte.cli.download import download
from minigte.cli.embed import embed
from minigte.cli.explain import explain
from minigte.cli.info import info
from minigte.cli.pack import pack
from minigte.cli.page import page
from minigte.cli.rerank import rerank
from minigte.cli.search import search
from minigte.cli.serve import serve
from minigte.cli.similarity import similarity
from minigte.cli.warmup import warmup
from minigte.errors import MinigteError, TruncationWarning


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=options.examples(
        "minigte similarity 'what is the capital of China?' 'Beijing'",
        "minigte embed --input texts.txt --output vectors.npy",
        "minigte search 'opening hours' faq.txt",
    ),
)
@click.version_option(minigte.version.__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Text embeddings with gte-small and other encoders, on the CPU."""


for command in (embed, similarity, search, rerank, explain, page, serve, download, pack, warmup, info):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    _prepare_streams()
    code = _run()
    try:
        sys.stdout.flush()
    except OSError:
        # What is still buffered can go nowhere; without this Python would report it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    """Run the command that was called; gives the exit code."""
    try:
        # Not cli.main(): that has its own ideas of a broken pipe and of an interrupt.
        with cli.make_context("minigte", sys.argv[1:]) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:  # --help and --version end so
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MinigteError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "minigte").partition(".")[0]
        if name == "minigte":  # no package that is missing, but a fault of this one
            raise
        package = name.replace("_", "-")
        return _fail(f"this needs the {package} package, which is not installed: pip install {package}")
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        return 130
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        return _fail(f"out of memory{detail}: try --dtype int8, or a smaller --batch-size")
    except OSError as error:
        return _fail(f"{error.filename or 'stdout'}: {error.strerror or error}")
    return 0


def _fail(message: str) -> int:
    click.echo(f"minigte: error: {message}", err=True)
    return 1


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    shown = str(message)
    if isinstance(message, TruncationWarning):
        shown = message.facts
        context = click.get_current_context(silent=True)
        if context is not None and any(option.name == "truncation" for option in context.command.params):
            shown += " (--truncation error refuses them, --truncation ignore cuts them silently)"
    click.echo(f"minigte: warning: {shown}", err=True)


def _prepare_streams() -> None:
    """Put something in the place of closed streams, and let no character of a text stop the output.

    A service may be started with its standard streams closed. Nobody misses what would go to stderr, but
    what reads stdin or writes results to stdout must fail, and not find nothing or lose them.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and (
        sys.stdout.errors == "strict"
        or (sys.stdout.errors == "surrogateescape" and codecs.lookup(sys.stdout.encoding).name != "utf-8")
    ):
        sys.stdout.reconfigure(errors="backslashreplace")
