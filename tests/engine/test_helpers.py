"""Helper threads: an interrupt leaves them whole, and they keep off the core of the thread that they help."""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from minigte.engine import helpers as module
from minigte.engine.helpers import Helpers, Job
from minigte.runtime.resources import running_core


def on_cores(cores: set[int]) -> list[set[int]]:
    """The cores that a helper may use in a team of a thread that may use these; after it, it may use all."""
    found: list[set[int]] = []

    def work() -> None:
        os.sched_setaffinity(0, cores)
        made = threading.Event()

        def call(_: int) -> None:
            found.append(os.sched_getaffinity(0))
            made.set()

        helpers.form_team(call, 1)
        assert made.wait(60)

    helpers = Helpers(1)
    for _ in range(3):  # the first starts the helper
        with ThreadPoolExecutor(1) as thread:
            thread.submit(work).result()
        (helper,) = helpers._pools[os.getpid()].threads
        end = time.monotonic() + 60
        while os.sched_getaffinity(helper.native_id or -1) != cores:  # it does that behind the call
            assert time.monotonic() < end
            time.sleep(0.001)
    return found


@pytest.mark.skipif(
    running_core() is None or len(os.sched_getaffinity(0)) < 2, reason="one core, or the system does not say"
)
def test_a_helper_keeps_off_the_core_of_who_offers_the_job() -> None:
    cores = set(sorted(os.sched_getaffinity(0))[:2])
    first, *later = on_cores(cores)
    assert first == cores
    assert all(len(kept) == 1 and kept < cores for kept in later)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_where_there_is_one_core_it_stays_there() -> None:
    core = {min(os.sched_getaffinity(0))}
    assert on_cores(core) == [core] * 3


@pytest.mark.skipif(running_core() is None, reason="the system does not say")
def test_the_running_core_is_one_of_those_allowed() -> None:
    assert running_core() in os.sched_getaffinity(0)


def interrupted(call: Callable[[], object], lines: int) -> bool:
    """Whether an interrupt behind so many lines of the helpers' file struck the call."""
    left = lines

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_line_of_their_start_leaves_them_whole() -> None:
    lines = 0
    while True:
        helpers = Helpers(2)
        struck = interrupted(functools.partial(helpers.form_team, id, 1), lines)
        done = threading.Event()
        helpers.offer(Job(done.set))
        assert done.wait(60), lines
        if not struck:
            break
        lines += 1
    assert lines > 10


def test_threads_that_need_them_first_at_once_share_them() -> None:
    for _ in range(50):
        helpers = Helpers(1)
        ready = threading.Barrier(8)

        def offer(_: int, helpers: Helpers = helpers, ready: threading.Barrier = ready) -> bool:
            done = threading.Event()
            ready.wait(60)
            helpers.offer(Job(done.set))
            return done.wait(60)

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(offer, range(8)))
        assert len(helpers._pools) == 1
