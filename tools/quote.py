"""Write the code, tables and outputs that Markdown pages quote into them: ``make quotes``.

    tools/quote.py                    all pages of docs/
    tools/quote.py docs/3-*.md        these

A page marks what it quotes with two comments, and this program writes what belongs between them:

    <!-- quote minigte/reference/ops.py softmax -->
    <!-- end of quote -->

The path starts at the repository's root. A name, such as ``Helpers.offer``, is a function, class, method or
assignment of a Python file; without one the whole file is quoted. Markdown comes in as it is, everything else
as a block of code. So a page shows the same where the repository is browsed, in an editor and on the site,
and tests/test_docs.py sees that it is current.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUOTE = re.compile(
    r"^<!-- quote (?P<path>\S+)(?: (?P<name>[\w.]+))? -->\n(?:.*?\n)??<!-- end of quote -->$",
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {".py": "python", ".json": "json", ".yml": "yaml"}  # by suffix; all others are plain text


def quoted(page: str) -> str:
    """The page with every quotation as the files are now.

    Raises ValueError where a quotation is not closed, and LookupError where what is quoted is not there.
    """
    if len(QUOTE.findall(page)) != page.count("<!-- quote "):
        raise ValueError("a quotation has no <!-- end of quote -->, or its first line is malformed")
    return QUOTE.sub(_quotation, page)


def _quotation(match: re.Match[str]) -> str:
    path, name = ROOT / match["path"], match["name"]
    if not path.is_file():
        raise LookupError(f"{match['path']}, which is quoted, is not there")
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        code = textwrap.dedent(definition(text, name, match["path"]) if name else text).strip("\n")
        title = f"# {match['path']}\n" if path.suffix == ".py" else ""
        text = f"```{LANGUAGES.get(path.suffix, 'text')}\n{title}{code}\n```\n"
    first = match[0].partition("\n")[0]
    return f"{first}\n{text.rstrip()}\n<!-- end of quote -->"


def definition(source: str, name: str, path: str) -> str:
    """The lines that define ``name``, decorators included."""
    nodes: list[ast.stmt] = ast.parse(source).body
    found: ast.stmt | None = None
    for part in name.split("."):
        found = next((node for node in nodes if part in _names(node)), None)
        if found is None:
            raise LookupError(f"{path} has no {name}, which is quoted")
        nodes = found.body if isinstance(found, ast.ClassDef) else []
    assert found is not None  # a name has at least one part
    decorators = getattr(found, "decorator_list", [])
    first = min([found.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(source.splitlines()[first - 1 : found.end_lineno])


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def main() -> None:
    """Rewrite the pages that are not current."""
    pages = [Path(argument) for argument in sys.argv[1:]] or sorted((ROOT / "docs").glob("*.md"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        try:
            current = quoted(text)
        except (ValueError, LookupError) as error:
            sys.exit(f"quote: error: {page}: {error}")
        if current != text:
            page.write_text(current, encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main()
