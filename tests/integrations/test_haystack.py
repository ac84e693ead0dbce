"""minigte inside Haystack: `make test-integrations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from minigte import Embedder, InputError

pytest.importorskip("haystack", reason="haystack-ai is missing: make test-integrations")

from haystack import Document, Pipeline
from haystack.components.retrievers import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from minigte.integrations.haystack import (
    MinigteDocumentEmbedder,
    MinigteRanker,
    MinigteTextEmbedder,
)

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


def test_vectors_are_those_of_the_embedder(folder: Path, small: Embedder) -> None:
    documents = [Document(content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]
    [*embedded] = MinigteDocumentEmbedder(str(folder)).run(documents)["documents"]
    assert [one.embedding for one in embedded] == small.encode_document(TEXTS).tolist()
    assert [(one.id, one.content, one.meta) for one in embedded] == [
        (one.id, one.content, one.meta) for one in documents
    ]
    assert documents[0].embedding is None
    found = MinigteTextEmbedder(str(folder)).run("a dog")["embedding"]
    assert found == small.encode_query("a dog").tolist()


def test_fields_of_the_metadata(folder: Path, small: Embedder) -> None:
    embedder = MinigteDocumentEmbedder(str(folder), meta_fields_to_embed=["title", "none"])
    document = Document(content="a dog", meta={"title": "the cat", "none": None})
    assert (
        embedder.run([document])["documents"][0].embedding == small.encode_document("the cat\na dog").tolist()
    )


def test_a_pipeline_is_saved_and_loaded(folder: Path, small: Embedder) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    indexing = Pipeline()
    indexing.add_component("embedder", MinigteDocumentEmbedder(str(folder)))
    store.write_documents(
        indexing.run({"embedder": {"documents": [Document(content=text) for text in TEXTS]}})["embedder"][
            "documents"
        ]
    )
    search = Pipeline()
    search.add_component("embedder", MinigteTextEmbedder(str(folder)))
    search.add_component("ranker", MinigteRanker(str(folder), top_k=2))
    again = Pipeline.loads(search.dumps(), allowed_modules=["minigte.integrations.haystack"])
    again.add_component("retriever", InMemoryEmbeddingRetriever(store))
    again.connect("embedder.embedding", "retriever.query_embedding")
    again.connect("retriever.documents", "ranker.documents")
    result = again.run({"embedder": {"text": "the cat"}, "ranker": {"query": "the cat"}})
    [hits] = small.semantic_search("the cat", TEXTS, 2)
    found = result["ranker"]["documents"]
    assert [one.content for one in found] == [TEXTS[hit["corpus_id"]] for hit in hits]
    assert [one.score for one in found] == [hit["score"] for hit in hits]


@pytest.mark.parametrize("component", [MinigteTextEmbedder, MinigteDocumentEmbedder, MinigteRanker])
def test_to_dict(component: type, folder: Path) -> None:
    given = {"model": str(folder)} if component is MinigteRanker else {
        "model": str(folder), "model_kwargs": {"truncate_dim": 8}
    }  # fmt: skip
    saved = component(**given).to_dict()
    assert saved["init_parameters"].items() >= given.items()
    assert component.from_dict(saved).to_dict() == saved


def test_what_is_taken_for_the_other_is_refused(folder: Path, small: Embedder) -> None:
    with pytest.raises(InputError, match="MinigteDocumentEmbedder"):
        MinigteTextEmbedder(str(folder)).run([Document(content="a")])
    with pytest.raises(InputError, match="MinigteTextEmbedder"):
        MinigteDocumentEmbedder(str(folder)).run("a")
    with pytest.raises(InputError, match="name"):
        MinigteRanker(small).to_dict()
