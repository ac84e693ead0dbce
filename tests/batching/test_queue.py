"""Whose text is next: every text once, in order; short requests are not held up, and long ones get done."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigte.batching.queue import UNIT_TOKENS, FairQueue, Waiting

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
    assert queue.tokens == queue.requests == queue.ahead(is_short=True) == queue.ahead(is_short=False) == 0
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


def test_a_short_request_of_several_texts_goes_as_a_whole():
    queue: FairQueue[Waiting] = FairQueue()
    requests = [request(*[30] * 8) for _ in range(5)]
    for waiting in requests:
        queue.put(waiting)
    for waiting in requests:
        queue.put(request(11))  # somebody else's comes in between
        queue.take(UNIT_TOKENS)
        assert not waiting.head


STEPS = st.lists(st.sampled_from(["short", "long", "take", "take"]), max_size=60)


@given(STEPS, st.integers(1, UNIT_TOKENS), st.integers(1, 512))
def test_long_requests_together_hold_up_a_short_one_by_a_unit(steps, short, text):
    """And by another for each unit of short ones before it, whatever has come and gone before."""
    queue: FairQueue[Waiting] = FairQueue()
    for step in steps:
        if step == "take":
            queue.take(UNIT_TOKENS)
        else:
            queue.put(request(100) if step == "short" else request(*[text] * 30))
    newcomer = request(short)
    queue.put(newcomer)
    units = {True: 0, False: 0}
    while newcomer.head:
        (first, _), *_ = queue.take(UNIT_TOKENS)
        units[first.is_short] += 1
    assert units[False] <= 1 + units[True]


def test_a_long_request_has_every_second_unit_while_short_ones_never_end():
    queue: FairQueue[Waiting] = FairQueue()
    long = request(*[200] * 100)
    queue.put(long)
    for _ in range(2 * 100):
        for _ in range(10):  # many more than can be served
            queue.put(request(100))
        queue.take(UNIT_TOKENS)
    assert not long.head


@given(st.integers(2, 6))
def test_long_requests_that_have_begun_go_round(count):
    queue: FairQueue[Waiting] = FairQueue()
    requests = [request(*[64] * 400) for _ in range(count)]
    for waiting in requests:
        queue.put(waiting)
    while not all(waiting.next for waiting in requests):
        queue.take(128)
    for _ in range(10):
        before = [waiting.next for waiting in requests]
        for _ in range(count):
            queue.take(128)
        assert [waiting.next - n for waiting, n in zip(requests, before, strict=True)] == [2] * count


def test_what_has_begun_gets_done_however_many_keep_coming():
    """With each unit comes a request of ten, ten times what can be done; even shares would finish none."""
    queue: FairQueue[Waiting] = FairQueue()
    requests, begun, took = [], {}, []
    for unit in range(1000):
        requests.append(request(*[UNIT_TOKENS] * 10))
        queue.put(requests[-1])
        ((waiting, place),) = queue.take(UNIT_TOKENS)
        begun.setdefault(waiting, unit)
        if place == 9:
            took.append(unit - begun.pop(waiting))
        assert len(begun) <= 11
    assert len(took) >= 1000 / 10 - 11
    assert max(took) <= 10 * 11


def test_a_request_of_few_units_does_not_wait_for_a_longer_one():
    queue: FairQueue[Waiting] = FairQueue()
    longest = request(*[UNIT_TOKENS] * 1000)
    queue.put(longest)
    queue.take(UNIT_TOKENS)
    few = request(*[UNIT_TOKENS] * 4)
    queue.put(few)
    for _ in range(8):
        queue.take(UNIT_TOKENS)
    assert not few.head
    assert longest.next == 5


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_what_is_ahead_of_a_request_is_known_before_it_comes(kinds):
    """It is what is computed before its first text, to within a few units."""
    for is_short in (True, False):
        queue: FairQueue[Waiting] = FairQueue()
        for kind in kinds:
            queue.put(request(128) if kind else request(*[128] * 60))
        expected = queue.ahead(is_short=is_short)
        newcomer = request(128) if is_short else request(*[128] * 60)
        queue.put(newcomer)
        found = 0
        while not newcomer.next:
            found += tokens_of(queue.take(UNIT_TOKENS))
        assert abs(expected - found) <= 3 * UNIT_TOKENS
