"""minigte inside LlamaIndex: `make test-integrations`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minigte import Embedder, InputError

pytest.importorskip("llama_index.core", reason="llama-index-core is missing: make test-integrations")

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode

from minigte.integrations.llama_index import MinigteEmbedding, MinigteRerank

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


@pytest.fixture(scope="module")
def embedding(folder: Path) -> MinigteEmbedding:
    return MinigteEmbedding(folder)


def test_vectors_are_those_of_the_embedder(embedding: MinigteEmbedding, small: Embedder) -> None:
    assert embedding.get_text_embedding_batch(TEXTS) == small.encode_document(TEXTS).tolist()
    assert embedding.get_text_embedding(TEXTS[1]) == small.encode_document(TEXTS[1]).tolist()
    assert embedding.get_query_embedding(TEXTS[1]) == small.encode_query(TEXTS[1]).tolist()


def test_async_gives_the_same(embedding: MinigteEmbedding) -> None:
    async def query_and_texts() -> list:
        return await asyncio.gather(
            embedding.aget_query_embedding(TEXTS[0]), embedding.aget_text_embedding_batch(TEXTS)
        )

    expected = [embedding.get_query_embedding(TEXTS[0]), embedding.get_text_embedding_batch(TEXTS)]
    assert asyncio.run(query_and_texts()) == expected


def test_what_is_saved_makes_the_same_again(folder: Path) -> None:
    first = MinigteEmbedding(folder, model_kwargs={"truncate_dim": 8})
    again = MinigteEmbedding.from_dict(first.to_dict())
    assert again.model_name == str(folder)
    assert again.get_text_embedding("a cat") == first.get_text_embedding("a cat")
    assert len(again.get_text_embedding("a cat")) == 8


def test_an_index_finds_and_reranks(embedding: MinigteEmbedding, small: Embedder) -> None:
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=embedding)
    [hits] = small.semantic_search("the cat", TEXTS, 3)
    found = index.as_retriever(similarity_top_k=3).retrieve("the cat")
    assert [node.text for node in found] == [TEXTS[hit["corpus_id"]] for hit in hits]
    reranked = MinigteRerank(model=small, top_n=2).postprocess_nodes(found, query_str="the cat")
    assert [node.text for node in reranked] == [TEXTS[hit["corpus_id"]] for hit in hits][:2]
    assert [node.score for node in reranked] == pytest.approx([hit["score"] for hit in hits][:2])


def test_a_reranker_needs_a_query(small: Embedder) -> None:
    with pytest.raises(InputError, match="query_str"):
        MinigteRerank(model=small).postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])
