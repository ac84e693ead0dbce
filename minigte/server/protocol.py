"""uvicorn's HTTP/1.1 protocol with the bounds that it leaves to others.

uvicorn and llhttp parse, frame and refuse what is malformed. What they do not bound is how large and how slow
headers may be, how long a client may take to read its answer, and how long to send a body that nobody reads
because its request has been refused: each would hold memory or a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from minigte.server.limits import BODY_SECONDS, HEADER_BYTES, HEADER_SECONDS


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None  # for what is awaited
        self._is_in_headers = True  # they have begun, or are to be the first
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first headers."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        self._await_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse headers that are too large, whether they end with this or not."""
        if self._is_in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._is_in_headers:
            return
        if self._deadline is None:
            self._await_headers()
        if self._header_bytes > HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Await the rest of the headers, if they do not come with this."""
        super().on_message_begin()
        if not self._is_in_headers:
            self._is_in_headers, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Begin the request, and await no headers until the next."""
        self._is_in_headers = False
        self._await_nothing()
        # Connections alone count. uvicorn counts requests too, and among them those just answered: where many
        # are refused at once it would see twice as many as there are.
        most = self.config.limit_concurrency
        is_full = most is not None and len(self.connections) >= most
        self.limit_concurrency = 0 if is_full else None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Where a request is answered before all of it is here, throw away what comes, for so long."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._deadline = self.loop.call_later(BODY_SECONDS, self.transport.abort)

    def on_message_complete(self) -> None:
        """Where a body has been thrown away, await the next request."""
        super().on_message_complete()
        if self.cycle.response_complete:
            self._await_nothing()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection; where its client has not read its answer, without waiting until it does."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._refuse, b"408 Request Timeout")

    def _await_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        self._await_nothing()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
            self.transport.close()
