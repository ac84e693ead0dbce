"""One route: how its request is read, who answers it, and how its errors are said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from minigte.server.problems import Problem

if TYPE_CHECKING:
    from minigte.server.service import Service


@dataclass
class Call:
    """One request: what its handler is given, and what it says of it for headers, logs and metrics."""

    service: Service
    body: Any  # of the endpoint's type; None where it has none
    path_params: Mapping[str, str]
    model: str = ""  # the served name, never the request's
    texts: int = 0
    tokens: int = 0
    cut: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # of the answer


@dataclass(frozen=True)
class Api:
    """What the routes of one API share."""

    name: str
    prefix: str  # of its paths; of several APIs with one, the longest counts
    description: str
    error: Callable[[Problem], object]  # its error object
    error_example: type  # the error object's type, for the document
    invalid_body: int = 400  # the status of a body that is JSON of the wrong form


@dataclass(frozen=True)
class Endpoint:
    """A route and its handler."""

    api: Api
    method: str
    path: str
    handler: Callable[[Call], Awaitable[bytes]]
    summary: str
    answer: Any  # the answer's type, for the document
    body: type[msgspec.Struct] | None = None
    statuses: tuple[int, ...] = ()  # of the errors that it may answer, beyond those of every route
    media_type: str = "application/json"
    is_open: bool = False  # to those without a key

    @property
    def parameter(self) -> tuple[str, str]:
        """What stands before the parameter that the path ends in, and the parameter's name; it may be ""."""
        before, _, parameter = self.path.partition("{")
        return before, parameter.removesuffix(":path}")

    @property
    def waits(self) -> bool:
        """Whether its texts wait to be computed, so that it is refused where there is no room."""
        return 429 in self.statuses

    @property
    def content_type(self) -> bytes:
        """The answer's header."""
        is_text = self.media_type.startswith("text/") and "charset=" not in self.media_type
        return (self.media_type + "; charset=utf-8" * is_text).encode()

    def decode(self, content: bytes) -> Any:
        """The body as its type. Raises a Problem that names the field at fault."""
        if self.body is None:
            return None
        try:
            return _decoder(self.body).decode(content)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `")
            param = path.rstrip("`").removeprefix("$").removeprefix(".") or None
            where = f"`{param}`: " if param else ""
            raise Problem(
                self.api.invalid_body, f"{where}{reason}", param=param, code="invalid_type"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f"the body is not JSON: {error}", code="invalid_json") from None


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(body: type) -> msgspec.json.Decoder[Any]:
    if body not in _decoders:
        _decoders[body] = msgspec.json.Decoder(body)
    return _decoders[body]


ROWS = 64  # written between two looks at what else the loop has to do


async def in_parts(write: Callable[[int], bytes], count: int) -> list[bytes]:
    """What ``write`` makes of the numbers up to ``count``; now and then others have the loop in between."""
    written = []
    for i in range(count):
        if i and i % ROWS == 0:
            await asyncio.sleep(0)
        written.append(write(i))
    return written
