"""Search by words and by meaning, and join both rankings: hybrid_search.py FILE QUERY...

BM25 finds exact words, such as the number of an error. Vectors find what is said in other words. Reciprocal
rank fusion (Cormack, Clarke & Büttcher 2009) joins the two: a text gets 1 / (60 + rank) from each ranking.
"""

import sys
from pathlib import Path

import bm25s
import numpy as np

from minigte import Embedder

# A passage is a paragraph with its heading in front, so that it says what it is about.
passages, heading = [], ""
for paragraph in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n\n"):
    if paragraph.startswith("#"):
        heading = paragraph.strip("# \n")
    else:
        passages.append(f"{heading}: {paragraph.strip()}")

embedder = Embedder("thenlper/gte-small")
vectors = embedder.encode_document(passages)  # (B, D)
words = bm25s.BM25()
words.index(bm25s.tokenize(passages, stopwords="en", show_progress=False), show_progress=False)


def ranks(scores):
    """The rank of each passage, 1 for the best; one without any score has none: (B,) -> (B,)."""
    ranks = np.argsort(np.argsort(-scores, kind="stable")) + 1.0
    return np.where(scores > 0, ranks, np.inf)


for query in sys.argv[2:]:
    [tokens] = bm25s.tokenize([query], stopwords="en", return_ids=False, show_progress=False)
    by_words = ranks(words.get_scores(tokens))
    by_meaning = ranks(embedder.similarity(embedder.encode_query(query), vectors)[0])
    fused = 1 / (60 + by_words) + 1 / (60 + by_meaning)
    print(f"{query}\nwords  meaning")
    for i in np.argsort(-fused, kind="stable")[:3]:
        word_rank = f"{by_words[i]:.0f}" if by_words[i] < np.inf else "-"
        print(f"{word_rank:>5}  {by_meaning[i]:7.0f}  {passages[i][:76]}")
