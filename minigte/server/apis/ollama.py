"""Ollama's API: /api/embed, the older /api/embeddings, /api/tags and /api/version."""

from __future__ import annotations

import datetime
import time
from typing import Annotated, Any

import msgspec
import orjson

import minigte.version
from minigte.server.apis.inputs import Whole, whole
from minigte.server.apis.openai import OVERLOAD
from minigte.server.endpoint import Api, Call, Endpoint, in_parts
from minigte.server.models import Model, Text
from minigte.server.problems import Problem

# What /api/version gives: clients compare it with the version that brought what they need.
VERSION = "0.21.0"
STARTED = datetime.datetime.now(datetime.timezone.utc).isoformat()


class OllamaError(msgspec.Struct):
    """What is wrong."""

    error: str


def error(problem: Problem) -> object:
    """A Problem as Ollama says it."""
    return {"error": problem.message}


API = Api("Ollama", "/api/", "The Ollama API's embeddings, for its clients.", error, OllamaError)


class OllamaEmbedRequest(msgspec.Struct):
    """A text or several; nothing embeds nothing, which Ollama's clients use to load a model."""

    model: str
    input: Annotated[str | list[str], msgspec.Meta(examples=["what is the capital of China?"])] = ""
    truncate: Annotated[
        bool | None, msgspec.Meta(description="Cut texts that are too long, which is the default.")
    ] = None
    dimensions: Whole | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class OllamaEmbedAnswer(msgspec.Struct):
    """Vectors of length 1; durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingsRequest(msgspec.Struct):
    """One text."""

    model: str
    prompt: str = ""
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class OllamaEmbeddingsAnswer(msgspec.Struct):
    """The model's vector."""

    embedding: list[float]


class Details(msgspec.Struct):
    """What a model is."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class Tag(msgspec.Struct):
    """A model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Tags(msgspec.Struct):
    """The models."""

    models: list[Tag]


class Version(msgspec.Struct):
    """The version of Ollama's API that is spoken."""

    version: str


async def embed(call: Call) -> bytes:
    """POST /api/embed."""
    body: OllamaEmbedRequest = call.body
    begun = time.perf_counter_ns()
    model = call.service.models.find(body.model)
    call.model = model.name
    texts: list[Text] = [*body.input] if isinstance(body.input, list) else [body.input] if body.input else []
    call.texts = len(texts)
    reading = await model.read(
        texts, param="input", truncate=body.truncate is not False, remedy="leave out truncate, or split it"
    )
    call.tokens, call.cut = reading.tokens, reading.cut
    asked = whole(body.dimensions, "dimensions") or 0
    dimensions = asked if 0 < asked < model.dimensions else None
    own_length = dimensions is None and model.embedder.embedder.config.normalize  # 1 already
    vectors = await model.embedder.vectors(
        reading.input_ids, truncate_dim=dimensions, normalize_embeddings=not own_length
    )
    if call.cut:
        call.headers["x-truncated-texts"] = str(call.cut)

    def write(i: int) -> bytes:
        return orjson.dumps(vectors[i], option=orjson.OPT_SERIALIZE_NUMPY)

    rows = await in_parts(write, len(vectors))
    return b'{"model":%b,"embeddings":[%b],"total_duration":%d,"load_duration":0,"prompt_eval_count":%d}' % (
        orjson.dumps(body.model),
        b",".join(rows),
        time.perf_counter_ns() - begun,
        call.tokens,
    )


async def embeddings(call: Call) -> bytes:
    """POST /api/embeddings."""
    body: OllamaEmbeddingsRequest = call.body
    model = call.service.models.find(body.model)
    call.model = model.name
    if not body.prompt:
        return b'{"embedding":[]}'
    call.texts = 1
    reading = await model.read([body.prompt], param="prompt", truncate=True)
    call.tokens, call.cut = reading.tokens, reading.cut
    if call.cut:
        call.headers["x-truncated-texts"] = str(call.cut)
    vectors = await model.embedder.vectors(reading.input_ids)
    return b'{"embedding":%b}' % orjson.dumps(vectors[0], option=orjson.OPT_SERIALIZE_NUMPY)


async def _tag(name: str, model: Model) -> dict[str, object]:
    embedder = model.embedder.embedder
    return {
        "name": name,
        "model": name,
        "modified_at": STARTED,
        "size": 4 * embedder.num_parameters,
        "digest": await model.digest(),
        "details": {
            "parent_model": "",
            "format": "safetensors",
            "family": embedder.config.model_type,
            "families": [embedder.config.model_type],
            "parameter_size": f"{embedder.num_parameters / 1e6:.0f}M",
            "quantization_level": embedder.backend.dtype,
        },
    }


async def tags(call: Call) -> bytes:
    """GET /api/tags."""
    models = call.service.models
    return orjson.dumps({"models": [await _tag(name, models.find(name)) for name in models.embedding_names]})


async def version(call: Call) -> bytes:
    """GET /api/version."""
    return orjson.dumps({"version": VERSION, "minigte": minigte.version.__version__})


ENDPOINTS = (
    Endpoint(
        API,
        "POST",
        "/api/embed",
        embed,
        "Embed texts",
        OllamaEmbedAnswer,
        OllamaEmbedRequest,
        (400, 404, 424, *OVERLOAD),
    ),
    Endpoint(
        API,
        "POST",
        "/api/embeddings",
        embeddings,
        "Embed one text",
        OllamaEmbeddingsAnswer,
        OllamaEmbeddingsRequest,
        (400, 404, 424, *OVERLOAD),
    ),
    Endpoint(API, "GET", "/api/tags", tags, "List the models", Tags),
    Endpoint(API, "GET", "/api/version", version, "Show the version", Version),
)
