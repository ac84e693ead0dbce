"""Options that several commands share, each said once, and what they come to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from minigte.backend import BACKENDS, DTYPES
from minigte.cli.formats import ID_COLUMN, INPUT_FORMATS, TEXT_COLUMN
from minigte.errors import InputError
from minigte.loading.sources import DEFAULT_MODEL

if TYPE_CHECKING:
    from minigte.cross_encoder import CrossEncoder
    from minigte.embedder import Embedder

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


def examples(*lines: str) -> str:
    """A help page's closing part, which click must not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _together(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """One decorator that does what these do, in their order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _once(context: click.Context, option: click.Parameter, names: Sequence[str]) -> str | None:
    """The one file name that was given. Of two click would drop the first without a word."""
    if len(names) > 1:
        raise click.BadParameter(f"give it once, not {len(names)} times", context, option)
    if "" in names:
        raise click.BadParameter("the name is empty", context, option)
    return names[0] if names else None


def one_file(*names: str, help: str) -> Callable[[Function], Function]:
    """An option that names one file."""
    return click.option(*names, multiple=True, callback=_once, metavar="FILE", help=help)


origin = _together(
    click.option("--revision", help="A commit, branch or tag of the model's repository."),
    click.option("--cache-folder", type=click.Path(file_okay=False), help="Where downloads are kept."),
)

# Of every command that loads a model: which, and how much of a text and of a vector.
source = _together(
    click.option(
        "--model",
        "model_name_or_path",
        default=DEFAULT_MODEL,
        envvar="MINIGTE_MODEL",
        show_default=True,
        show_envvar=True,
        help="The folder or the name of a model.",
    ),
    origin,
    click.option("--offline", "local_files_only", is_flag=True, help="Do not use the network."),
    click.option(
        "--max-seq-length",
        type=click.IntRange(min=1),
        help="Cut texts to this many tokens, at most what the model reads.",
    ),
    click.option(
        "--truncate-dim",
        type=click.IntRange(min=1),
        help="Keep only this many components of each vector.",
    ),
)

# How it computes.
computing = _together(
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="The numbers the model computes in.",
    ),
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="What computes; auto takes the first of built, jit and numpy that works.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="Threads to use; by default one per core."),
)

# All of these; they arrive together in ``model_options``.
model = _together(source, computing)

# Of the commands that read texts from a file.
reading = _together(
    click.option(
        "--input-format",
        type=click.Choice(INPUT_FORMATS),
        help="What the input holds. By default the suffix decides, or how the file begins; otherwise minigte "
        "reads lines.",
    ),
    click.option("--column", help=f"The column or key with the texts.  [default: {TEXT_COLUMN}]"),
    click.option(
        "--id-column",
        help=f"The column or key with the ids. By default it is {ID_COLUMN}; where there is none, texts are "
        "numbered from 0.",
    ),
)

progress = click.option(
    "--progress/--no-progress",
    default=None,
    help="Show progress; by default a bar on a terminal, and one line a minute in a log.",
)


def prompts(what: str) -> Callable[[Function], Function]:
    """Options for the text to put in front of ``what``."""
    return _together(
        click.option("--prompt", help=f"Put this text before {what}."),
        click.option("--prompt-name", help=f"Put the model's prompt of this name before {what}."),
    )


def refuse_two_prompts(prompt: str | None, prompt_name: str | None) -> None:
    """Raise an error where a prompt is given twice over."""
    if prompt is not None and prompt_name is not None:
        raise click.UsageError("give --prompt or --prompt-name, not both")


class TextsCommand(click.Command):
    """A command with an argument ``texts``, which are not names of files unless they stand behind --."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises InputError where every text is a file's name, which is hardly what is meant."""
        insisted = "--" in args
        rest = super().parse_args(ctx, args)
        texts = ctx.params.get("texts")
        if texts and not insisted and not ctx.resilient_parsing and all(map(os.path.exists, texts)):
            reads_files = any(parameter.name == "input_paths" for parameter in self.params)
            instead = "--input FILE" if reads_files else '"$(cat FILE)"'
            raise InputError(
                f"{texts[0]!r} is the name of a {'folder' if Path(texts[0]).is_dir() else 'file'}: give "
                f"{instead} for what a file holds, or put -- before it if the name is the text"
            )
        return rest


def load(**model_options: Any) -> Embedder:
    """The Embedder that ``model_options`` ask for, with a warning where they cannot do what they say."""
    from minigte.embedder import Embedder

    embedder = Embedder(**model_options)
    _check_threads(embedder, model_options.get("threads"))
    return embedder


def load_cross_encoder(**model_options: Any) -> CrossEncoder:
    """The CrossEncoder, with the same warning."""
    from minigte.cross_encoder import CrossEncoder

    model = CrossEncoder(**model_options)
    _check_threads(model, model_options["threads"])
    return model


def _check_threads(model: Embedder | CrossEncoder, threads: int | None) -> None:
    from minigte.runtime.resources import usable_cores

    cores = usable_cores()
    if threads and model.backend.threads is None:
        warnings.warn(
            f"--threads {threads} has no effect with --backend numpy: NumPy's BLAS decides", stacklevel=2
        )
    elif threads and threads > cores:
        warnings.warn(
            f"--threads {threads} is more than the {cores} cores this process may use, which is slower",
            stacklevel=2,
        )
