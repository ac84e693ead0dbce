"""The code blocks of Markdown files, run: what a page shows is what its reader gets."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np

# A program, and what it prints: two blocks that follow each other.
EXAMPLE = re.compile(r"^```python\n((?:(?!```).*\n)+)```\n\n```text\n((?:(?!```).*\n)+)```$", re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Every fenced block: its language and its text."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_python(page: Path) -> tuple[int, str]:
    """Run the ``>>>`` examples of a page's python blocks, in one namespace from top to bottom.

    Gives how many there were, and what differed from what the page shows, with the page's line numbers.
    """
    lines = []  # the page with all but its python blocks blanked, so that lines keep their numbers
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    test = doctest.DocTestParser().get_doctest("\n".join(lines) + "\n", {}, page.name, str(page), 0)
    output: list[str] = []
    with np.printoptions():  # a page may set them for itself
        doctest.DocTestRunner().run(test, out=output.append)
    return len(test.examples), "".join(output)
