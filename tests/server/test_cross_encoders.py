"""Cross-encoders behind the routes that rerank and predict."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from running import Running, running

from minigte import CrossEncoder, QueueFullError, QueueTimeoutError
from minigte.server.limits import Limits
from minigte.server.models import Reranker

TEXTS = ["the cat sat", "a dog", "the mat", "a dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_cross_encoder(tmp_path_factory.mktemp("served") / "reranker")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_cross_encoder(tmp_path_factory.mktemp("served") / "labels", num_labels=3)


@pytest.fixture(scope="module")
def server(tiny_model: Path, folder: Path, labels: Path) -> Iterator[Running]:
    models = [part for path in (tiny_model, folder, labels) for part in ("--model", str(path))]
    with running(*models, "--alias", "rerank-v3.5=reranker") as server:
        yield server


@pytest.fixture(scope="module")
def model(folder: Path) -> CrossEncoder:
    return CrossEncoder(folder)


@pytest.mark.parametrize("name", [None, "reranker", "rerank-v3.5"])
def test_cohere(server: Running, model: CrossEncoder, name: str | None) -> None:
    body = {"query": "a cat", "documents": TEXTS, "top_n": 3, **({} if name is None else {"model": name})}
    answer = server.post("/v1/rerank", body)
    assert answer.headers["x-scored-by"] == answer.json()["meta"]["scored_by"] == "cross-encoder"
    assert "warnings" not in answer.json()["meta"]
    got = [(one["index"], one["relevance_score"]) for one in answer.json()["results"]]
    want = [(hit["corpus_id"], hit["score"]) for hit in model.rank("a cat", TEXTS, top_k=3)]
    assert got == [(place, pytest.approx(score, rel=1e-6)) for place, score in want]
    assert answer.json()["usage"]["total_tokens"] > len(TEXTS) * 3


def test_tei(server: Running, model: CrossEncoder) -> None:
    answer = server.post("/rerank", {"query": "a cat", "texts": TEXTS})
    assert answer.headers["x-scored-by"] == "cross-encoder"
    assert [one["index"] for one in answer.json()] == [hit["corpus_id"] for hit in model.rank("a cat", TEXTS)]
    answer = server.post("/rerank", {"query": "a cat", "texts": ["cat " * 99]})
    assert answer.status_code == 422
    assert "32" in answer.json()["error"]


def test_predict(server: Running, model: CrossEncoder) -> None:
    score = float(model.predict(("a cat", "a dog")))
    alone = server.post("/predict", {"inputs": ["a cat", "a dog"]}).json()
    assert alone == [{"score": pytest.approx(score, rel=1e-6), "label": "LABEL_0"}]
    pairs = [["a cat", "a dog"], ["a", "b"]]
    both = server.post("/predict", {"inputs": pairs}).json()
    assert both[0] == alone
    assert len(both) == 2
    raw = server.post("/predict", {"inputs": pairs, "raw_scores": True}).json()
    assert raw[0][0]["score"] == pytest.approx(float(model.predict(pairs, activation_fn=lambda x: x)[0]))
    assert server.post("/predict", {"inputs": "a cat"}).status_code == 422


def test_cross_encoders_are_listed(server: Running, folder: Path) -> None:
    listed = [card["id"] for card in server.get("/v1/models").json()["data"]]
    assert {"tiny", "reranker", "labels", "rerank-v3.5"} <= {Path(name).name for name in listed}
    assert server.get("/v1/models/reranker").json()["id"] == "reranker"


def test_where_only_cross_encoders_are_served(folder: Path) -> None:
    with running("--model", str(folder)) as server:
        assert len(server.get("/v1/models").json()["data"]) == 1
        assert server.get("/v1/models/nobody").status_code == 404
        answer = server.post("/v1/rerank", {"query": "a cat", "documents": TEXTS, "model": "nobody"})
        assert answer.status_code == 404
        assert "reranker" in answer.json()["message"]


def test_who_waits_for_too_long_is_given_up(folder: Path) -> None:
    """One thread reads and scores, and is kept busy here."""
    limits = Limits(max_queue_tokens=60, max_queue_seconds=0.2)
    reranker = Reranker("reranker", CrossEncoder(folder), limits)
    free = threading.Event()

    async def main() -> list[object]:
        reranker._threads.submit(free.wait)
        calls = (reranker.score("a cat", ["cat " * 50], truncate=True) for _ in range(6))
        try:
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            free.set()

    kinds = [type(result) for result in asyncio.run(main())]
    scores, _ = asyncio.run(reranker.score("a cat", TEXTS, truncate=True))
    reranker.close()
    assert kinds == [QueueTimeoutError] + [QueueFullError] * 5
    assert len(scores) == len(TEXTS)


def test_the_other_models(server: Running) -> None:
    answer = server.post("/v1/rerank", {"query": "a cat", "documents": TEXTS, "model": "tiny"})
    assert answer.headers["x-scored-by"] == "bi-encoder"
    answer = server.post("/v1/rerank", {"query": "a cat", "documents": TEXTS, "model": "labels"})
    assert answer.status_code == 424
    answer = server.post("/v1/rerank", {"query": "a cat", "documents": TEXTS, "model": "nobody"})
    assert answer.status_code == 404
    assert "reranker" in answer.json()["message"]
    assert server.post("/v1/embeddings", {"input": "a", "model": "tiny"}).status_code == 200


@pytest.fixture(scope="module")
def alone(folder: Path) -> Iterator[Running]:
    with running("--model", str(folder)) as server:
        yield server


def test_a_cross_encoder_alone_ranks(alone: Running, model: CrossEncoder) -> None:
    want = [hit["corpus_id"] for hit in model.rank("a cat", TEXTS)]
    assert [one["index"] for one in alone.post("/rerank", {"query": "a cat", "texts": TEXTS}).json()] == want
    for name in ({}, {"model": "reranker"}):
        answer = alone.post("/v1/rerank", {"query": "a cat", "documents": TEXTS, **name})
        assert [one["index"] for one in answer.json()["results"]] == want
    assert alone.post("/predict", {"inputs": ["a cat", "a dog"]}).status_code == 200
    assert alone.get("/health").status_code == 200
    assert alone.get("/openapi.json").status_code == 200


def test_a_cross_encoder_alone_says_what_it_is(alone: Running) -> None:
    answer = alone.get("/info").json()
    assert answer["model_id"] == "reranker"
    assert answer["model_type"] == {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": "a"}),
        ("/v1/embeddings", {"input": "a", "model": "reranker"}),
        ("/v1/embeddings", {"input": "a", "model": "another"}),
        ("/api/embed", {"input": "a", "model": "reranker"}),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ],
)
def test_a_cross_encoder_alone_embeds_nothing(alone: Running, path: str, body: dict[str, object]) -> None:
    answer = alone.post(path, body)
    assert answer.status_code == 424
    for word in ("reranker", "/rerank", "embedding model"):
        assert word in answer.text


def test_a_cross_encoder_asked_to_embed(server: Running) -> None:
    answer = server.post("/v1/embeddings", {"input": "a", "model": "reranker"})
    assert answer.status_code == 424
    assert "reranker" in answer.json()["error"]["message"]
