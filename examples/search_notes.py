"""Search a folder of notes by meaning: search_notes.py FOLDER QUERY."""

import sys
import textwrap
from pathlib import Path

from minigte import Embedder

folder, query = Path(sys.argv[1]), sys.argv[2]

passages = []  # (file, paragraph), headings left out
for file in sorted(folder.rglob("*.md")):
    paragraphs = file.read_text(encoding="utf-8").split("\n\n")
    passages += [(file, text.strip()) for text in paragraphs if not text.startswith("#")]

embedder = Embedder("thenlper/gte-small")
[hits] = embedder.semantic_search([query], [text for _, text in passages], top_k=3)

for hit in hits:
    file, text = passages[hit["corpus_id"]]
    print(f"{hit['score']:.2f}  {file.relative_to(folder)}: {textwrap.shorten(text, 80)}")
