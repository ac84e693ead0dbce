"""The protocol of ``engine/team.py``: every interleaving, planted bugs that must be found, a real stress."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from team_model import SOURCE, Protocol, ProtocolError, protocol

from minigte.engine import simd, team
from minigte.engine.jit import kernel
from minigte.engine.workspace import meeting_point

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("helpers", "rounds"), [(1, 5), (2, 3), (3, 2)])
def test_every_interleaving(helpers: int, rounds: int) -> None:
    states = Protocol(helpers, rounds).check()
    assert states > 100
    print(f"{helpers} helpers, {rounds} barriers: {states} states")


BUGS = {
    "nobody is woken": ("        wake_all(where + GENERATION)\n", ""),
    "a wake-up is believed": (
        "    while atomic_load(where + GENERATION) == generation:\n        sleep",
        "    if True:\n        sleep",
    ),
    "the generation is read too late": (
        "    generation = atomic_load(where + GENERATION)\n"
        "    if atomic_add(where + ARRIVALS, 1) == size - 1:",
        "    last = atomic_add(where + ARRIVALS, 1) == size - 1\n"
        "    generation = atomic_load(where + GENERATION)\n    if last:",
    ),
    "the last but one opens the barrier": (
        "(where + ARRIVALS, 1) == size - 1",
        "(where + ARRIVALS, 1) == size - 2",
    ),
    "arrivals are never taken back": ("        atomic_add(where + ARRIVALS, -size)\n", ""),
    "arrivals are taken back too late": (
        "        atomic_add(where + ARRIVALS, -size)\n        atomic_add(where + GENERATION, 1)\n"
        "        wake_all(where + GENERATION)\n",
        "        atomic_add(where + GENERATION, 1)\n        wake_all(where + GENERATION)\n"
        "        atomic_add(where + ARRIVALS, -atomic_load(where + ARRIVALS))\n",
    ),
    "who comes too late joins": ("    if rank > CLOSED:\n        return 0, 0\n", ""),
    "the leader promises whom it wanted": (
        "atomic_add(where + SIZE, size)",
        "atomic_add(where + SIZE, wanted)",
    ),
    "a late leader starts a dissolved team": ("    if size > CLOSED:", "    if size > 2 * CLOSED:"),
    "two helpers dissolve a team": (" and atomic_add(where + MEMBERS, CLOSED) < CLOSED:", ":"),
    "helpers wait for a leader for ever": (
        "    if atomic_load(where + SIZE) == 0 and atomic_add(where + MEMBERS, CLOSED) < CLOSED:\n"
        "        atomic_add(where + SIZE, DISSOLVED)\n",
        "",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_checker_finds(bug: str) -> None:
    right, wrong = BUGS[bug]
    assert SOURCE.count(right) == 1
    with pytest.raises(ProtocolError) as found:
        Protocol(2, 3, SOURCE.replace(right, wrong)).check()
    print(found.value)


@kernel
def delay():
    """Nothing, a moment, or long enough for other threads to take many steps."""
    moment = np.random.randint(0, 100)  # noqa: NPY002  # in compiled code, one generator a thread
    if moment == 0:
        simd.nap()
    for _ in range(moment // 50 * moment):
        simd.relax()


@kernel
def delayed_add(where, value):
    delay()
    before = simd.atomic_add(where, value)
    delay()
    return before


@kernel
def delayed_load(where):
    value = simd.atomic_load(where)
    delay()
    return value


@kernel
def delayed_sleep(where, old):
    delay()
    simd.sleep_on(where, old)
    delay()


@kernel
def delayed_wake(where):
    delay()
    simd.wake_all(where)
    delay()


def with_delays() -> dict[str, object]:
    """The text of the protocol, compiled with random delays around its steps, and with little patience."""
    space = {
        **vars(team),
        "atomic_add": delayed_add,
        "atomic_load": delayed_load,
        "sleep_on": delayed_sleep,
        "wake_all": delayed_wake,
        "SPINS": 10,
        "PATIENCE": 2,
        "LOYALTY": 10,
    }
    exec(compile(protocol(SOURCE), "team.py", "exec"), space)
    return space


def test_random_delays() -> None:
    """Real threads; helpers and leaders come late or never, and sleepers are woken without a reason."""
    space = with_delays()
    lead, follow, barrier = space["lead"], space["follow"], space["barrier"]
    rounds, wanted, chance = 20, 4, random.Random(0)

    @kernel
    def meet(meeting, rank, size, counts):
        """Returns how often another member had not come as far as this one, or was further."""
        wrong = 0
        for i in range(rounds):
            counts[rank] = i + 1
            barrier(meeting, size)
            for other in range(size):
                wrong += counts[other] != i + 1
            barrier(meeting, size)
        return wrong

    @kernel
    def wake(meeting):
        simd.wake_all(simd.address(meeting) + team.GENERATION)

    def member(join, after, meeting, counts):
        time.sleep(after)
        rank, size = join()
        return rank, size, meet(meeting, rank, size, counts) if size else 0

    alive, sizes = True, []
    meeting = meeting_point()

    def disturb() -> None:
        while alive:
            wake(meeting)
            time.sleep(0.0001)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with ThreadPoolExecutor(wanted) as pool:
            for _ in range(150):
                meeting, counts = meeting_point(), np.zeros(wanted, np.int64)
                late = [chance.choice((0, 0, 0.0005, 0.003)) for _ in range(wanted)]
                joins = [lambda: (0, lead(meeting, wanted))] + [lambda: follow(meeting)] * (wanted - 1)  # noqa: B023
                if chance.random() < 0.1:
                    joins[0] = lambda: (0, 0)  # the leader never comes
                came = chance.randint(1, wanted)
                done = [
                    pool.submit(member, *each, meeting, counts)
                    for each in zip(joins[:came], late, strict=False)
                ]
                results = [each.result(timeout=120) for each in done]
                joined = sorted(rank for rank, size, _ in results if size)
                assert joined == list(range(len(joined)))
                assert all(size in (0, len(joined)) for _, size, _ in results)
                assert sum(wrong for _, _, wrong in results) == 0
                sizes.append(len(joined))
    finally:
        alive = False
        disturber.join()
    print({size: sizes.count(size) for size in range(wanted + 1)})


def test_a_helper_gives_up_if_the_leader_never_comes() -> None:
    meeting = meeting_point()
    with ThreadPoolExecutor(2) as pool:
        helpers = [pool.submit(team.follow, meeting) for _ in range(2)]
        assert [helper.result(timeout=60) for helper in helpers] == [(0, 0)] * 2
    assert team.lead(meeting, 3) == 1
    assert team.follow(meeting) == (0, 0)


def test_a_leader_starts_without_helpers_that_do_not_come() -> None:
    meeting = meeting_point()
    assert team.lead(meeting, 4) == 1
    assert team.follow(meeting) == (0, 0)


def test_barrier_keeps_members_in_step() -> None:
    size, rounds = 4, 200
    meeting, counts = meeting_point(), np.zeros(size, np.int64)
    seen = []

    def member(join) -> None:
        rank, together = join()
        assert together == size
        for i in range(rounds):
            counts[rank] = i + 1
            team.barrier(meeting, size)
            if not (counts == i + 1).all():
                seen.append(counts.copy())
            team.barrier(meeting, size)

    helpers = [threading.Thread(target=member, args=(lambda: team.follow(meeting),)) for _ in range(size - 1)]
    for helper in helpers:
        helper.start()
    while meeting[0] < size - 1:
        pass
    member(lambda: (0, team.lead(meeting, size)))
    for helper in helpers:
        helper.join()
    assert not seen
