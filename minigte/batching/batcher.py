"""The threads that compute what waits in the queue, a unit of work at a time.

A unit is a few short texts, of whichever requests, or one long text. Where there are fewer requests than
threads, all threads of the backend compute a unit together, for the shortest wait; where there are more, each
thread takes units alone, for the most texts a second. Nobody waits for a batch to fill up. A text's bits
depend on none of this, because the backend's do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.batching.queue import UNIT_TOKENS, FairQueue, Waiting
from minigte.embedder import Embedder
from minigte.errors import ClosedError, QueueFullError, QueueTimeoutError
from minigte.tokenizing.packing import pack

PATIENCE = 30.0  # seconds; an engine that has work, and has finished none for so long, does not answer
TELLING_TOKENS = 128  # a smaller unit says little of the speed: it takes about as long as this many
SMOOTHING = 0.2  # the weight of the newest unit in the speed that is remembered
TOKEN_CHARACTERS = 4  # of English, about

T = TypeVar("T")


class Observer(Protocol):
    """Who keeps count; called from several threads."""

    def computed(self, texts: int, tokens: int) -> None:
        """A unit of work has been computed."""

    def waited(self, seconds: float) -> None:
        """A request's first text has been taken from the queue."""


class Job(Waiting):
    """A request and where its result goes."""

    def __init__(
        self, input_ids: Sequence[npt.NDArray[np.int32]], token_embeddings: bool, future: asyncio.Future[Any]
    ) -> None:
        super().__init__(input_ids)
        self.token_embeddings = token_embeddings
        self.future = future
        self.loop = future.get_loop()
        self.rows: list[Float32 | None] = [None] * len(input_ids)
        self.missing = len(input_ids)  # texts that have not been computed
        self.arrived = time.monotonic()
        self.begun: float | None = None  # when its first text was taken
        self.error: Exception | None = None

    def settle(self) -> None:
        """Give the result to whoever awaits it; called in the loop's thread."""
        if self.future.done():  # cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.rows)


class Batcher:
    """Computes the texts of many callers together; for use in one event loop, or in several."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_queue_tokens: int | None = None,
        max_queue_seconds: float | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Serve ``embedder``; its backend's threads are started when the first text comes.

        ``max_queue_tokens``: a request that would make more than this wait is refused.
        ``max_queue_seconds``: so is one that would wait for longer than this before its first text is
        computed, as far as the speed so far tells; one that did wait for so long is given up.
        """
        self._max_tokens = max_queue_tokens
        self._max_seconds = max_queue_seconds
        self._work = _Work(embedder, observer)
        self._expected: list[tuple[int, int]] = []  # see ``expecting``

    @property
    def queue_tokens(self) -> int:
        """Tokens of all texts that wait."""
        return self._work.queue.tokens

    @property
    def queue_requests(self) -> int:
        """Requests that have texts waiting."""
        return self._work.queue.requests

    @property
    def has_work(self) -> bool:
        """Whether texts wait or are computed."""
        return self._work.has_work

    def is_alive(self) -> bool:
        """Whether the threads are there and get on with their work; True where there is none to do."""
        return self._work.process != os.getpid() or self._work.is_alive()

    async def run(
        self, input_ids: Sequence[npt.NDArray[np.int32]], *, token_embeddings: bool = False
    ) -> list[Float32]:
        """The vector (D,) of each text, or its (T, D) token embeddings; texts are arrays of token ids (T,).

        Cancelled, what has not begun is dropped. Raises QueueFullError, QueueTimeoutError, ClosedError, and
        what a text of this request made the model raise.
        """
        if not input_ids:
            return []
        self._start()
        loop = asyncio.get_running_loop()
        job = Job(input_ids, token_embeddings, loop.create_future())
        self._admit(job.tokens, is_short=job.is_short)
        self._work.put(job)
        expiry = None
        if self._max_seconds is not None:
            expiry = loop.call_later(self._max_seconds, self._expire, job)
        try:
            return await job.future
        finally:
            if expiry is not None:
                expiry.cancel()
            if not job.future.done() or job.future.cancelled():
                self._work.drop(job)

    def close(self) -> None:
        """Refuse new requests, finish the units that are being computed, and end the threads."""
        self._work.close()

    def _start(self) -> None:
        """Start the threads, also in a forked child; threads do not survive a fork."""
        if self._work.process == os.getpid():
            return
        if self._work.process:
            self._work = _Work(self._work.embedder, self._work.observer)
        self._work.start()
        # At exit too: a thread must not compute while the interpreter is taken apart.
        weakref.finalize(self, self._work.close)

    async def expecting(self, read: Callable[[], T], head: int, tokens: int, pool: Executor) -> T:
        """What ``read`` returns, made in ``pool``: it reads texts of so many tokens, ``head`` in the first.

        They count as waiting while they are read. Otherwise a flood of texts that are slow to read would
        wait there, where there is no bound. Raises QueueFullError and QueueTimeoutError.
        """
        self._admit(tokens, is_short=tokens <= max(head, UNIT_TOKENS))
        self._expected.append((head, tokens))
        try:
            return await in_turn(read, pool, self._max_seconds)
        finally:
            self._expected.remove((head, tokens))

    def refusal(self, tokens: int = 1, *, is_short: bool = True) -> QueueFullError | None:
        """Why there is no room for a request that came now; without the lock, so it may be a little old."""
        queue, expected = self._work.queue, list(self._expected)
        waiting = queue.tokens + sum(tokens for _, tokens in expected)
        wait = (queue.ahead(is_short=is_short) + sum(head for head, _ in expected)) / self._work.speed
        after = max(1, math.ceil(wait))
        if self._max_tokens is not None and waiting and waiting + tokens > self._max_tokens:
            return QueueFullError(
                f"{waiting} tokens are waiting and {tokens} more are too many "
                f"(limit: {self._max_tokens}): try again in {after} s",
                after,
            )
        if self._max_seconds is not None and wait > self._max_seconds:
            return QueueFullError(
                f"texts would wait for about {wait:.1f} s (limit: {self._max_seconds:g} s): "
                f"try again in {after} s",
                after,
            )
        return None

    def _admit(self, tokens: int, *, is_short: bool) -> None:
        if refusal := self.refusal(tokens, is_short=is_short):
            raise refusal

    def _expire(self, job: Job) -> None:
        """Give up a request that has waited for too long; one that has begun is finished."""
        if job.begun is None and not job.future.done():
            self._work.drop(job)
            job.error = timed_out(self._max_seconds or 0)
            job.settle()


def expected_tokens(characters: int, max_seq_length: int) -> int:
    """About how many tokens a text has, before anybody has read it."""
    return min(1 + characters // TOKEN_CHARACTERS, max_seq_length)


def timed_out(seconds: float) -> QueueTimeoutError:
    """What a request gets that has waited for so long."""
    return QueueTimeoutError(f"the request waited for {seconds:g} s, which is too long: try again in 1 s", 1)


async def in_turn(call: Callable[[], T], pool: Executor, seconds: float | None) -> T:
    """What ``call`` returns, made by a thread of ``pool``.

    Raises QueueTimeoutError where its turn does not come in so many seconds; what has begun is finished.
    """
    future = pool.submit(call)
    answer = asyncio.wrap_future(future)
    try:
        await asyncio.wait([answer], timeout=seconds)
        if not answer.done() and future.cancel():
            raise timed_out(seconds or 0)
        return await answer
    except asyncio.CancelledError:
        future.cancel()
        raise


class _Work:
    """What the threads share; they keep no Batcher alive."""

    def __init__(self, embedder: Embedder, observer: Observer | None) -> None:
        self.embedder = embedder
        self.observer = observer
        self.queue: FairQueue[Job] = FairQueue()
        self.process = 0  # whose threads these are
        self.speed = math.inf  # tokens a second, of all threads together; unknown before the first units
        self._lock = threading.Lock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0  # threads that wait for one item each in ``_wake``
        self._busy = 0  # threads that compute
        self._together = False  # all threads of the backend compute one unit
        self._closed = False
        self._progress = time.monotonic()  # when a unit was finished, or began while there was none

    def start(self) -> None:
        self.process = os.getpid()
        self._threads = [
            threading.Thread(target=self._serve, name="minigte batcher", daemon=True)
            for _ in range(self.embedder.backend.threads or 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        with self._lock:
            if self._closed:
                raise ClosedError("this batcher has been closed: make another")
            if not self._busy and not self.queue.requests:
                self._progress = time.monotonic()
            self.queue.put(job)
            wake = self._call_one()
        if wake:
            self._wake.put(None)

    def drop(self, job: Job) -> None:
        with self._lock:
            self.queue.drop(job)

    def close(self) -> None:
        if self.process not in (0, os.getpid()):  # a forked child's exit: the lock may never be given back
            return
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._wake.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        for job in dict(self.queue.take(1 << 62)):
            job.error = ClosedError("this batcher was closed before the request's turn came")
            with contextlib.suppress(RuntimeError):  # the loop has been closed too
                job.loop.call_soon_threadsafe(job.settle)

    @property
    def has_work(self) -> bool:
        return bool(self._busy or self.queue.requests)

    def is_alive(self) -> bool:
        if self._closed or not all(thread.is_alive() for thread in self._threads):
            return False
        return not self.has_work or time.monotonic() - self._progress < PATIENCE

    def _call_one(self) -> bool:
        """Whether to wake an idle thread for what is in the queue; called with the lock."""
        if not self._idle or self._together or not self.queue.tokens:
            return False
        self._idle -= 1
        return True

    def _serve(self) -> None:
        """A thread's life."""
        free = time.monotonic()  # since when this thread has been without work, or since its last unit
        while True:
            with self._lock:
                if self._closed:
                    return
                pieces = [] if self._together else self.queue.take(self._share())
                if pieces:
                    self._busy += 1
                    self._together = together = self._busy == 1 and not self.queue.tokens
                    wake = self._call_one()
                else:
                    self._idle += 1
            if not pieces:
                self._wake.get()
                free = time.monotonic()
                continue
            if wake:
                self._wake.put(None)
            begun = time.monotonic()
            waited = self._begin(pieces, begun)
            try:
                finished = self._compute(pieces, together)
            finally:
                with self._lock:
                    self._busy -= 1
                    if together:
                        self._together = False
                    self._progress = time.monotonic()
            self._hand_over(finished)
            tokens = sum(len(job.input_ids[place]) for job, place in pieces)
            # With what lies between two units: a busy event loop keeps the threads from Python's lock.
            now = time.monotonic()
            self._remember(tokens, now - free, together)
            free = now
            if self.observer is not None:
                self.observer.computed(len(pieces), tokens)
                for seconds in waited:
                    self.observer.waited(seconds)
            del pieces, finished  # and all they refer to

    def _share(self) -> int:
        """How many tokens a free thread takes: where all that are free find requests, an equal part."""
        free = len(self._threads) - self._busy
        if self.queue.requests < free:
            return UNIT_TOKENS
        return min(UNIT_TOKENS, math.ceil(self.queue.tokens / free))

    def _begin(self, pieces: Sequence[tuple[Job, int]], begun: float) -> list[float]:
        """Note which requests begin with this unit; gives how long each of them has waited."""
        waited = []
        for job, _ in pieces:
            if job.begun is None:
                job.begun = begun
                waited.append(begun - job.arrived)
        return waited

    def _remember(self, tokens: int, seconds: float, together: bool) -> None:
        """Keep the speed of all threads, as this unit shows it."""
        if tokens < TELLING_TOKENS:
            return
        threads = 1 if together else len(self._threads)
        speed = threads * tokens / max(seconds, 1e-6)
        self.speed = speed if self.speed == math.inf else self.speed + SMOOTHING * (speed - self.speed)

    def _compute(self, pieces: Sequence[tuple[Job, int]], together: bool) -> list[Job]:
        """Compute a unit and give the jobs that are finished with it.

        Where that raises, each request's texts are computed by themselves, so that an exception fails the
        requests whose fault it is, and no other.
        """
        jobs: dict[Job, list[tuple[Job, int]]] = {}
        for job, place in pieces:
            jobs.setdefault(job, []).append((job, place))
        try:
            self._forward(pieces, together)
        except Exception as error:
            for job, own in jobs.items():
                try:
                    if len(jobs) == 1:
                        raise error
                    self._forward(own, together)
                except Exception as own_error:
                    job.error = own_error
        finished = []
        with self._lock:
            for job, own in jobs.items():
                job.missing -= len(own)
                if job.error is not None:
                    if not job.is_dropped:
                        finished.append(job)
                    self.queue.drop(job)  # what is left of it cannot help any more
                elif not job.missing:
                    finished.append(job)
        return finished

    def _forward(self, pieces: Sequence[tuple[Job, int]], together: bool) -> None:
        """Put each text's vector, or token embeddings, into its job."""
        input_ids = [job.input_ids[place] for job, place in pieces]
        (batch,) = pack(input_ids, max_texts=len(input_ids), max_tokens=1 << 62)
        [(_, hidden)] = self.embedder.backend.last_hidden_states([batch], alone=not together)  # (N, D)
        vectors = self.embedder._pool(hidden, batch.offsets, None, False)  # (B, D)
        for i, vector in enumerate(vectors):
            job, place = pieces[batch.index[i]]
            row = hidden[batch.offsets[i] : batch.offsets[i + 1]] if job.token_embeddings else vector
            job.rows[place] = row.copy()  # not a view, which would keep the whole unit

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        """Settle jobs in their loops, all of a loop in one call."""
        for loop in {job.loop for job in jobs}:
            own = [job for job in jobs if job.loop is loop]
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_settle, own)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
