"""Write the reference pages of docs/ from the code they describe: ``make quotes``.

A page marks what it describes with two comments, and this program writes what belongs between them:

    <!-- docstring minigte.Embedder -->          signature, docstring, and those of public members
    <!-- help minigte embed -->                  a command's usage, options and examples, as --help has them
    <!-- end of description -->

    <!-- docstring minigte.Embedder -->          its signature and docstring, and its public members'
is current.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from minigte.cli.main import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("reference.md", "command-line.md")
MARK = re.compile(
    r"^<!-- (?P<kind>docstring|help) (?P<name>[\w. ]+) -->\n(?:.*?\n)??<!-- end of description -->$",
    re.MULTILINE | re.DOTALL,
)
WIDTH = 90  # of a signature on one line
ARGUMENTS = re.compile(r"(`\w+`|\"\w+\")(, (`\w+`|\"\w+\"))*: ")


def described(page: str) -> str:
    """The page with every description as the code is now."""
    return MARK.sub(_description, page)


def _description(match: re.Match[str]) -> str:
    kind, name = match["kind"], match["name"]
    parts = _of_object(name) if kind == "docstring" else _of_command(name)
    return f"<!-- {kind} {name} -->\n\n" + "\n\n".join(parts) + "\n\n<!-- end of description -->"


def _of_object(path: str) -> Iterator[str]:
    """What a name of the package says of itself; of a class, also what its public members say."""
    module, _, name = path.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    bases = [base.__name__ for base in thing.__bases__] if inspect.isclass(thing) else []
    yield f"### {name}"
    if issubclass(thing, Exception) if inspect.isclass(thing) else False:
        yield f"A kind of {', '.join(f'`{base}`' for base in bases)}. {_prose(thing)}"
        return
    if not (inspect.isclass(thing) and issubclass(thing, enum.Enum)):
        yield _signature(name, thing)
    yield _prose(thing)
    if not inspect.isclass(thing):
        return
    if "__init__" in vars(thing) and thing.__init__.__doc__:
        yield _prose(thing.__init__)
    if issubclass(thing, enum.Enum):
        yield "\n".join(f"- `{member.name}`: `{member.value!r}`" for member in thing)
        return
    own = [kind for kind in thing.__mro__ if kind.__module__.startswith("minigte.")]
    for member, value in [pair for kind in own for pair in vars(kind).items()]:
        value = getattr(value, "__func__", value)  # of a static method
        if member.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        yield f"#### {name}.{member}"
        if inspect.isfunction(value):
            yield _signature(member, value)
        yield _prose(value)


def _signature(name: str, thing: object) -> str:
    """A call as its definition has it, in a block of Python."""
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    given = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    shown = [str(parameter.replace(annotation=_type(parameter.annotation))) for parameter in given]
    for place, parameter in enumerate(given):
        if parameter.kind is parameter.KEYWORD_ONLY:
            shown.insert(place, "*")
            break
    answer = _type(signature.return_annotation)
    arrow = "" if inspect.isclass(thing) or answer in ("Any", signature.empty) else f" -> {answer}"
    line = f"{name}({', '.join(shown)}){arrow}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + f"){arrow}"
    return f"```python\n{line}\n```"


class _Bare(str):
    """An annotation whose quotation marks are left out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _type(annotation: object) -> object:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _prose(thing: object) -> str:
    """A docstring as Markdown: lines that begin with the names of arguments are items of a list."""
    lines: list[str] = []
    inside = False
    for line in (inspect.getdoc(thing) or "").replace("``", "`").splitlines():
        if ARGUMENTS.match(line):
            lines += [f"- {line}"] if inside or not lines[-1:] or not lines[-1] else ["", f"- {line}"]
            inside = True
        else:
            inside = inside and bool(line.strip())
            lines.append(f"  {line}" if inside else line)
    return "\n".join(lines).strip()


def _of_command(path: str) -> Iterator[str]:
    """What a command's --help says."""
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    for word in path.split()[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]
        context = click.Context(command, parent=context)
    yield f"## {path}"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    yield _escaped(inspect.cleandoc(command.help or ""))
    options = [option for option in command.params if isinstance(option, click.Option)]
    rows = [f"| {_names(option)} | {_meaning(option)} |" for option in options]
    # click keeps the option --help of whoever asked first, with the names that it had there.
    names = ", ".join(f"`{name}`" for name in command.get_help_option_names(context))
    rows.append(f"| {names} | Show this message and exit. |")
    yield "\n".join(["| option | what it does |", "|---|---|", *rows])
    examples = inspect.cleandoc((command.epilog or "").replace("\b", "").partition("Examples:\n")[2])
    yield f"```sh\n{examples}\n```"


def _names(option: click.Option) -> str:
    """The names of an option, and what it takes."""
    names = [f"`{name}`" for name in (*option.opts, *option.secondary_opts)]
    if option.is_flag:
        return ", ".join(names)
    if isinstance(option.type, click.Choice):
        return f"{', '.join(names)} {', '.join(f'`{choice}`' for choice in option.type.choices)}"
    return f"{', '.join(names)} {option.metavar or option.type.name.split()[0].upper()}"


def _meaning(option: click.Option) -> str:
    """What an option does, its default and its environment variable."""
    help_text, *notes = re.split(
        r"\s*\[(?:env var: (\w+); )?(default|required)(?:: ([^\]]+))?\]", option.help or ""
    )
    text = _escaped(help_text.strip())
    if notes:
        variable, word, value, _ = notes
        text += f" Default: `{value}`." if value else f" {word.capitalize()}."
        text += f" Environment: `{variable}`." if variable else ""
    if option.show_default and option.default is not None:
        text += f" Default: `{option.default}`."
    if option.show_envvar:
        text += f" Environment: `{option.envvar}`."
    return text.strip()


def _escaped(text: str) -> str:
    """Prose in which Markdown finds no marks of its own."""
    text = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", text)
    text = re.sub(r"('[^' ]*[*][^' ]*')", r"`\1`", text)
    return text.replace("|", r"\|")


def main() -> None:
    """Rewrite the pages that are not current."""
    for name in PAGES:
        page = DOCS / name
        page.write_text(described(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
