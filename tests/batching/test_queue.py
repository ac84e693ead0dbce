"""Whose text is next: every text once, in order, nobody starved, and short requests before long ones."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigte.batching.queue import CREDIT, FairQueue, Waiting

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=20)


def request(*lengths: int) -> Waiting:
    return Waiting([np.zeros(length, np.int32) for length in lengths])


def tokens_of(pieces) -> int:
    return sum(len(waiting.input_ids[place]) for waiting, place in pieces)


@given(
    st.lists(st.tuples(st.integers(0, 20), LENGTHS, st.booleans()), max_size=15),
    st.integers(1, 600),
)
def test_every_text_is_handed_out_once_and_in_its_callers_order(arrivals, budget):
    """Requests come in at any step, and some are dropped two steps later."""
    queue: FairQueue[Waiting] = FairQueue()
    requests, out = [], []
    for step in itertools.count():
        if step > 22 and not queue.tokens:
            break
        for i, (when, lengths, _) in enumerate(arrivals):
            if when == step:
                requests.append((i, request(*lengths)))
                queue.put(requests[-1][1])
        for i, waiting in requests:
            when, _, dropped = arrivals[i]
            if dropped and when + 2 == step:
                queue.drop(waiting)
                queue.drop(waiting)  # twice is once
        pieces = queue.take(budget)
        assert pieces or queue.tokens == 0
        assert tokens_of(pieces) <= budget or len(pieces) == 1
        out += pieces
        live = [waiting for _, waiting in requests if waiting.head]
        assert queue.requests == len(live)
        assert queue.tokens == sum(waiting.tokens for waiting in live)
        assert queue.heads == sum(waiting.head for waiting in live)
    assert queue.tokens == queue.requests == queue.heads == 0
    for i, waiting in requests:
        handed = [place for other, place in out if other is waiting]
        assert handed == list(range(len(handed)))
        if not arrivals[i][2]:
            assert len(handed) == len(arrivals[i][1])


@given(st.lists(st.integers(1, 512), min_size=1, max_size=200), st.integers(1, 512), st.integers(1, 100))
def test_a_short_request_goes_before_what_is_left_of_a_long_one(lengths, short, begun):
    queue: FairQueue[Waiting] = FairQueue()
    queue.put(request(*lengths))
    for _ in range(begun):
        queue.take(256)
    newcomer = request(short)
    queue.put(newcomer)
    assert queue.take(256)[0][0] is newcomer


def test_requests_of_one_text_keep_their_order():
    queue: FairQueue[Waiting] = FairQueue()
    requests = [request(11) for _ in range(50)]
    for waiting in requests:
        queue.put(waiting)
    order = []
    while pieces := queue.take(64):
        order += [waiting for waiting, _ in pieces]
    assert order == requests


def test_a_long_request_has_its_share_while_short_ones_never_end():
    queue: FairQueue[Waiting] = FairQueue()
    long = request(*[200] * 100)
    queue.put(long)
    for _ in range(1000):  # as much comes in as can be served, so the long one's share becomes small
        queue.put(request(100))
        queue.take(100)
    assert 5 < long.next < 100


@given(st.integers(2, 6))
def test_long_requests_share_evenly(count):
    queue: FairQueue[Waiting] = FairQueue()
    requests = [request(*[64] * 200) for _ in range(count)]
    for waiting in requests:
        queue.put(waiting)
    for _ in range(100):
        queue.take(128)
    handed = [waiting.next for waiting in requests]
    assert max(handed) - min(handed) <= 1


def test_a_newcomer_is_no_more_than_its_credit_ahead():
    """Who waits since long goes first, however short the newcomer is."""
    queue: FairQueue[Waiting] = FairQueue()
    long = request(*[512] * 10)
    queue.put(long)
    queue.take(1)  # long has had a text
    for _ in range(2 * CREDIT // 8 + 4):
        queue.put(request(8))
        if any(waiting is long for waiting, _ in queue.take(8)):
            break
    else:
        raise AssertionError("starved")
