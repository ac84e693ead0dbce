"""The ASGI application: what is done for every request, whichever API it speaks.

It finds the route, checks the key, refuses what there is no room for, reads the body within bounds, gives the
request an id, lets the endpoint answer, drops the work of a client that has gone, says what is wrong in the
API's own words, and counts and logs it all.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import orjson

from minigte.errors import ClosedError, MinigteError, OverloadedError, QueueFullError
from minigte.server import logs
from minigte.server.endpoint import Api, Call, Endpoint
from minigte.server.limits import BODIES, BODY_SECONDS, Limits
from minigte.server.metrics import Metrics
from minigte.server.models import Models
from minigte.server.problems import Problem

# What an ASGI server calls an application with.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
WATCH_AFTER = 0.02  # seconds; whether the client of a request is still there is looked at from then on
PROBE_SECONDS = 5.0  # for the engine to embed a token, when the health is asked for
GONE = 499  # the status, in logs and metrics, of a request whose client has vanished


class Service:
    """An ASGI application over some models."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        models: Models,
        metrics: Metrics,
        limits: Limits,
        api_keys: Iterable[str] = (),
    ) -> None:
        """Put the endpoints' routes over the models. ``api_keys``: one of them opens what is not open."""
        self.models = models
        self.metrics = metrics
        self.limits = limits
        self.document = b""  # the OpenAPI document
        self.is_ready = False
        self._keys = [key.encode() for key in api_keys]
        self._routes: dict[str, dict[str, Endpoint]] = {}  # path -> method -> what answers
        self._open_ended: dict[str, dict[str, Endpoint]] = {}  # what is before a path's parameter -> the same
        for endpoint in endpoints:
            before, name = endpoint.parameter
            (self._open_ended if name else self._routes).setdefault(before, {})[endpoint.method] = endpoint
        self._prefixes = {endpoint.api.prefix: endpoint.api for endpoint in endpoints}
        self._process = secrets.token_hex(4)  # what the ids begin with that this process gives
        self._numbers = itertools.count()
        self._body_bytes = 0  # of all bodies that are being read or answered
        self._probed = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def start(self) -> None:
        """Embed a text with every model, so that the first request finds all that it needs in memory."""
        for model in self.models.all:
            self.metrics.watch(model)
            await model.embedder.encode("ready?")
        for reranker in self.models.rerankers:
            await reranker.scores([("ready?", "yes")], param="texts", truncate=True)
        self.is_ready = True

    def close(self) -> None:
        """End the models' threads; what still waits is refused."""
        self.is_ready = False
        for model in self.models.all:
            model.embedder.close()
        for reranker in self.models.rerankers:
            reranker.close()

    async def is_healthy(self) -> bool:
        """Whether every model's engine answers: it gets on with its work, or embeds a token when asked."""
        if not self.is_ready or not all(model.embedder.batcher.is_alive() for model in self.models.all):
            return False
        now = time.monotonic()
        if now - self._probed < 1:
            return True
        for model in self.models.all:
            probe = model.embedder.vectors([[*model.tokens.prefix, *model.tokens.suffix]])
            try:
                await asyncio.wait_for(probe, PROBE_SECONDS)
            except OverloadedError:
                continue  # it is busy, and what keeps it busy gets done
            except (MinigteError, asyncio.TimeoutError):
                # Behind much work, or on a machine that is short of time, a probe takes long; what tells then
                # is that the work gets done.
                if not (model.embedder.batcher.has_work and model.embedder.batcher.is_alive()):
                    return False
        self._probed = now
        return True

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise a Problem without one of the keys; how long that takes does not tell how near it was."""
        given = headers.get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        if scheme.lower() != b"bearer" or not any(matches):
            raise Problem(
                401,
                "this server wants a key: send the header 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request from its headers to the last byte of its answer, whatever happens."""
        begun = time.perf_counter()
        self.metrics.begun()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        own_id = f"{self._process}{next(self._numbers):08x}"
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else own_id
        exchange = _Exchange(scope, request_id, send)
        watch = _Watch(receive)
        try:
            endpoint, path_params = self._find(exchange)
            exchange.route = endpoint.path
            if self._keys and not endpoint.is_open:
                self._check_key(headers)
            if endpoint.waits and (refusal := self.models.refusal()):
                raise refusal
            content = await self._read_body(headers, receive) if endpoint.body else b""
            exchange.call = call = Call(self, endpoint.decode(content), path_params)
            del content
            with watch:
                answer = await endpoint.handler(call)
            await exchange.send(200, endpoint.content_type, answer, call.headers)
        except _Vanished:
            exchange.status = GONE
        except asyncio.CancelledError:
            if not watch.has_vanished:
                raise
            exchange.status = GONE
        except Exception as error:
            await exchange.refuse(self._api_of(exchange.path), _problem_of(error, exchange))
        finally:
            # When the loop has sent what was written.
            seconds = time.perf_counter() - begun
            asyncio.get_running_loop().call_soon(self._note, exchange, seconds)

    def _find(self, exchange: _Exchange) -> tuple[Endpoint, dict[str, str]]:
        """What answers this path and method, and the path's parameters; or a Problem where nothing does."""
        path, rest = exchange.path, ""
        methods = self._routes.get(path)
        if methods is None:
            for before, of in self._open_ended.items():
                if path.startswith(before) and path != before:
                    methods, rest = of, path.removeprefix(before)
        if methods is None:
            raise Problem(404, f"no route {path!r}: see /docs", code="no_such_route")
        # HEAD is answered wherever GET is; the server leaves the body out.
        endpoint = methods.get("GET" if exchange.method == "HEAD" else exchange.method)
        if endpoint is None:
            raise Problem(
                405,
                f"{path} does not take {exchange.method}: see /docs",
                code="no_such_route",
                allow=", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])})),
            )
        _, name = endpoint.parameter
        return endpoint, {name: rest} if name else {}

    def _api_of(self, path: str) -> Api:
        """In whose words to say what is wrong: the route's, or those of the longest prefix."""
        if methods := self._routes.get(path):
            return next(iter(methods.values())).api
        prefix = max((prefix for prefix in self._prefixes if path.startswith(prefix)), key=len, default="")
        return self._prefixes[prefix]

    def _note(self, exchange: _Exchange, seconds: float) -> None:
        """Count and log a request that has been answered."""
        call = exchange.call
        model, texts, tokens, cut = (call.model, call.texts, call.tokens, call.cut) if call else ("", 0, 0, 0)
        self.metrics.answered(exchange.route, model, exchange.status, seconds, texts, tokens, cut)
        if logs.logger.isEnabledFor(logging.INFO):
            logs.event(
                "request",
                id=exchange.id,
                method=exchange.method,
                path=exchange.path[:200],
                status=exchange.status,
                ms=round(1000 * seconds, 2),
                model=model,
                texts=texts,
                tokens=tokens,
            )

    async def _live(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan: load before the first request, let go after the last."""
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises a Problem where it is too large, too slow or compressed."""
        limit = self.limits.max_body_bytes
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding not in (b"identity", b""):
            raise Problem(415, "the body is compressed: send it as it is", code="compressed_body")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Vanished
        first = message.get("body", b"")
        if len(first) > limit:
            raise self._too_large()
        if not message.get("more_body"):
            return bytes(first)
        try:
            return await asyncio.wait_for(self._read_rest(first, receive), BODY_SECONDS)
        except asyncio.TimeoutError:
            problem = Problem(408, f"the body took longer than {BODY_SECONDS:g} s", code="slow_body")
            raise problem from None

    async def _read_rest(self, first: bytes, receive: Receive) -> bytes:
        """The body that begins with ``first``; the parts of all such bodies together are bounded too."""
        parts, size = [first], len(first)
        kept = size
        self._body_bytes += size
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Vanished
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                if size > self.limits.max_body_bytes:
                    raise self._too_large()
                if self._body_bytes + len(part) > BODIES * self.limits.max_body_bytes:
                    raise Problem(503, "too many large requests at once", code="overloaded", retry_after=1)
                self._body_bytes += len(part)
                kept += len(part)
                if not message.get("more_body"):
                    return b"".join(parts)
        finally:
            self._body_bytes -= kept

    def _too_large(self) -> Problem:
        limit = self.limits.max_body_bytes
        return Problem(
            413,
            f"the body has more than {limit} bytes: send the texts in several requests",
            code="large_body",
        )


def _problem_of(error: Exception, exchange: _Exchange) -> Problem:
    """What to tell the client of an exception; one that is not foreseen is logged, and told by its id."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OverloadedError):
        status = 429 if isinstance(error, QueueFullError) else 503
        return Problem(status, str(error), code="overloaded", retry_after=error.retry_after)
    if isinstance(error, ClosedError):
        return Problem(503, "the server is stopping", code="stopping", retry_after=1)
    logs.logger.error("a request failed", exc_info=error, extra={logs.FIELDS: {"id": exchange.id}})
    return Problem(500, f"the server failed over request {exchange.id}: its log says why", code="failure")


class _Vanished(Exception):  # noqa: N818 (it is no error)
    """The client has closed the connection before it was answered."""


class _Watch:
    """Cancels the request's task when its client vanishes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_vanished = False
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> _Watch:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_vanished = True
        assert self._task is not None
        self._task.cancel()


class _Exchange:
    """What is known of a request while it is answered."""

    def __init__(self, scope: Scope, request_id: str, send: Send) -> None:
        self.id = request_id
        self.method: str = scope["method"]
        # Of a larger application's path only what is below the place where this one is mounted.
        self.path: str = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        self.route = "none"
        self.status = 0
        self.call: Call | None = None
        self._send = send

    async def send(self, status: int, content_type: bytes, body: bytes, further: Mapping[str, str]) -> None:
        """The whole answer."""
        self.status = status
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", content_type),
            (b"x-request-id", self.id.encode()),
            *((name.encode(), value.encode()) for name, value in further.items()),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, api: Api, problem: Problem) -> None:
        """Answer what is wrong, in the API's words."""
        if self.status:  # the answer has begun, and nothing can be added to it
            return
        headers = {}
        if problem.retry_after is not None:
            headers["retry-after"] = str(problem.retry_after)
        if problem.allow is not None:
            headers["allow"] = problem.allow
        if problem.status == 401:
            headers["www-authenticate"] = "Bearer"
        await self.send(problem.status, b"application/json", orjson.dumps(api.error(problem)), headers)
