"""Cohere's and Jina's reranking: /v1/rerank, and /v2/rerank, where Cohere's newer clients ask."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from minigte.arrays import Float32
from minigte.server.apis.inputs import Count, whole
from minigte.server.endpoint import Api, Call, Endpoint
from minigte.server.models import Model, Reranker
from minigte.server.problems import Problem, empty

BI_ENCODER = (
    "scored by a bi-encoder: the similarity of the query's vector with each document's, from -1 to 1; "
    "no cross-encoder is served under this name"
)


class CohereError(msgspec.Struct):
    """What is wrong; Cohere's clients read ``message``, Jina's ``detail``."""

    message: str
    detail: str


def error(problem: Problem) -> object:
    """A Problem as Cohere and Jina say it."""
    return {"message": problem.message, "detail": problem.message}


API = Api(
    "Cohere and Jina",
    "/v2/",
    "Reranking as Cohere's clients ask for it, and Jina's.",
    error,
    CohereError,
)


class Document(msgspec.Struct):
    """A document with its text."""

    text: str


class CohereRerankRequest(msgspec.Struct):
    """A query, and documents to order by how well they answer it."""

    query: Annotated[str, msgspec.Meta(min_length=1)]
    documents: Annotated[
        list[str | Document],
        msgspec.Meta(min_length=1, examples=[["Beijing is the capital of China.", "Quick sort is fast."]]),
    ]
    model: str | None = None
    top_n: Count | None = None
    return_documents: bool | None = None


class Result(msgspec.Struct):
    """A document's place among those sent, and its score."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankUsage(msgspec.Struct):
    """How many tokens were read."""

    total_tokens: int
    prompt_tokens: int


class CohereRerankAnswer(msgspec.Struct):
    """The best documents, best first."""

    id: str
    model: str
    results: list[Result]
    meta: dict[str, Any]
    usage: RerankUsage


def ranking(scores: Float32) -> list[int]:
    """Places, the largest score first; of equal scores the first place first."""
    return [int(i) for i in np.argsort(-scores, kind="stable")]


def scored_by(call: Call, model: Model | Reranker) -> None:
    """Say in the answer's headers what gave the scores."""
    call.headers["x-scored-by"] = model.scorer.kind


async def rerank(call: Call) -> bytes:
    """POST /v1/rerank."""
    body: CohereRerankRequest = call.body
    model = call.service.models.find_reranker(body.model)
    call.model = model.name
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    call.texts = 1 + len(texts)
    if not body.query:
        raise empty("query")
    # Both APIs cut documents that are too long.
    scores, call.tokens = await model.scorer.score(body.query, texts, truncate=True)
    scored_by(call, model)
    results: list[dict[str, object]] = []
    for place in ranking(scores)[: whole(body.top_n, "top_n")]:
        results.append({"index": place, "relevance_score": scores[place]})
        if body.return_documents:
            results[-1]["document"] = {"text": texts[place]}
    meta: dict[str, object] = {
        "api_version": {"version": "1"},
        "billed_units": {"search_units": 0},
        "scored_by": model.scorer.kind,
    }
    if model.scorer.kind == "bi-encoder":
        meta["warnings"] = [BI_ENCODER]
    answer = {
        "id": str(uuid.uuid4()),
        "model": body.model or model.name,
        "results": results,
        "meta": meta,
        "usage": {"total_tokens": call.tokens, "prompt_tokens": call.tokens},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


ENDPOINTS = tuple(
    Endpoint(
        API,
        "POST",
        path,
        rerank,
        "Order documents by how well they answer a query",
        CohereRerankAnswer,
        CohereRerankRequest,
        (400, 404, 413, 429, 503),
    )
    for path in ("/v1/rerank", "/v2/rerank")
)
