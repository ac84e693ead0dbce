"""minigte inside LangChain, and LangChain's own tests of embeddings: `make test-integrations`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import tiny

from minigte import CrossEncoder, Embedder

pytest.importorskip("langchain_tests", reason="langchain-tests is missing: make test-integrations")

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from minigte.integrations.langchain import MinigteEmbeddings, MinigteReranker

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


class _OnTiny:
    """LangChain's suite wants properties; the folder is a fixture."""

    @pytest.fixture(autouse=True)
    def _model(self, folder: Path) -> None:
        type(self).folder = folder

    @property
    def embeddings_class(self) -> type[MinigteEmbeddings]:
        return MinigteEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        return {"model": self.folder}


class TestUnit(_OnTiny, EmbeddingsUnitTests):
    pass


class TestIntegration(_OnTiny, EmbeddingsIntegrationTests):
    @pytest.fixture
    def model(self, _model: None) -> MinigteEmbeddings:
        return MinigteEmbeddings(self.folder)


def test_vectors_are_those_of_the_embedder(small: Embedder) -> None:
    embeddings = MinigteEmbeddings(small)
    assert embeddings.embed_documents(TEXTS) == small.encode_document(TEXTS).tolist()
    assert embeddings.embed_query(TEXTS[0]) == small.encode_query(TEXTS[0]).tolist()
    assert embeddings.embed_documents([]) == []
    assert embeddings.embed_documents(TEXTS[:1]) != [embeddings.embed_query(TEXTS[0])]  # the prompts differ


def test_async_gives_the_same(small: Embedder) -> None:
    embeddings = MinigteEmbeddings(small)

    async def both() -> tuple[list[list[float]], list[float]]:
        return await asyncio.gather(embeddings.aembed_documents(TEXTS), embeddings.aembed_query(TEXTS[1]))

    assert asyncio.run(both()) == [embeddings.embed_documents(TEXTS), embeddings.embed_query(TEXTS[1])]


def test_a_vector_store_finds_what_semantic_search_finds(small: Embedder) -> None:
    store = InMemoryVectorStore.from_texts(TEXTS, MinigteEmbeddings(small))
    [hits] = small.semantic_search("the cat", TEXTS, 3)
    found = store.similarity_search_with_score("the cat", k=3)
    assert [document.page_content for document, _ in found] == [TEXTS[hit["corpus_id"]] for hit in hits]
    assert [score for _, score in found] == pytest.approx([hit["score"] for hit in hits], abs=1e-6)


class Longest:
    """Ranks as a CrossEncoder would, by a rule that no Embedder has: the longest document is the best."""

    def rank(self, query: str, documents: list[str], *, top_k: int | None = None) -> list[dict]:
        best = sorted(range(len(documents)), key=lambda place: -len(documents[place]))
        return [{"corpus_id": place, "score": float(len(documents[place]))} for place in best[:top_k]]


def test_reranker(small: Embedder) -> None:
    documents = [Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    [hits] = small.semantic_search("a dog", TEXTS, 2)
    found = MinigteReranker(model=small, top_n=2).compress_documents(documents, "a dog")
    assert [document.metadata["n"] for document in found] == [hit["corpus_id"] for hit in hits]
    assert [document.metadata["relevance_score"] for document in found] == [hit["score"] for hit in hits]
    assert "relevance_score" not in documents[0].metadata
    assert MinigteReranker(model=small).compress_documents([], "a dog") == []


def test_reranker_with_what_ranks_itself() -> None:
    documents = [Document(text) for text in TEXTS]
    found = MinigteReranker(model=Longest(), top_n=None).compress_documents(documents, "x")
    assert [document.page_content for document in found] == sorted(TEXTS, key=len, reverse=True)
    assert found[0].metadata["relevance_score"] == len(found[0].page_content)


def test_reranker_with_a_cross_encoder(tmp_path: Path) -> None:
    model = CrossEncoder(tiny.write_cross_encoder(tmp_path))
    documents = [Document(text) for text in TEXTS]
    found = MinigteReranker(model=model, top_n=2).compress_documents(documents, "a dog")
    expected = model.rank("a dog", TEXTS, top_k=2)
    assert [document.page_content for document in found] == [TEXTS[hit["corpus_id"]] for hit in expected]
    assert [document.metadata["relevance_score"] for document in found] == [hit["score"] for hit in expected]


def test_what_ranks_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="model"):
        MinigteReranker(model="thenlper/gte-small")
