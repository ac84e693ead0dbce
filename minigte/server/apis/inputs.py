"""The texts of a request, which OpenAI and text-embeddings-inference take in the same four forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from minigte.server.models import Text
from minigte.server.problems import Problem, empty

IDS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
# msgspec's own schema would allow lists that mix ids with texts.
INSTEAD = "x-instead"  # the key of what stands in the document in the place of msgspec's schema
FORMS: dict[str, Any] = {
    "anyOf": [
        {"title": "text", **TEXT},
        {"title": "texts", "type": "array", "items": TEXT, "minItems": 1},
        {"title": "token ids", **IDS},
        {"title": "token ids of texts", "type": "array", "items": IDS, "minItems": 1},
    ],
    "description": "A text, several, or the token ids of one or of several.",
    "examples": ["what is the capital of China?", ["Beijing", "sorting algorithms"]],
}
Inputs = Annotated[str | list[str | int | list[int]], msgspec.Meta(extra_json_schema={INSTEAD: FORMS})]


Whole = Annotated[float, msgspec.Meta(ge=0, extra_json_schema={INSTEAD: {"type": "integer", "minimum": 0}})]
Count = Annotated[float, msgspec.Meta(ge=1, extra_json_schema={INSTEAD: {"type": "integer", "minimum": 1}})]


def whole(number: float | None, param: str) -> int | None:
    """A whole number, which JSON may write as 8.0 too. Raises a Problem for another."""
    if number is None:
        return None
    if not number.is_integer():
        raise Problem(
            400, f"`{param}` must be a whole number, not {number}", param=param, code="invalid_type"
        )
    return int(number)


def texts_of(inputs: str | Sequence[str | int | list[int]], param: str) -> list[Text]:
    """The texts, each as a str or as its token ids. Raises a Problem where one is empty or they are mixed."""
    if isinstance(inputs, str):
        inputs = [inputs]
    if not inputs:
        raise empty(param)
    texts: list[Text] = []
    if any(isinstance(item, int) for item in inputs):
        ids = [item for item in inputs if isinstance(item, int)]
        if len(ids) < len(inputs):
            raise Problem(
                400, f"`{param}` mixes token ids with texts: give one kind", param=param, code="mixed_input"
            )
        texts.append(ids)
    else:
        texts += [item for item in inputs if not isinstance(item, int)]
    for place, text in enumerate(texts):
        if not text:
            raise empty(f"{param}[{place}]" if len(texts) > 1 else param)
    return texts
