"""English texts that every Python carries, as a corpus for the notebooks: nothing to download.

They are other texts in another version of Python, and a few differ from one release to the next.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

# Not the library itself: its tests, its editor, and what pip has installed beside it.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"}

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
PROSE = re.compile(r"[A-Z][\w\s.,;:'\"()-]+\.")


def docstrings() -> dict[str, str]:
    """The documentation strings of the standard library's public names: {"gzip.open": text, ...}.

    Read from the source files without running them; where several names share a text, the first has it.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, str] = {}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if LEFT_OUT.isdisjoint(parts):
            name = ".".join(parts).removesuffix(".__init__")
            found.update(_documented(ast.parse(path.read_bytes()), name))
    first = {text: name for name, text in reversed(found.items())}
    return {name: text for name, text in found.items() if first[text] == name and _is_public(name)}


def sentences() -> list[str]:
    """Different sentences of the language reference, those of 8 to 30 words that are plain prose, sorted."""
    found = set()
    for topic in topics.values():
        for paragraph in topic.split("\n\n"):
            if not paragraph.startswith("    "):  # those that are indented are code
                found.update(SENTENCE_END.split(" ".join(paragraph.split())))
    return sorted(s for s in found if 8 <= len(s.split()) <= 30 and PROSE.fullmatch(s))


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    """(name, docstring) of a module, class or function, and of what is defined in it."""
    text = ast.get_docstring(node)
    if text:
        yield name, text
    if not isinstance(node, ast.FunctionDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield from _documented(child, f"{name}.{child.name}")


def _is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))
