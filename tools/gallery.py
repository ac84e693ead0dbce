"""Write the pages of `minigte explain` that docs/gallery.md shows: tools/gallery.py FOLDER.

`make docs` runs it. The model is MINIGTE_MODEL, or thenlper/gte-small from a cache or a download.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from minigte import Embedder
from minigte.explain.page import page


class Recording(NamedTuple):
    """One or two texts, and the head at which their page opens."""

    texts: tuple[str, ...]
    layer: int
    head: int


RECORDINGS = {
    "capital": Recording(("what is the capital of China?", "Beijing is the capital of China."), 11, 0),
    "bank": Recording(("The bank of the river was steep.", "The bank raised its interest rates."), 0, 4),
    "film": Recording(("I liked the film.", "I did not like the film."), 11, 0),
    "keys": Recording(("The keys to the cabinet are on the table.",), 2, 3),
    "pieces": Recording(("The embeddings are good.",), 4, 1),
}


def write(folder: Path) -> dict[str, Path]:
    """Write all pages into a folder, which is made; gives their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    embedder = Embedder(os.environ.get("MINIGTE_MODEL", "thenlper/gte-small"), backend="numpy")
    paths = {}
    for name, (texts, layer, head) in RECORDINGS.items():
        explained = embedder.explain(texts[0]) if len(texts) == 1 else embedder.explain_similarity(*texts)
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(page(explained, layer=layer, head=head), encoding="utf-8")
    return paths


if __name__ == "__main__":
    write(Path(sys.argv[1]))
