"""What each API answers, and how each says what is wrong, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest
from running import running

from minigte.vectors.pooling import normalize

TEXTS = ["the cat sat on the mat", "a dog", "run"]
LONG = "cat " * 100  # the tiny model reads 32 tokens


def floats(answer) -> np.ndarray:
    return np.array(answer, np.float32)


def openai_vectors(answer) -> np.ndarray:
    data = answer.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return np.stack(
        [
            np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
            if isinstance(item["embedding"], str)
            else floats(item["embedding"])
            for item in data
        ]
    )


def ids_of(embedder, text):
    return embedder.tokenize(text)["input_ids"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
@pytest.mark.parametrize("form", ["float", "base64"])
def test_openai_embeddings_have_the_librarys_bits(tiny_server, tiny_embedder, path, form):
    right = tiny_embedder.encode(TEXTS)
    for given in (
        TEXTS,
        [ids_of(tiny_embedder, text) for text in TEXTS],
        TEXTS[0],
        ids_of(tiny_embedder, TEXTS[0]),
    ):
        answer = tiny_server.post(
            path, {"input": given, "model": "tiny", "encoding_format": form, "user": "me"}
        )
        assert answer.status_code == 200
        vectors = openai_vectors(answer)
        np.testing.assert_array_equal(vectors, right[: len(vectors)])
        body = answer.json()
        count = sum(tiny_embedder.count_tokens(TEXTS[: len(vectors)]))
        assert body["usage"] == {"prompt_tokens": count, "total_tokens": count}
        assert (body["object"], body["model"]) == ("list", "tiny")
    assert len(answer.headers["x-request-id"]) == 16


def test_openai_dimensions_are_cut_and_scaled(tiny_server, tiny_embedder):
    answer = tiny_server.post("/v1/embeddings", {"input": TEXTS, "model": "tiny", "dimensions": 7})
    right = tiny_embedder.encode(TEXTS, truncate_dim=7, normalize_embeddings=True)
    np.testing.assert_array_equal(openai_vectors(answer), right)


def test_openai_models(tiny_server):
    listed = tiny_server.get("/v1/models").json()
    assert [card["id"] for card in listed["data"]] == ["tiny", "text-embedding-3-small"]
    assert tiny_server.get("/v1/models/tiny").json()["object"] == "model"
    assert tiny_server.get("/v1/models/other/one").status_code == 404
    assert tiny_server.get("/v1/models/{model:path}").status_code == 404  # as the route is written


def test_a_parameter_is_called_as_its_route_says(tiny_embedder):
    from minigte.server.apis.openai import API
    from minigte.server.app import create_app
    from minigte.server.endpoint import Endpoint
    from minigte.server.openapi import document
    from minigte.server.service import Service

    async def show(call) -> bytes:
        return json.dumps(call.path_params).encode()

    routes = [Endpoint(API, "GET", "/things/{thing:path}", show, "Show a thing", dict[str, str])]
    app = create_app({"tiny": tiny_embedder})
    service = Service(routes, app.models, app.metrics, app.limits)

    async def ask():
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return (await client.get("/things/one/two")).json()

    try:
        assert asyncio.run(ask()) == {"thing": "one/two"}
    finally:
        app.close()
    documented = json.loads(document(routes, app.models, app.limits, has_keys=False))
    [parameter] = documented["paths"]["/things/{thing}"]["get"]["parameters"]
    assert parameter["name"] == "thing"


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        ({"input": "a"}, 400, "invalid_type", "model"),
        ({"model": "tiny"}, 400, "invalid_type", "input"),
        ({"model": "tiny", "input": 3}, 400, "invalid_type", "input"),
        ({"model": "tiny", "input": None}, 400, "invalid_type", "input"),
        ({"model": "tiny", "input": ""}, 400, "empty", "input"),
        ({"model": "tiny", "input": []}, 400, "empty", "input"),
        ({"model": "tiny", "input": ["a", ""]}, 400, "empty", "input[1]"),
        ({"model": "tiny", "input": ["a", 3]}, 400, "mixed_input", "input"),
        ({"model": "tiny", "input": ["a", [2, []]]}, 400, "invalid_type", "input"),
        ({"model": "tiny", "input": "a", "dimensions": 0}, 400, "invalid_type", "dimensions"),
        ({"model": "tiny", "input": "a", "dimensions": 21}, 400, "invalid_dimensions", "20"),
        ({"model": "tiny", "input": "a", "encoding_format": "hex"}, 400, "invalid_type", "encoding_format"),
        ({"model": "nothing", "input": "a"}, 404, "model_not_found", "tiny"),
        ({"model": "../tiny", "input": "a"}, 404, "model_not_found", "tiny"),
        ({"model": "tiny", "input": ["a", LONG]}, 400, "context_length_exceeded", "input[1]` has 102 tokens"),
        ({"model": "tiny", "input": ["a"] * 2049}, 413, "too_many_texts", "2048"),
        ({"model": "tiny", "input": [1, 2, 3]}, 400, "foreign_token_ids", "check_embedding_ctx_length"),
        ({"model": "tiny", "input": [2, 99999, 3]}, 400, "foreign_token_ids", "/tokenize"),
        ({"model": "tiny", "input": [2, -5, 3]}, 400, "foreign_token_ids", "/tokenize"),
        ({"model": "tiny", "input": [2, *[7] * 50, 3]}, 400, "context_length_exceeded", "52"),
        (
            {"model": "text-embedding-3-small", "input": [9906, 1917]},
            400,
            "foreign_token_ids",
            "--cl100k-base",
        ),
    ],
)
def test_openai_errors(tiny_server, body, status, code, named):
    answer = tiny_server.post("/v1/embeddings", body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert named in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"input": "\\ud800", "model": "tiny"}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed", "/api/embed", "/v1/rerank"])
def test_what_is_no_json_of_the_right_form(tiny_server, content, path):
    answer = tiny_server.client.post(path, content=content)
    assert answer.status_code in (400, 422)
    assert answer.json()


def test_tei_embed(tiny_server, tiny_embedder):
    right = tiny_embedder.encode(TEXTS)
    for path in ("/embed", "/"):
        np.testing.assert_array_equal(floats(tiny_server.post(path, {"inputs": TEXTS}).json()), right)
    np.testing.assert_array_equal(floats(tiny_server.post("/embed", {"inputs": TEXTS[0]}).json()), right[:1])
    named = tiny_server.post("/embed", {"inputs": TEXTS, "prompt_name": "query"}).json()
    np.testing.assert_array_equal(floats(named), tiny_embedder.encode(TEXTS, prompt_name="query"))
    with_ids = tiny_server.post(
        "/embed", {"inputs": [TEXTS[0], ids_of(tiny_embedder, TEXTS[1])], "dimensions": 5}
    ).json()
    cut = tiny_embedder.encode(TEXTS[:2], truncate_dim=5, normalize_embeddings=True)
    np.testing.assert_array_equal(floats(with_ids), cut)


def test_tei_without_the_norm(tiny_server, tiny_embedder):
    got = floats(tiny_server.post("/embed", {"inputs": TEXTS, "normalize": False}).json())
    assert not np.allclose(np.linalg.norm(got, axis=1), 1, atol=0.01)
    np.testing.assert_allclose(normalize(got), tiny_embedder.encode(TEXTS), atol=1e-6)


def test_tei_truncation(tiny_server, tiny_embedder):
    text = "cat " * 40 + "dog " * 40
    refused = tiny_server.post("/embed", {"inputs": ["a", text]})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "Validation")
    assert "inputs[1]` has 82 tokens" in refused.json()["error"]
    right = tiny_server.post("/embed", {"inputs": text, "truncate": True})
    assert right.headers["x-truncated-texts"] == "1"
    np.testing.assert_array_equal(floats(right.json())[0], tiny_embedder.encode(text, truncation="ignore"))
    left = tiny_server.post("/embed", {"inputs": text, "truncate": True, "truncation_direction": "Left"})
    np.testing.assert_array_equal(floats(left.json())[0], tiny_embedder.encode("dog " * 30))
    ids = [2, *tiny_embedder.tokenize("cat dog")["input_ids"][1:-1] * 40, 3]
    for direction, kept in (("right", [*ids[:31], 3]), ("left", [2, *ids[-31:]])):
        body = {"inputs": ids, "truncate": True, "truncation_direction": direction}
        got = tiny_server.post("/embed", body).json()
        assert got == tiny_server.post("/embed", {"inputs": kept}).json()


def test_tei_embed_all(tiny_server, tiny_embedder):
    answer = tiny_server.post("/embed_all", {"inputs": TEXTS}).json()
    for got, right in zip(answer, tiny_embedder.encode(TEXTS, output_value="token_embeddings"), strict=True):
        np.testing.assert_array_equal(floats(got), right)


def test_tei_similarity(tiny_server, tiny_embedder):
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}}
    vectors = tiny_embedder.encode(TEXTS)
    got = floats(tiny_server.post("/similarity", body).json())
    np.testing.assert_allclose(got, vectors[1:] @ vectors[0], atol=1e-6)
    assert len(tiny_server.post("/similarity", body | {"parameters": {"truncate": True}}).json()) == 2


def test_tei_tokenize_and_decode(tiny_server, tiny_embedder):
    text = "the 中 cats"
    answer = tiny_server.post("/tokenize", {"inputs": [text, "a"]}).json()
    assert [token["id"] for token in answer[0]] == ids_of(tiny_embedder, text)
    assert answer[0][0] == {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None}
    for token in answer[0][1:-1]:
        assert text.encode()[token["start"] : token["stop"]].decode() == token["text"]
    bare = tiny_server.post("/tokenize", {"inputs": text, "add_special_tokens": False}).json()
    assert [token["id"] for token in bare[0]] == ids_of(tiny_embedder, text)[1:-1]
    ids = ids_of(tiny_embedder, "the cat")
    assert tiny_server.post("/decode", {"ids": ids}).json() == ["the cat"]
    assert (
        tiny_server.post("/decode", {"ids": [ids, ids], "skip_special_tokens": False}).json()
        == ["[CLS] the cat [SEP]"] * 2
    )
    assert len(tiny_server.post("/tokenize", {"inputs": LONG}).json()[0]) == 102


def test_tei_rerank_by_the_bi_encoder(tiny_server, tiny_embedder):
    answer = tiny_server.post("/rerank", {"query": "a cat", "texts": TEXTS, "return_text": True})
    assert answer.headers["x-scored-by"] == "bi-encoder"
    query, texts = tiny_embedder.encode_query("a cat"), tiny_embedder.encode_document(TEXTS)
    scores = tiny_embedder.similarity(query, texts)[0]
    assert [rank["index"] for rank in answer.json()] == list(np.argsort(-scores, kind="stable"))
    for rank in answer.json():
        assert rank["text"] == TEXTS[rank["index"]]
        assert np.float32(rank["score"]) == pytest.approx(scores[rank["index"]], abs=1e-6)


def test_tei_info_and_health(tiny_server):
    info = tiny_server.get("/info").json()
    assert (info["model_id"], info["max_input_length"], info["model_dtype"]) == ("tiny", 32, "float32")
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    for path in ("/health", "/ping", "/"):
        assert tiny_server.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": ""}, 400, "Empty"),
        ("/embed", {"inputs": ["a", ""]}, 400, "Empty"),
        ("/embed", {}, 422, "Validation"),
        ("/embed", {"inputs": "a", "prompt_name": "nothing"}, 422, "Validation"),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "Validation"),
        ("/embed", {"inputs": ["a"] * 2049}, 413, "Validation"),
        ("/embed", {"inputs": [1, 2]}, 422, "Validation"),
        ("/embed_all", {"inputs": LONG}, 422, "Validation"),
        ("/rerank", {"query": "a", "texts": []}, 422, "Validation"),
        ("/rerank", {"query": "a", "texts": [LONG]}, 422, "Validation"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 422, "Validation"),
        ("/predict", {"inputs": "a"}, 424, "Backend"),
        ("/tokenize", {"inputs": []}, 400, "Empty"),
        ("/tokenize", {"inputs": "a" * 1_100_000}, 413, "Validation"),
        ("/decode", {"ids": []}, 400, "Empty"),
        ("/decode", {"ids": [1, [2]]}, 422, "Validation"),
        ("/decode", {"ids": [10**6]}, 422, "Validation"),
        ("/decode", {"ids": [-1]}, 422, "Validation"),
    ],
)
def test_tei_errors(tiny_server, path, body, status, kind):
    answer = tiny_server.post(path, body)
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)
    assert set(answer.json()) == {"error", "error_type"}


def test_ollama(tiny_server, tiny_embedder):
    for name in ("tiny", "tiny:latest"):
        answer = tiny_server.post("/api/embed", {"model": name, "input": TEXTS}).json()
        np.testing.assert_array_equal(floats(answer["embeddings"]), tiny_embedder.encode(TEXTS))
        assert (answer["model"], answer["prompt_eval_count"]) == (
            name,
            sum(tiny_embedder.count_tokens(TEXTS)),
        )
    cut = tiny_server.post("/api/embed", {"model": "tiny", "input": TEXTS[0], "dimensions": 4}).json()
    right = tiny_embedder.encode(TEXTS[:1], truncate_dim=4, normalize_embeddings=True)
    np.testing.assert_array_equal(floats(cut["embeddings"]), right)
    old = tiny_server.post("/api/embeddings", {"model": "tiny", "prompt": TEXTS[0]}).json()
    np.testing.assert_array_equal(floats(old["embedding"]), tiny_embedder.encode(TEXTS[0]))
    # It cuts unless told not to, as Ollama does; the headers say so.
    long = tiny_server.post("/api/embed", {"model": "tiny", "input": LONG})
    assert long.headers["x-truncated-texts"] == "1"
    np.testing.assert_array_equal(
        floats(long.json()["embeddings"])[0], tiny_embedder.encode(LONG, truncation="ignore")
    )
    for nothing in ({"model": "tiny"}, {"model": "tiny", "input": ""}, {"model": "tiny", "input": []}):
        assert tiny_server.post("/api/embed", nothing).json()["embeddings"] == []
    tags = tiny_server.get("/api/tags").json()["models"]
    assert [tag["name"] for tag in tags] == ["tiny", "text-embedding-3-small"]
    assert len(tags[0]["digest"]) == 64
    assert tiny_server.get("/api/version").json()["version"].count(".") == 2


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"model": "nothing", "input": "a"}, 404, "nothing"),
        ({"input": "a"}, 400, "model"),
        ({"model": "tiny", "input": 3}, 400, "input"),
        ({"model": "tiny", "input": [3]}, 400, "input[0]"),
        ({"model": "tiny", "input": LONG, "truncate": False}, 400, "102 tokens"),
    ],
)
def test_ollama_errors(tiny_server, body, status, named):
    answer = tiny_server.post("/api/embed", body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert named in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_cohere_and_jina_rerank(tiny_server, tiny_embedder, path):
    documents = [TEXTS[0], {"text": TEXTS[1]}, TEXTS[2]]
    body = {"query": "a cat", "documents": documents, "model": "tiny", "top_n": 2, "return_documents": True}
    answer = tiny_server.post(path, body).json()
    scores = tiny_embedder.similarity(
        tiny_embedder.encode_query("a cat"), tiny_embedder.encode_document(TEXTS)
    )[0]
    order = np.argsort(-scores, kind="stable")[:2]
    assert [result["index"] for result in answer["results"]] == list(order)
    assert [result["document"]["text"] for result in answer["results"]] == [TEXTS[i] for i in order]
    assert answer["results"][0]["relevance_score"] == pytest.approx(scores[order[0]], abs=1e-6)
    assert "bi-encoder" in answer["meta"]["warnings"][0]
    assert answer["usage"]["total_tokens"] > 0
    for wrong in ({"query": "a"}, {"query": "", "documents": ["a"]}, {"query": "a", "documents": []}):
        refused = tiny_server.post(path, wrong)
        assert refused.status_code == 400
        assert refused.json()["message"]


def test_what_is_no_route_says_where_they_are(tiny_server):
    for path, key in (
        ("/nothing", "error"),
        ("/v1/nothing", "error"),
        ("/api/nothing", "error"),
        ("/v2/x", "message"),
    ):
        answer = tiny_server.get(path)
        assert answer.status_code == 404
        assert key in answer.json()
        assert "/docs" in answer.text
    wrong = tiny_server.get("/v1/embeddings")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_head_is_answered_wherever_get_is(tiny_server):
    answer = tiny_server.client.head("/v1/models")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(tiny_server.get("/v1/models").content)
    assert tiny_server.client.head("/embed").headers["allow"] == "POST"


def test_mounted_in_a_larger_application_it_answers_below_its_place(tiny_embedder):
    from minigte.server.app import create_app

    app = create_app({"tiny": tiny_embedder})

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app, root_path="/vectors")
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            paths = ("/vectors/v1/models", "/vectors/v1/models/tiny", "/vectors/nowhere")
            return [(await client.get(path)).status_code for path in paths]

    try:
        assert asyncio.run(ask()) == [200, 200, 404]
    finally:
        app.close()


def test_a_clients_own_request_id_comes_back_if_it_is_one(tiny_server):
    for given, kept in (("abc-123", True), ("x" * 129, False), ("a b", False), ("<script>", False)):
        answer = tiny_server.get("/health", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is kept


def test_the_page_of_routes_needs_no_network(tiny_server):
    page = tiny_server.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/v1/embeddings", "/embed", "/api/embed", "/v1/rerank", "/metrics"):
        assert f"<code>{path}</code>" in page.text
    assert "http://" not in page.text.replace("http://127.0.0.1:8080", "")
    assert "https://" not in page.text
    assert "<script" not in page.text


def test_several_models_and_their_names(tiny_model, tmp_path, tiny_embedder):
    import tiny

    from minigte import Embedder

    other = tiny.write_model(tmp_path / "other", seed=1)
    options = ["--model", str(tiny_model), "--model", str(other), "--alias", "text-embedding-ada-002=other"]
    with running(*options) as server:
        first, second = tiny_embedder.encode(TEXTS), Embedder(other).encode(TEXTS)
        for name, right in (("tiny", first), ("other", second), ("text-embedding-ada-002", second)):
            answer = server.post("/v1/embeddings", {"input": TEXTS, "model": name})
            np.testing.assert_array_equal(openai_vectors(answer), right)
            assert answer.json()["model"] == name
        np.testing.assert_array_equal(floats(server.post("/embed", {"inputs": TEXTS}).json()), first)
        assert server.metric("minigte_tokens_total", model="other") > 0
        assert server.stop() == 0
