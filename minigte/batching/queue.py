"""Whose text is next: a queue in which a long request cannot hold up the short ones.

A request is the texts of one caller. The queue has a clock that runs while tokens are handed out, the slower
the more requests are waiting: it says how many tokens each of them would have had by now, if all had shared
the machine evenly. A request's tag is when its next text is due on that clock, and the text with the smallest
tag goes next (weighted fair queueing; Parekh and Gallager 1993, with the clock simplified). A request that
comes in is due at once, and its first text ``CREDIT`` tokens early, so that it goes before what is left of
every other request, unless that has been kept waiting for longer than one text.

Nothing here knows threads or what a text means; the caller holds a lock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

CREDIT = 512  # tokens; as long as one text of the models at hand


class Waiting:
    """The texts of one caller, and how many of them have been handed out."""

    def __init__(self, input_ids: Sequence[npt.NDArray[np.int32]]) -> None:
        """Take texts as arrays of token ids, each (T,); at least one text."""
        self.input_ids: Sequence[npt.NDArray[np.int32]] = input_ids
        self.next = 0  # the first text that has not been handed out
        self.tokens = sum(map(len, input_ids))  # of the texts that have not been handed out
        self.tag = 0.0
        self.is_dropped = False

    @property
    def head(self) -> int:
        """How many tokens the next text has; 0 where there is none."""
        return len(self.input_ids[self.next]) if self.next < len(self.input_ids) else 0


Request = TypeVar("Request", bound=Waiting)


class FairQueue(Generic[Request]):
    """Requests that wait for their turn."""

    def __init__(self) -> None:
        self.tokens = 0  # of all texts that wait
        self.heads = 0  # of the next text of each request: what a new one may find before it
        self.requests = 0
        self._clock = 0.0
        self._heap: list[tuple[float, int, Request]] = []
        self._arrivals = itertools.count()

    def put(self, request: Request) -> None:
        """Let a request wait."""
        request.tag = self._clock - CREDIT
        heapq.heappush(self._heap, (request.tag, next(self._arrivals), request))
        self.requests += 1
        self.tokens += request.tokens
        self.heads += request.head

    def take(self, max_tokens: int) -> list[tuple[Request, int]]:
        """Hand out the texts that are due: at most ``max_tokens``, or one text; none where none waits.

        Each is its request and its place in it.
        """
        pieces: list[tuple[Request, int]] = []
        taken, sharers = 0, self.requests
        while self._heap:
            _, arrival, request = self._heap[0]
            length = request.head
            if not length:  # dropped, or all handed out
                heapq.heappop(self._heap)
                continue
            if pieces and taken + length > max_tokens:
                break
            pieces.append((request, request.next))
            taken += length
            request.tag += length if request.next else CREDIT + length
            request.next += 1
            request.tokens -= length
            self.heads += request.head - length
            if request.head:
                heapq.heapreplace(self._heap, (request.tag, arrival, request))
            else:
                heapq.heappop(self._heap)
                self.requests -= 1
        self.tokens -= taken
        self._clock += taken / max(1, sharers)
        return pieces

    def drop(self, request: Request) -> None:
        """Forget the texts of a request that have not been handed out, and free them."""
        if request.is_dropped:
            return
        request.is_dropped = True
        if request.head:
            self.requests -= 1
            self.heads -= request.head
            self.tokens -= request.tokens
        request.tokens = 0
        request.input_ids = request.input_ids[: request.next]
