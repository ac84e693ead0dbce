"""What Prometheus reads: every name, its labels and what it counts.

The labels' values come from the server's own routes and models, never from a request, so their number is
bounded. With several worker processes each writes its values to files of a common folder, and any of them
adds up all (prometheus_client's multiprocess mode, which the environment asks for before this is imported).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    multiprocess,
)

if TYPE_CHECKING:
    from minigte.server.models import Model

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
UNIT_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
UNIT_TOKENS = (8, 16, 32, 64, 128, 192, 256, 384, 512)


class Metrics:
    """One set of counters; a process has one."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = CollectorRegistry()
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self._count = 0  # requests in flight
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # found once
        if not self._several:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
        r = self._registry
        self._requests = Counter(
            "minigte_requests", "Requests answered.", ["route", "model", "status"], registry=r
        )
        self._seconds = Histogram(
            "minigte_request_seconds",
            "From a request's headers to the last byte of its answer.",
            ["route", "model"],
            buckets=SECONDS,
            registry=r,
        )
        self._texts = Histogram(
            "minigte_request_texts", "Texts of a request.", ["route", "model"], buckets=TEXTS, registry=r
        )
        self._tokens = Counter("minigte_tokens", "Tokens of the texts answered.", ["model"], registry=r)
        self._cut = Counter("minigte_cut_texts", "Texts that were too long and cut.", ["model"], registry=r)
        self._waited = Histogram(
            "minigte_queue_seconds",
            "From a request's tokens to when its first text is taken.",
            ["model"],
            buckets=SECONDS,
            registry=r,
        )
        self._unit_texts = Histogram(
            "minigte_unit_texts", "Texts computed together.", ["model"], buckets=UNIT_TEXTS, registry=r
        )
        self._unit_tokens = Histogram(
            "minigte_unit_tokens", "Tokens computed together.", ["model"], buckets=UNIT_TOKENS, registry=r
        )
        self._queue_tokens = Gauge(
            "minigte_queue_tokens",
            "Tokens that wait.",
            ["model"],
            multiprocess_mode="livesum",
            registry=r,
        )
        self._queue_requests = Gauge(
            "minigte_queue_requests",
            "Requests that wait.",
            ["model"],
            multiprocess_mode="livesum",
            registry=r,
        )
        in_flight = Gauge(
            "minigte_requests_in_flight",
            "Requests that have come and are not answered.",
            multiprocess_mode="livesum",
            registry=r,
        )
        self._show(in_flight, lambda: self._count)

    def begun(self) -> None:
        """A request has come."""
        self._count += 1
        self._set_gauges()

    def answered(
        self, route: str, model: str, status: int, seconds: float, texts: int, tokens: int, cut: int
    ) -> None:
        """A request has been answered, or has vanished."""
        self._count -= 1
        self._set_gauges()
        key = route, model, status
        if key not in self._answers:
            self._answers[key] = self._requests.labels(*key), self._seconds.labels(route, model)
        requests, request_seconds = self._answers[key]
        requests.inc()
        request_seconds.observe(seconds)
        if texts:
            self._texts.labels(route, model).observe(texts)
        if tokens and status == 200:
            self._tokens.labels(model).inc(tokens)
        if cut and status == 200:
            self._cut.labels(model).inc(cut)

    def watch(self, model: Model) -> None:
        """Show how much waits for a model."""
        batcher = model.embedder.batcher
        self._show(self._queue_tokens.labels(model.name), lambda: batcher.queue_tokens)
        self._show(self._queue_requests.labels(model.name), lambda: batcher.queue_requests)

    def _show(self, gauge: Gauge, value: Callable[[], float]) -> None:
        if self._several:  # there a gauge cannot ask a function, and must be set
            self._gauges.append((gauge, value))
        else:
            gauge.set_function(value)

    def _set_gauges(self) -> None:
        for gauge, value in self._gauges:
            gauge.set(value())

    def page(self) -> bytes:
        """All of it, in Prometheus' text form."""
        if not self._several:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class UnitCounter:
    """Counts a model's units of work; the ``Observer`` of its batcher."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._texts = metrics._unit_texts.labels(model)
        self._tokens = metrics._unit_tokens.labels(model)
        self._waited = metrics._waited.labels(model)

    def computed(self, texts: int, tokens: int) -> None:
        """A unit of work has been computed."""
        self._texts.observe(texts)
        self._tokens.observe(tokens)

    def waited(self, seconds: float) -> None:
        """A request's first text has been taken from the queue."""
        self._waited.observe(seconds)
