"""One file for each API: the types of its requests and answers, its routes, the words of its errors."""

from __future__ import annotations

from minigte.server.apis import ollama, openai, operations, rerank, tei
from minigte.server.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *openai.ENDPOINTS,
    *rerank.ENDPOINTS,
    *ollama.ENDPOINTS,
    *tei.ENDPOINTS,
    *operations.ENDPOINTS,
)
