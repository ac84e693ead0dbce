"""Find lines of a file that ask or say the same: find_duplicates.py FILE."""

import sys
from pathlib import Path

import numpy as np

from minigte import Embedder

ALIKE = 0.87  # choose it on a sample of your own texts: lower finds more, and more that are none

lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()

embedder = Embedder("thenlper/gte-small")
vectors = embedder.encode(lines)  # (B, D)
scores = embedder.similarity(vectors, vectors)  # (B, B)

pairs = np.argwhere(np.triu(scores > ALIKE, k=1))  # each pair once, and no line with itself
for i, j in sorted(pairs, key=lambda pair: -scores[tuple(pair)]):
    print(f"{scores[i, j]:.2f}  {lines[i]}  =  {lines[j]}")
