"""What the server bounds, and by how much unless told."""

from __future__ import annotations

from dataclasses import dataclass

BODY_SECONDS = 60.0  # for a request's whole body to arrive
HEADER_SECONDS = 20.0  # for its headers
HEADER_BYTES = 64 << 10  # of its headers together
KEEP_ALIVE_SECONDS = 75  # a connection without a request; longer than the load balancers in front, mostly 60
BODIES = 16  # how many bodies of the largest size are kept at once
SHUTDOWN_SECONDS = 30  # for the requests in flight, once the server is told to stop


@dataclass(frozen=True)
class Limits:
    """The bounds that the command line sets."""

    max_body_bytes: int = 8 << 20
    max_texts: int = 2048  # as OpenAI has it
    max_queue_tokens: int = 1_000_000  # 4 MB of ids
    max_queue_seconds: float = 10.0
    max_connections: int = 1024
