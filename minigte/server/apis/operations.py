"""What operators ask: whether it is well, what it has done, and what its routes are."""

from __future__ import annotations

from minigte.server.apis import tei
from minigte.server.endpoint import Call, Endpoint
from minigte.server.metrics import Metrics
from minigte.server.page import page
from minigte.server.problems import Problem


async def health(call: Call) -> bytes:
    """GET /health."""
    if not await call.service.is_healthy():
        raise Problem(503, "unhealthy: the engine does not answer", code="unhealthy")
    return b""


async def metrics(call: Call) -> bytes:
    """GET /metrics."""
    return call.service.metrics.page()


async def openapi(call: Call) -> bytes:
    """GET /openapi.json."""
    return call.service.document


async def docs(call: Call) -> bytes:
    """GET /docs."""
    return page(call.service.document)


API = tei.API

ENDPOINTS = (
    *(
        Endpoint(
            API,
            "GET",
            path,
            health,
            "Say whether the engine answers",
            str,
            None,
            (503,),
            media_type="text/plain",
            is_open=True,
        )
        for path in ("/health", "/ping", "/")
    ),
    Endpoint(
        API,
        "GET",
        "/metrics",
        metrics,
        "Give the figures that Prometheus reads",
        str,
        media_type=Metrics.content_type,
    ),
    Endpoint(API, "GET", "/openapi.json", openapi, "Give the OpenAPI document", dict, is_open=True),
    Endpoint(
        API, "GET", "/docs", docs, "Show the routes to a reader", str, media_type="text/html", is_open=True
    ),
)
