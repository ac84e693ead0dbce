"""Sort messages into given classes, learnt from 16 examples of each: classify.py FILE MESSAGE..."""

import sys
from collections import defaultdict
from pathlib import Path

from sklearn.linear_model import LogisticRegression

from minigte import Embedder

EXAMPLES = 16  # of each class; the others are for the test

by_class = defaultdict(list)
for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    label, text = line.split("\t")
    by_class[label].append(text)

embedder = Embedder("thenlper/gte-small")


def vectors_and_labels(part):
    """The vectors of a part of each class's texts, and the class of each."""
    texts = [(text, label) for label, texts in by_class.items() for text in texts[part]]
    return embedder.encode([text for text, _ in texts]), [label for _, label in texts]


classifier = LogisticRegression(C=100, max_iter=1000).fit(*vectors_and_labels(slice(EXAMPLES)))
vectors, labels = vectors_and_labels(slice(EXAMPLES, None))
right = sum(classifier.predict(vectors) == labels)
print(f"{right} of {len(labels)} other messages are right")

messages = sys.argv[2:]
for message, label in zip(messages, classifier.predict(embedder.encode(messages)), strict=True):
    print(f"{label}: {message}")
