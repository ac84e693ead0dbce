"""The API of Hugging Face's text-embeddings-inference (TEI); its routes name no model, and mean the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson

import minigte.version
from minigte.arrays import Float32
from minigte.cross_encoder import CrossEncoder
from minigte.embedder import Embedder
from minigte.server.apis.inputs import IDS, INSTEAD, TEXT, Count, Inputs, texts_of
from minigte.server.apis.openai import OVERLOAD, dimensions_of
from minigte.server.apis.rerank import ranking, scored_by
from minigte.server.endpoint import Api, Call, Endpoint, in_parts
from minigte.server.models import Model, Reading
from minigte.server.problems import Problem, empty, too_many
from minigte.vectors.head import apply_head
from minigte.vectors.pooling import pool

DESCRIBED = 1 << 20  # characters of all texts that /tokenize describes at once; each takes some 60 bytes
ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]


class TeiError(msgspec.Struct):
    """What is wrong."""

    error: str
    error_type: ErrorType


def error(problem: Problem) -> object:
    """A Problem as TEI says it."""
    by_status = {424: "Backend", 429: "Overloaded", 500: "Backend", 503: "Overloaded"}
    by_code = {"empty": "Empty", "unhealthy": "Unhealthy", "stopping": "Unhealthy"}
    kind = by_code.get(problem.code or "") or by_status.get(problem.status, "Validation")
    return {"error": problem.message, "error_type": kind}


API = Api(
    "text-embeddings-inference",
    "",
    "The API of text-embeddings-inference, for its clients; it means the first model.",
    error,
    TeiError,
    invalid_body=422,
)

Direction = Literal["left", "right", "Left", "Right"]


class EmbedRequest(msgspec.Struct):
    """What to embed, and how."""

    inputs: Inputs
    truncate: Annotated[bool | None, msgspec.Meta(description="Cut texts that are too long.")] = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None
    normalize: Annotated[bool, msgspec.Meta(description="Scale the vectors to length 1.")] = True
    dimensions: Count | None = None


class EmbedAllRequest(msgspec.Struct):
    """What to give the token embeddings of."""

    inputs: Inputs
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class RerankRequest(msgspec.Struct):
    """A query, and texts to order by how well they answer it."""

    query: Annotated[str, msgspec.Meta(min_length=1)]
    texts: Annotated[list[str], msgspec.Meta(min_length=1, examples=[["Beijing", "quick sort"]])]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False
    return_text: bool = False


class Rank(msgspec.Struct):
    """A text's place among those sent, and its score."""

    index: int
    score: float
    text: str | None = None


class SimilarityInput(msgspec.Struct):
    """A sentence, and those to compare with it."""

    source_sentence: Annotated[str, msgspec.Meta(min_length=1)]
    sentences: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1)]],
        msgspec.Meta(min_length=1, examples=[["Beijing", "quick sort"]]),
    ]


class SimilarityParameters(msgspec.Struct):
    """How texts are read."""

    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class SimilarityRequest(msgspec.Struct):
    """What to compare."""

    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None


Pair = list[str]
PREDICT: dict[str, Any] = {
    "anyOf": [
        {"title": "text", **TEXT},
        {"title": "pair", "type": "array", "items": TEXT, "minItems": 1, "maxItems": 2},
        {
            "title": "texts or pairs",
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2},
        },
    ],
    "description": "A text, a pair of texts, or several of either, each in a list.",
}


class PredictRequest(msgspec.Struct):
    """What to classify."""

    inputs: Annotated[str | list[str | Pair], msgspec.Meta(extra_json_schema={INSTEAD: PREDICT})]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False


class Prediction(msgspec.Struct):
    """A class and its score."""

    score: float
    label: str


class TokenizeRequest(msgspec.Struct):
    """What to tokenize."""

    inputs: Annotated[
        str | list[str],
        msgspec.Meta(
            extra_json_schema={INSTEAD: {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}}
        ),
    ]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class SimpleToken(msgspec.Struct):
    """A token, and the bytes of the text that it stands for."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(msgspec.Struct):
    """Token ids of one text, or of several."""

    ids: Annotated[
        list[int | list[int]],
        msgspec.Meta(
            extra_json_schema={
                INSTEAD: {
                    "anyOf": [IDS, {"type": "array", "items": {**IDS, "minItems": 0}, "minItems": 1}],
                    "examples": [[101]],
                }
            }
        ),
    ]
    skip_special_tokens: bool = True


class EmbeddingModel(msgspec.Struct):
    """How tokens become a vector."""

    pooling: str


class ClassifierModel(msgspec.Struct):
    """What the scores of a cross-encoder are called."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(msgspec.Struct):
    """What kind of model it is."""

    embedding: EmbeddingModel | msgspec.UnsetType = msgspec.UNSET
    reranker: ClassifierModel | msgspec.UnsetType = msgspec.UNSET  # a cross-encoder with one score for a pair
    classifier: ClassifierModel | msgspec.UnsetType = msgspec.UNSET  # and with several


class Info(msgspec.Struct):
    """The model and the server's limits."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


async def _read(
    call: Call,
    model: Model,
    inputs: Any,
    options: EmbedRequest | EmbedAllRequest | SimilarityParameters,
    param: str = "inputs",
) -> Reading:
    """The token ids of a request's texts."""
    texts = texts_of(inputs, param)
    call.texts = len(texts)
    try:
        reading = await model.read(
            texts,
            param=param,
            prompt_name=options.prompt_name,
            truncate=bool(options.truncate),
            from_the_left=options.truncation_direction.lower() == "left",
            remedy="send truncate, or split the text",
        )
    except Problem as problem:
        if problem.status == 400 and problem.code != "empty":
            problem.status = 422
        raise
    call.tokens, call.cut = reading.tokens, reading.cut
    if call.cut:
        call.headers["x-truncated-texts"] = str(call.cut)
    return reading


def _first(call: Call) -> Model:
    model = call.service.models.find(None)
    call.model = model.name
    return model


async def _unscaled(model: Model, input_ids: Sequence[Sequence[int]]) -> Float32:
    """The vectors (B, D) as they are pooled, without the norm that the model itself may end in."""
    embedder = model.embedder.embedder
    hidden = await model.embedder.token_embeddings(input_ids)  # B of (T, D)
    modes = embedder.config.pooling_modes
    pooled = np.concatenate([pool(rows, np.array([0, len(rows)]), modes) for rows in hidden])
    return apply_head(embedder.head[:-1], pooled)


async def embed(call: Call) -> bytes:
    """POST /embed."""
    body: EmbedRequest = call.body
    model = _first(call)
    dimensions = dimensions_of(body.dimensions, model.dimensions)
    reading = await _read(call, model, body.inputs, body)
    own_length = model.embedder.embedder.config.normalize  # 1 already
    if own_length and not body.normalize:
        vectors = (await _unscaled(model, reading.input_ids))[:, : dimensions or model.dimensions]
    else:
        vectors = await model.embedder.vectors(
            reading.input_ids,
            truncate_dim=dimensions,
            normalize_embeddings=body.normalize and not (own_length and dimensions is None),
        )
    return await _lists(vectors)


async def _lists(vectors: Sequence[Float32] | Float32) -> bytes:
    """Arrays as JSON lists."""

    def write(i: int) -> bytes:
        return orjson.dumps(np.ascontiguousarray(vectors[i]), option=orjson.OPT_SERIALIZE_NUMPY)

    return b"[%b]" % b",".join(await in_parts(write, len(vectors)))


async def embed_all(call: Call) -> bytes:
    """POST /embed_all."""
    body: EmbedAllRequest = call.body
    model = _first(call)
    reading = await _read(call, model, body.inputs, body)
    return await _lists(await model.embedder.token_embeddings(reading.input_ids))


async def rerank(call: Call) -> bytes:
    """POST /rerank."""
    body: RerankRequest = call.body
    model = call.service.models.find_reranker(None)
    call.model = model.name
    call.texts = 1 + len(body.texts)
    try:
        scores, call.tokens = await model.scorer.score(body.query, body.texts, truncate=bool(body.truncate))
    except Problem as problem:
        problem.status = 422 if problem.status == 400 else problem.status
        raise
    scored_by(call, model)
    ranks: list[dict[str, object]] = []
    for place in ranking(scores):
        ranks.append({"index": place, "score": scores[place]})
        if body.return_text:
            ranks[-1]["text"] = body.texts[place]
    return orjson.dumps(ranks, option=orjson.OPT_SERIALIZE_NUMPY)


async def similarity(call: Call) -> bytes:
    """POST /similarity."""
    body: SimilarityRequest = call.body
    model = _first(call)
    sentences = [body.inputs.source_sentence, *body.inputs.sentences]
    options = body.parameters or SimilarityParameters()
    reading = await _read(call, model, sentences, options, "inputs.sentences")
    vectors = await model.embedder.vectors(reading.input_ids, normalize_embeddings=True)
    return orjson.dumps(vectors[1:] @ vectors[0], option=orjson.OPT_SERIALIZE_NUMPY)


async def predict(call: Call) -> bytes:
    """POST /predict."""
    body: PredictRequest = call.body
    model = call.service.models.find_reranker(None)
    call.model = model.name
    items = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    plain = [item for item in items if isinstance(item, str)]
    pairs = [plain] if plain else [item for item in items if not isinstance(item, str)]
    if not pairs or (plain and len(plain) < len(items)) or any(not 1 <= len(pair) <= 2 for pair in pairs):
        raise Problem(
            422, "`inputs` must be a text, a pair, or a list of lists of one or two texts", param="inputs"
        )
    if not all(map(all, pairs)):
        raise empty("inputs")
    if isinstance(model, Model):
        raise Problem(
            424, f"{model.name} is not a classifier model: it embeds texts, see /embed", code="no_classifier"
        )
    if any(len(pair) != 2 for pair in pairs):
        raise Problem(422, f"`inputs` must be pairs: {model.name} scores two texts", param="inputs")
    call.texts = len(pairs)
    truncate, raw_scores = bool(body.truncate), body.raw_scores
    try:
        scores, call.tokens = await model.scores(
            [(a, b) for a, b in pairs], param="inputs", truncate=truncate, raw_scores=raw_scores
        )
    except Problem as problem:
        problem.status = 422 if problem.status == 400 else problem.status
        raise
    scored_by(call, model)
    labels = model.model.config.labels
    rows = [
        [{"score": float(row[i]), "label": labels[i]} for i in ranking(row)]
        for row in scores.reshape(len(pairs), len(labels))
    ]
    return orjson.dumps(rows[0] if plain else rows)


async def tokenize(call: Call) -> bytes:
    """POST /tokenize."""
    body: TokenizeRequest = call.body
    model = _first(call)
    texts = texts_of(body.inputs, "inputs")
    call.texts = len(texts)
    if len(texts) > model.max_texts:
        raise too_many("inputs", len(texts), model.max_texts)
    prefix = model.prompt(body.prompt_name)
    if sum(map(len, texts)) > DESCRIBED:
        raise Problem(
            413, f"`inputs` holds more than {DESCRIBED} characters: send less at once", param="inputs"
        )
    described = await model.describe([prefix + str(text) for text in texts], body.add_special_tokens)
    return orjson.dumps([[token._asdict() for token in tokens] for tokens in described])


async def decode(call: Call) -> bytes:
    """POST /decode."""
    body: DecodeRequest = call.body
    model = _first(call)
    if not body.ids:
        raise empty("ids")
    several = [ids for ids in body.ids if not isinstance(ids, int)]
    single = [id_ for id_ in body.ids if isinstance(id_, int)]
    if single and several:
        raise Problem(422, "`ids` mixes ids with lists of ids: give one kind", param="ids")
    texts = [single] if single else several
    if len(texts) > model.max_texts:
        raise too_many("ids", len(texts), model.max_texts)
    return orjson.dumps(model.decode(texts, body.skip_special_tokens))


async def info(call: Call) -> bytes:
    """GET /info."""
    models, limits = call.service.models, call.service.limits
    model = models.all[0] if models.all else models.find_reranker(None)
    call.model = model.name
    loaded: Embedder | CrossEncoder
    if isinstance(model, Model):
        loaded = model.embedder.embedder
        kind: dict[str, Any] = {"embedding": {"pooling": "+".join(loaded.config.pooling_modes)}}
    else:
        loaded = model.model
        labels = loaded.config.labels
        kind = {
            "reranker" if len(labels) == 1 else "classifier": {
                "id2label": {str(i): label for i, label in enumerate(labels)},
                "label2id": {label: i for i, label in enumerate(labels)},
            }
        }
    facts = {
        "model_id": model.name,
        "model_sha": loaded.source.revision,
        "model_dtype": loaded.backend.dtype,
        "served_model_name": model.name,
        "model_type": kind,
        "max_concurrent_requests": limits.max_connections,
        "max_input_length": loaded.max_seq_length,
        "max_batch_tokens": limits.max_queue_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": limits.max_texts,
        "auto_truncate": False,
        "tokenization_workers": 2,
        "version": minigte.version.__version__,
        "sha": None,
        "docker_label": None,
    }
    return orjson.dumps(facts)


_TEXTS = (400, 422, 424, *OVERLOAD)
_AT_ONCE = (400, 413, 422, 424)  # of what waits for nothing

ENDPOINTS = (
    Endpoint(API, "POST", "/embed", embed, "Embed texts", list[list[float]], EmbedRequest, _TEXTS),
    Endpoint(API, "POST", "/", embed, "Embed texts, as /embed", list[list[float]], EmbedRequest, _TEXTS),
    Endpoint(
        API,
        "POST",
        "/embed_all",
        embed_all,
        "Give the token embeddings of texts",
        list[list[list[float]]],
        EmbedAllRequest,
        _TEXTS,
    ),
    Endpoint(
        API,
        "POST",
        "/rerank",
        rerank,
        "Order texts by how well they answer a query",
        list[Rank],
        RerankRequest,
        _TEXTS,
    ),
    Endpoint(
        API,
        "POST",
        "/similarity",
        similarity,
        "Give the cosine of a sentence with each of some",
        list[float],
        SimilarityRequest,
        _TEXTS,
    ),
    Endpoint(
        API,
        "POST",
        "/predict",
        predict,
        "Classify texts, which needs a classifier",
        list[Prediction | list[Prediction]],
        PredictRequest,
        _TEXTS,
    ),
    Endpoint(
        API,
        "POST",
        "/tokenize",
        tokenize,
        "Show the tokens of texts",
        list[list[SimpleToken]],
        TokenizeRequest,
        _AT_ONCE,
    ),
    Endpoint(
        API, "POST", "/decode", decode, "Give the texts of token ids", list[str], DecodeRequest, _AT_ONCE
    ),
    Endpoint(API, "GET", "/info", info, "Show the model and the limits", Info),
)
