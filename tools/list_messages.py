"""List every message that the package can show a user, as it stands in the code: ``make messages``.

Errors and warnings that are raised, refusals of the command line, and what is printed to stderr, by file and
in alphabetical order. What is filled in when a message is shown stands in braces. tests/golden/messages.txt
keeps the list, so that all wording can be read in one place and a change of wording shows there. The tests of
single messages check what a message names and the way out, not its words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "messages.txt"
PRINTS = ("echo", "print")  # where they print to stderr


def messages(package: Path) -> str:
    """The list for all modules below ``package``."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    functions = {
        node.name: node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    parts = []
    for path, tree in trees.items():
        found = sorted({f"{kind}: {text}" for kind, text in _in_module(tree, functions)})
        if found:
            parts.append("\n".join([path.relative_to(package.parent).as_posix(), *found]))
    return "\n\n".join(parts) + "\n"


def _in_module(tree: ast.Module, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, str]]:
    """(kind, text) of each message that a module's own lines make."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = _name(call.func)
        if name.endswith(("Error", "Exception")) or name in ("error_class", "TruncationWarning"):
            kind = name
        elif name == "warn":
            kind = "warning"
        elif name in PRINTS and any(keyword.arg in ("err", "file") for keyword in call.keywords):
            kind = "stderr"
        else:
            continue
        for text in _texts(call.args[0], functions):
            if re.search(r"\w", re.sub(r"\{[^{}]*\}", "", text)):  # else it hands on what was made elsewhere
                yield kind, text


def _name(function: ast.expr) -> str:
    """The last part of a called function's name."""
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _texts(message: ast.expr, functions: dict[str, ast.FunctionDef]) -> list[str]:
    """What an expression can say; nothing if it only hands on what was made elsewhere.

    A function of the package that makes the text is looked into.
    """
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return [message.value.replace("\n", "\\n")]
    if isinstance(message, ast.JoinedStr):
        return ["".join(map(_part, message.values)).replace("\n", "\\n")]
    if isinstance(message, ast.IfExp):
        return _texts(message.body, functions) + _texts(message.orelse, functions)
    if isinstance(message, ast.BinOp) and isinstance(message.op, ast.Add):
        return [
            left + right
            for left in _texts(message.left, functions)
            for right in _texts(message.right, functions)
        ]
    maker = functions.get(_name(message.func)) if isinstance(message, ast.Call) else None
    returned = [node.value for node in ast.walk(maker) if isinstance(node, ast.Return)] if maker else []
    return [text for value in returned if value is not None for text in _texts(value, {})]


def _part(part: ast.expr) -> str:
    """A piece of an f-string: its letters, or what is filled in, in braces."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    conversion = f"!{chr(part.conversion)}" if part.conversion > 0 else ""
    return f"{{{ast.unparse(part.value)}{conversion}}}"


def main() -> None:
    """Write the list."""
    GOLDEN.write_text(messages(ROOT / "minigte"), encoding="utf-8")


if __name__ == "__main__":
    main()
