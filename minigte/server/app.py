"""The ASGI application, put together: for ``minigte serve``, and for any other ASGI server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minigte.batching.async_embedder import AsyncEmbedder
from minigte.cross_encoder import CrossEncoder
from minigte.embedder import Embedder
from minigte.server.apis import ENDPOINTS
from minigte.server.limits import Limits
from minigte.server.metrics import Metrics, UnitCounter
from minigte.server.models import Model, Models, Reranker
from minigte.server.openapi import document
from minigte.server.service import Service
from minigte.server.tokens import Cl100k


def create_app(
    embedders: Mapping[str, Embedder],
    *,
    cross_encoders: Mapping[str, CrossEncoder] | None = None,
    aliases: Mapping[str, str] | None = None,
    api_keys: Iterable[str] = (),
    limits: Limits | None = None,
    cl100k: Cl100k | None = None,
) -> Service:
    """An ASGI application that serves embedders by name; the first is the one that TEI's routes mean.

    ``cross_encoders`` score for the routes that rerank, in place of the embedders.
    ``aliases``: further names, each with the name it stands for. ``api_keys``: one of them is then wanted.
    ``cl100k``: reads the token ids that come under the names of OpenAI's models.

    Raises InputError where a name means two models, or none.
    """
    limits, metrics, keys = limits or Limits(), Metrics(), list(api_keys)
    served = []
    for name, embedder in embedders.items():
        batched = AsyncEmbedder(
            embedder,
            max_queue_tokens=limits.max_queue_tokens,
            max_queue_seconds=limits.max_queue_seconds,
            observer=UnitCounter(metrics, name),
        )
        served.append(Model(name, batched, limits.max_texts, cl100k=cl100k))
    rerankers = [Reranker(name, model, limits) for name, model in (cross_encoders or {}).items()]
    models = Models(served, aliases or {}, rerankers)
    service = Service(ENDPOINTS, models, metrics, limits, keys)
    service.document = document(ENDPOINTS, models, limits, bool(keys))
    return service
