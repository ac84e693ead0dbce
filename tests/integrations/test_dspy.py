"""An Embedder inside DSPy, which takes any callable: `make test-integrations`."""

from __future__ import annotations

import pytest

from minigte import Embedder

dspy = pytest.importorskip("dspy", reason="dspy is missing: make test-integrations")

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


def test_embedder_and_retriever(small: Embedder) -> None:
    embedder = dspy.Embedder(small.encode, caching=False)
    assert (embedder(TEXTS) == small.encode(TEXTS)).all()
    [hits] = small.semantic_search("the cat", TEXTS, 2, prompt="")
    search = dspy.retrievers.Embeddings(embedder=embedder, corpus=TEXTS, k=2, callbacks=[], cache=False)
    assert search("the cat").passages == [TEXTS[hit["corpus_id"]] for hit in hits]
