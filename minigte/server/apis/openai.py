"""OpenAI's API: /v1/embeddings and /v1/models.

The official clients ask for vectors in base64 unless told otherwise; these are the float32 bits themselves.
"""

from __future__ import annotations

import base64
import time
from typing import Annotated, Literal

import msgspec
import orjson

from minigte.arrays import Float32
from minigte.server.apis.inputs import Count, Inputs, texts_of, whole
from minigte.server.endpoint import Api, Call, Endpoint, in_parts
from minigte.server.problems import Problem

Started = int(time.time())


class ErrorObject(msgspec.Struct):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct):
    """OpenAI's error."""

    error: ErrorObject


def error(problem: Problem) -> object:
    """A Problem as OpenAI says it."""
    kind = "invalid_request_error"
    if problem.status == 429:
        kind = "rate_limit_exceeded"
    elif problem.status >= 500:
        kind = "server_error"
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}}


API = Api(
    "OpenAI",
    "/v1/",
    "The OpenAI API, for its clients and all that speak like them: the base URL ends in /v1.",
    error,
    OpenAIError,
)


class OpenAIEmbeddingsRequest(msgspec.Struct):
    """What to embed, and how to answer."""

    input: Inputs
    model: Annotated[str, msgspec.Meta(description="The name or alias of a model that is served.")]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[
        Count | None,
        msgspec.Meta(description="Keep this many leading components, and scale to length 1 again."),
    ] = None
    user: str | None = None


class Embedding(msgspec.Struct):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(msgspec.Struct):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingsAnswer(msgspec.Struct):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(msgspec.Struct):
    """A name that requests may use."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(msgspec.Struct):
    """All names that requests may use, aliases among them."""

    object: Literal["list"]
    data: list[ModelCard]


def dimensions_of(given: float | None, most: int) -> int | None:
    """How many components are asked for. Raises a Problem for more than there are."""
    dimensions = whole(given, "dimensions")
    if dimensions is not None and not 1 <= dimensions <= most:
        raise Problem(
            400,
            f"`dimensions` must be from 1 to {most}, not {dimensions}",
            param="dimensions",
            code="invalid_dimensions",
        )
    return dimensions


async def embeddings(call: Call) -> bytes:
    """POST /v1/embeddings."""
    body: OpenAIEmbeddingsRequest = call.body
    model = call.service.models.find(body.model)
    call.model = model.name
    texts = texts_of(body.input, "input")
    call.texts = len(texts)
    dimensions = dimensions_of(body.dimensions, model.dimensions)
    reading = await model.read(
        texts, param="input", asked_for=body.model, remedy="split the text, or send less of it"
    )
    call.tokens = reading.tokens
    vectors = await model.embedder.vectors(
        reading.input_ids,
        truncate_dim=dimensions,
        normalize_embeddings=dimensions is not None,
    )
    return await _answer(vectors, body, call.tokens)


async def _answer(vectors: Float32, body: OpenAIEmbeddingsRequest, tokens: int) -> bytes:
    """The answer as JSON; a number is written as the shortest that is read as the same float32."""

    def write(i: int) -> bytes:
        if body.encoding_format == "base64":
            row = b'"%b"' % base64.b64encode(vectors[i].tobytes())
        else:
            row = orjson.dumps(vectors[i], option=orjson.OPT_SERIALIZE_NUMPY)
        return b'{"object":"embedding","index":%d,"embedding":%b}' % (i, row)

    rows = await in_parts(write, len(vectors))
    return b'{"object":"list","data":[%b],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (
        b",".join(rows),
        orjson.dumps(body.model),
        tokens,
        tokens,
    )


def _card(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": Started, "owned_by": "minigte"}


async def list_models(call: Call) -> bytes:
    """GET /v1/models."""
    models = call.service.models
    cards = [_card(name) for name in models.names]
    return orjson.dumps({"object": "list", "data": cards})


async def show_model(call: Call) -> bytes:
    """GET /v1/models/NAME."""
    name = call.path_params["model"]
    call.model = call.service.models.find_reranker(name).name
    return orjson.dumps(_card(name))


OVERLOAD = (413, 429, 503)

ENDPOINTS = (
    Endpoint(
        API,
        "POST",
        "/v1/embeddings",
        embeddings,
        "Embed texts",
        OpenAIEmbeddingsAnswer,
        OpenAIEmbeddingsRequest,
        (400, 404, 424, *OVERLOAD),
    ),
    Endpoint(
        API,
        "POST",
        "/embeddings",
        embeddings,
        "Embed texts; the same without /v1",
        OpenAIEmbeddingsAnswer,
        OpenAIEmbeddingsRequest,
        (400, 404, 424, *OVERLOAD),
    ),
    Endpoint(API, "GET", "/v1/models", list_models, "List the models", ModelList),
    Endpoint(API, "GET", "/v1/models/{model:path}", show_model, "Show a model", ModelCard, None, (404,)),
)
