"""Whose text is next: a queue in which a long request holds up no short one, and what has begun gets done.

A request is the texts of one caller. It is short if it fits into one unit of work, or is one text, and long
otherwise. There are two lines. While both wait, they take turns, a unit each; what room a unit has left is
filled from the other line.

- Short requests go in the order in which they came.
- Long requests that have begun go round, a unit each. After each round another begins.

So all long requests together delay a short one by one unit, and by one more for each unit of short ones that
came before it. And they have every second unit, however many short ones keep coming; the more have begun, the
more rarely another does, so that they get done.

Nothing here knows threads or what a text means; the caller holds a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

UNIT_TOKENS = 256  # what one thread takes at a time; more would not be faster, and others wait for longer


class Waiting:
    """The texts of one caller, and how many of them have been handed out."""

    def __init__(self, input_ids: Sequence[npt.NDArray[np.int32]]) -> None:
        """Take texts as arrays of token ids, each (T,); at least one text."""
        self.input_ids: Sequence[npt.NDArray[np.int32]] = input_ids
        self.next = 0  # the first text that has not been handed out
        self.tokens = sum(map(len, input_ids))  # of the texts that have not been handed out
        self.is_short = len(input_ids) == 1 or self.tokens <= UNIT_TOKENS
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
        self.requests = 0
        self._short_tokens = 0  # of the texts of short requests
        self._short: deque[Request] = deque()
        self._new: deque[Request] = deque()  # long ones that have had no turn
        self._begun: deque[Request] = deque()  # long ones, in the order of their next turns
        self._owed = 0  # turns of those that have begun, before another begins
        self._is_turn_of_long = False

    def ahead(self, *, is_short: bool) -> int:
        """About how many tokens a request would find before it that came now."""
        short, long = self._short_tokens, self.tokens - self._short_tokens
        if is_short:
            return short + min(long, short + UNIT_TOKENS)
        new, begun = len(self._new), len(self._begun)
        # Each that begins makes the round longer.
        turns = self._owed + new * (begun + 1) + new * (new - 1) // 2
        long = min(long, turns * UNIT_TOKENS)
        return long + min(short, long + UNIT_TOKENS)

    def put(self, request: Request) -> None:
        """Let a request wait."""
        (self._short if request.is_short else self._new).append(request)
        self.requests += 1
        self._count(request, request.tokens)

    def take(self, max_tokens: int) -> list[tuple[Request, int]]:
        """Hand out the texts of a unit: at most ``max_tokens``, or one text; none where none waits.

        Each is its request and its place in it.
        """
        pieces: list[tuple[Request, int]] = []
        if self._is_turn_of_long:
            room = self._take_long(pieces, max_tokens)
            self._is_turn_of_long = not pieces
            self._take_short(pieces, room)
        else:
            room = self._take_short(pieces, max_tokens)
            self._is_turn_of_long = bool(pieces)
            self._take_long(pieces, room)
        return pieces

    def drop(self, request: Request) -> None:
        """Forget the texts of a request that have not been handed out, and free them."""
        if request.is_dropped:
            return
        request.is_dropped = True
        if request.head:
            self.requests -= 1
        self._count(request, -request.tokens)
        request.tokens = 0
        request.input_ids = request.input_ids[: request.next]

    def _take_short(self, pieces: list[tuple[Request, int]], room: int) -> int:
        """Fill the room with texts of short requests; gives the room that is left."""
        while self._short:
            room = self._hand_out(self._short[0], pieces, room)
            if self._short[0].head:
                break
            self._short.popleft()
        return room

    def _take_long(self, pieces: list[tuple[Request, int]], room: int) -> int:
        """Fill the room with texts of the long request whose turn it is, or of several that end with them."""
        while line := self._new if self._new and not (self._owed and self._begun) else self._begun:
            request, before = line[0], room
            room = self._hand_out(request, pieces, room)
            if request.head and room == before:  # its next text does not fit
                break
            line.popleft()
            if line is self._begun:
                self._owed = max(0, self._owed - 1)
            elif room != before:  # and it has not been dropped
                self._owed = len(self._begun)
            if request.head:
                self._begun.append(request)
                break
        return room

    def _hand_out(self, request: Request, pieces: list[tuple[Request, int]], room: int) -> int:
        """As many texts of a request as there is room for; gives the room that is left."""
        while (length := request.head) and (length <= room or not pieces):
            pieces.append((request, request.next))
            room -= length
            request.next += 1
            request.tokens -= length
            self._count(request, -length)
            if not request.head:
                self.requests -= 1
        return room

    def _count(self, request: Request, tokens: int) -> None:
        self.tokens += tokens
        if request.is_short:
            self._short_tokens += tokens
