"""The OpenAPI document as one HTML page that needs no network and no script."""

from __future__ import annotations

import html
import json
from typing import Any

import orjson

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1e21; background: #fff; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: #f3f4f6; padding: .75rem; overflow: auto; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top;
  padding: .25rem .75rem .25rem 0; border-top: 1px solid #ddd; }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 600; }
.method { display: inline-block; min-width: 3.5rem; color: #0b5394; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16181c; }
  pre { background: #22252b; } th, td { border-color: #333; } .method { color: #8ab4f8; } }
"""


def page(document: bytes) -> bytes:
    """Every route with its fields, its answers and a command that tries it."""
    whole = orjson.loads(document)
    schemas = whole["components"]["schemas"]
    parts = []
    for tag in whole["tags"]:
        parts.append(f"<h2>{_text(tag['name'])}</h2><p>{_text(tag['description'])}</p>")
        for path, operations in whole["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    parts.append(_operation(method.upper(), path, operation, schemas))
    info = whole["info"]
    title = f"{info['title']} {info['version']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{_text(title)}</h1><p>{_text(info['description'])} "
        f'The same for programs: <a href="openapi.json">openapi.json</a>.</p>{"".join(parts)}</html>'
    ).encode()


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    inner = ""
    if body is not None:
        fields = _resolved(body, schemas)
        rows = "".join(
            f"<tr><td><code>{_text(name)}</code><td>{_text(_kind(schema, schemas))}"
            f"{', required' if name in fields.get('required', []) else ''}"
            f"<td>{_text(schema.get('description', ''))}"
            for name, schema in fields["properties"].items()
        )
        inner += f"<table><tr><th>field<th>what it is<th>meaning{rows}</table>"
        example = json.dumps(
            {name: _example(fields["properties"][name], schemas) for name in fields["required"]}
        )
        command = f"curl -H 'Content-Type: application/json' -d '{example}' http://127.0.0.1:8080{path}"
        inner += f"<pre>{_text(command)}</pre>"
    answers = "".join(
        f"<tr><td>{status}<td>{_text(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details><summary><span class="method">{method}</span> <code>{_text(path)}</code> '
        f"{_text(operation['summary'])}</summary>{inner}<table>{answers}</table></details>"
    )


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _kind(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A field's type in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(alternative, schemas) for alternative in schema["anyOf"]))
    if "title" in schema and "$ref" not in schema:
        return str(schema["title"])
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), schemas)}"
    return str(schema.get("type", "anything"))


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that a field may have."""
    schema = _resolved(schema, schemas)
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        return {name: _example(fields[name], schemas) for name in schema.get("required", [])}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), schemas)]
    return {"string": "what is the capital of China?", "integer": 101, "boolean": True}.get(
        schema.get("type", "")
    )


def _text(value: object) -> str:
    return html.escape(str(value))
