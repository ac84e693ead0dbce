"""Helper threads keep off the core of the thread that they help."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minigte.engine.helpers import Helpers
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
        (helper,) = helpers._threads
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
