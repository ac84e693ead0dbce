"""Which statement of the source made the array that is being observed."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from pathlib import Path
from types import CodeType

PACKAGE = Path(__file__).parent.parent


def made_by(name: str) -> tuple[str, int, str]:
    """File, line and text of the statement that made the array now being observed under ``name``.

    Of the frames below this one, the one that says ``observe("...", array)`` with the end of the name
    as a literal is the one that made the array.
    """
    frames = [sys._getframe(2)]
    while (below := frames[-1].f_back) is not None:
        frames.append(below)
    for frame in frames:
        found = _statement(frame.f_code, frame.f_lineno)
        if found is not None and name.endswith(found[0]):
            return _in_package(frame.f_code), *found[1:]
    # Without sources, as in an application packed into one file, the line is that of the observation.
    frame = next(frame for frame in frames if frame.f_code.co_name != "<lambda>")
    return _in_package(frame.f_code), frame.f_lineno, ""


def _in_package(code: CodeType) -> str:
    """The file of a function: its path in the package, or its whole path where it is not of the package."""
    path = Path(code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else str(path)


@functools.cache
def _statement(code: CodeType, line: int) -> tuple[str, int, str] | None:
    """What stands on a line ``observe("name", array)``: the name, and line and text of what made the array.

    That is the last statement above it that writes to the array. None for a line without such a call.
    """
    try:
        lines, first = inspect.getsourcelines(code)
    except OSError:
        return None
    function = ast.parse(textwrap.dedent("".join(lines)))
    observed = line - first + 1
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    for statement in statements:
        match statement:
            case ast.Expr(ast.Call(ast.Name("observe"), [ast.Constant(str(name)), array])) if (
                statement.lineno == observed
            ):
                made = [s for s in statements if s.lineno < observed and ast.unparse(array) in _written(s)]
                last = max(made, key=lambda s: s.lineno)
                text = "".join(lines[last.lineno - 1 : last.end_lineno])
                return name, first + last.lineno - 1, textwrap.dedent(text).rstrip()
    return None


def _written(statement: ast.stmt) -> set[str]:
    """The expressions an assignment writes to, whole or in part: x += y and f(x)[:] = y both write to x."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        targets = [statement.target]
    else:
        targets = []
    return {
        ast.unparse(node) for target in targets for node in ast.walk(target) if isinstance(node, ast.expr)
    }
