"""The OpenAPI document, made of the endpoints' types and of what is served."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson

import minigte.version
from minigte.server.apis.inputs import INSTEAD
from minigte.server.endpoint import Endpoint
from minigte.server.limits import Limits
from minigte.server.models import Models

REASONS = {
    400: "The request is wrong; the message says what, and what to do.",
    401: "A key is wanted.",
    404: "No such model.",
    408: "The body did not arrive in time.",
    413: "The request is larger than the server takes.",
    415: "The body is compressed.",
    422: "The request is wrong; the message says what, and what to do.",
    424: "The model cannot do this.",
    429: "Too much is waiting: try again after as many seconds as Retry-After says.",
    500: "The server failed over this request.",
    503: "The request has waited for too long, or the server is stopping or not well.",
}
REFERENCE = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint], models: Models, limits: Limits, has_keys: bool) -> bytes:
    """The document as JSON. Names of models, prompts, and limits in it are those of this server."""
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schema_of = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path.replace(":path", ""), {})[endpoint.method.lower()] = _operation(
            endpoint, schema_of, has_keys
        )
    components = _put_instead(components)
    _fill_in(components, models, limits)
    apis = {endpoint.api.name: endpoint.api.description for endpoint in endpoints}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "minigte",
            "version": minigte.version.__version__,
            "description": "Text embeddings on the CPU, over the APIs that clients already speak.",
        },
        "tags": [{"name": name, "description": description} for name, description in apis.items()],
        "paths": paths,
        "components": {"schemas": components},
    }
    if has_keys:
        whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return orjson.dumps(whole)


def _types(endpoints: Iterable[Endpoint]) -> list[Any]:
    types: list[Any] = []
    for endpoint in endpoints:
        for kind in (endpoint.body, endpoint.answer, endpoint.api.error_example):
            if kind is not None and not any(kind is other for other in types):
                types.append(kind)
    return types


def _operation(endpoint: Endpoint, schema_of: dict[int, Any], has_keys: bool) -> dict[str, Any]:
    """One route's part of the document."""

    def content(media_type: str, kind: Any) -> dict[str, Any]:
        return {media_type.partition(";")[0]: {"schema": schema_of[id(kind)]}}

    answer = content(endpoint.media_type, endpoint.answer)
    answers = {"200": {"description": "The answer.", "content": answer}}
    statuses = {*endpoint.statuses, 500}
    if endpoint.body is not None:
        statuses |= {400, 408, 413, 415}
    if has_keys and not endpoint.is_open:
        statuses.add(401)
    for status in sorted(statuses):
        answers[str(status)] = {
            "description": REASONS[status],
            "content": content("application/json", endpoint.api.error_example),
        }
    operation: dict[str, Any] = {
        "tags": [endpoint.api.name],
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', endpoint.path)}",
        "responses": answers,
    }
    if endpoint.body is not None:
        body = content("application/json", endpoint.body)
        operation["requestBody"] = {"required": True, "content": body}
    _, name = endpoint.parameter
    if name:
        schema = {"type": "string"}
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": schema}]
    if has_keys and not endpoint.is_open:
        operation["security"] = [{"key": []}]
    return operation


def _fill_in(components: dict[str, Any], models: Models, limits: Limits) -> None:
    """Put this server's names and limits into the requests' fields."""
    prompts = [name for model in models.all[:1] for name in model.embedder.embedder.prompts]
    for name, component in components.items():
        if not name.endswith(("Request", "Parameters")):
            continue
        fields = component["properties"]
        if "model" in fields:
            names = models.names if "Rerank" in name else models.embedding_names
            _narrow(fields["model"], {"enum": names} if names else {})
        if "dimensions" in fields and not name.startswith("Ollama") and models.all:  # which takes any number
            _narrow(fields["dimensions"], {"maximum": max(model.dimensions for model in models.all)})
        if "prompt_name" in fields and prompts:
            _narrow(fields["prompt_name"], {"enum": prompts})
        for texts in ("input", "inputs", "texts", "documents"):
            for schema in _alternatives(fields.get(texts, {})):
                if schema.get("type") == "array" and schema.get("items", {}).get("type") != "integer":
                    schema["maxItems"] = min(schema.get("maxItems", limits.max_texts), limits.max_texts)


def _put_instead(schema: Any) -> Any:
    """The schema with what a type says should stand in the place of what msgspec makes of it."""
    if isinstance(schema, list):
        return [_put_instead(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if INSTEAD in schema:
        own = {key: schema[key] for key in ("description", "default") if key in schema}
        return {**copy.deepcopy(schema[INSTEAD]), **own}
    return {key: _put_instead(value) for key, value in schema.items()}


def _narrow(schema: dict[str, Any], keys: dict[str, Any]) -> None:
    """Add keys to a field's schema, but not to the null it may be."""
    for alternative in _alternatives(schema):
        if alternative.get("type") != "null":
            alternative.update(copy.deepcopy(keys))


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("anyOf", [schema]))
