"""Find the passages that answer a question, and write a language model's prompt around them.

retrieve.py FILE QUESTION
"""

import sys
import textwrap
from pathlib import Path

from minigte import Embedder

BUDGET = 250  # tokens of context that the prompt may hold

embedder = Embedder("thenlper/gte-small")
file, question = Path(sys.argv[1]), sys.argv[2]

# A passage is a paragraph with its heading in front, so that it says what it is about.
passages, heading = [], ""
for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
    if paragraph.startswith("#"):
        heading = paragraph.strip("# \n")
    else:
        passages.append(f"{heading}: {paragraph.strip()}")

[hits] = embedder.semantic_search([question], passages, top_k=10)

context, used = [], 0
for hit in hits:  # best first, until the budget is spent
    passage = passages[hit["corpus_id"]]
    used += embedder.count_tokens(passage)
    if used > BUDGET:
        break
    context.append(textwrap.fill(f"[{len(context) + 1}] {passage}", 100))

print("Answer the question from these passages alone, and name the passage.")
print("If they do not answer it, say so.\n")
print("\n".join(context))
print(f"\nQuestion: {question}")
