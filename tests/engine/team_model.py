"""An exhaustive model checker for the team's protocol; the model is the text of ``engine/team.py`` itself.

``lead``, ``follow`` and ``barrier`` are parsed, and each of their atomic steps becomes a ``yield``, so that a
scheduler decides who takes the next one. All interleavings of all members are then explored, each state once:

- a helper may come at any time, or never; so may the leader;
- a loop with a bounded number of looks may end after any of them, since the scheduler may let any time pass
  (hence two looks stand for thousands), and naps and pauses need no steps of their own;
- who sleeps on a word is woken by ``wake_all``, or spuriously at any time, or never;
- the word is compared and the sleep begun in one step, as a futex does it.

Memory is sequentially consistent: every word is only ever read and written atomically.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minigte.engine import team

Op = tuple[Any, ...]  # an atomic step and its arguments, or a mark of the member's life
Thread = Generator[Op, Any, None]

STEPS = {"atomic_add", "atomic_load", "sleep_on", "wake_all"}
PAUSES = {"relax", "nap"}
DONE: Op = ("done",)
SOURCE = Path(team.__file__).read_text()

# What every member does: join, then meet at the barrier ``rounds`` times.
MEMBERS = """
def leader(wanted, rounds):
    size = yield from lead(0, wanted)
    yield ("joined", 0, size)
    yield from work(size, rounds)

def helper(wanted, rounds):
    rank, size = yield from follow(0)
    yield ("joined", rank, size)
    if size > 0:
        yield from work(size, rounds)

def work(size, rounds):
    for round in range(rounds):
        yield ("enter",)
        yield from barrier(0, size)
        yield ("left",)
"""


class ProtocolError(Exception):
    """The protocol breaks a promise; the message says which, and the steps that lead there."""


class _Yielding(ast.NodeTransformer):
    """Calls of atomic steps become yields of their names and arguments; pauses go."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in PAUSES:
            return ast.Constant(None)
        if name in STEPS:
            return ast.Yield(ast.Tuple([ast.Constant(name), *node.args], ast.Load()))
        return node


def protocol(source: str) -> ast.Module:
    """The functions of ``source`` that are the protocol."""
    wanted = ("lead", "follow", "barrier")
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    assert [function.name for function in functions] == list(wanted)
    return ast.Module(functions, [])


def _functions(source: str) -> dict[str, Any]:
    """The generators ``leader`` and ``helper`` over the protocol in ``source``."""
    module = protocol(source)
    for function in module.body:
        function.decorator_list.clear()
    module = ast.fix_missing_locations(_Yielding().visit(module))
    space: dict[str, Any] = {
        **{name: getattr(team, name) for name in ("MEMBERS", "SIZE", "ARRIVALS", "GENERATION")},
        **{name: getattr(team, name) for name in ("CLOSED", "DISSOLVED")},
        **dict.fromkeys(("SPINS", "PATIENCE", "LOYALTY"), 1),
        "address": lambda meeting: meeting,
    }
    exec(compile(module, "team.py", "exec"), space)
    exec(MEMBERS, space)
    return space


class _Local:
    """One kind of member as an automaton: where it stands, and where each answer takes it.

    A generator cannot be copied, so a place is known by the answers that lead there from the start.
    """

    def __init__(self, start: Callable[[], Thread]) -> None:
        self._start = start
        self._answers: list[tuple[Any, ...]] = []
        self._places: dict[Any, int] = {}
        self._next: dict[tuple[int, Any], int] = {}
        self.ops: list[Op] = []  # the step that each place is about to take
        self._find(())

    def step(self, place: int, answer: Any) -> int:
        key = place, answer
        if key not in self._next:
            self._next[key] = self._find((*self._answers[place], answer))
        return self._next[key]

    def _find(self, answers: tuple[Any, ...]) -> int:
        thread = self._start()
        try:
            op = next(thread)
            for answer in answers:
                op = thread.send(answer)
        except StopIteration:
            op = DONE
        key: list[Any] = [op]  # what it is about to do may hold what is nowhere else
        frame: Any = thread
        while frame is not None and frame.gi_frame is not None:  # the generator and those it waits for
            key.append(
                (frame.gi_code.co_name, frame.gi_frame.f_lasti, *sorted(frame.gi_frame.f_locals.items()))
            )
            frame = frame.gi_yieldfrom
        place = self._places.setdefault(tuple(key), len(self.ops))
        if place == len(self.ops):
            self.ops.append(op)
            self._answers.append(answers)
        return place


class Member(NamedTuple):
    """One thread in a state."""

    place: int = 0
    asleep: bool = False
    rank: int = 0
    size: int = 0  # of the team it has joined; 0 for none
    entered: int = 0  # how many barriers it has come to


State = tuple[tuple[Member, ...], tuple[tuple[int, int], ...]]  # the leader first; (word, value) where not 0
Edge = tuple[str, State]  # what was done; "start" and "spurious" are the kinds that may never happen


class Protocol:
    """All states of a leader and ``helpers`` helpers that meet ``rounds`` times."""

    def __init__(self, helpers: int, rounds: int, source: str = SOURCE) -> None:
        functions = _functions(source)
        wanted = helpers + 1
        self._leader = _Local(lambda: functions["leader"](wanted, rounds))
        self._helper = _Local(lambda: functions["helper"](wanted, rounds))
        self._wanted = wanted

    def check(self) -> int:
        """Explore every state; returns how many there are. Raises ProtocolError."""
        first: State = (tuple(Member() for _ in range(self._wanted)), ())
        origin: dict[State, tuple[State, str] | None] = {first: None}
        back: dict[State, list[State]] = {}  # along what must happen sooner or later
        todo = [first]
        ends = []
        for state in todo:  # grows while it is walked through
            if self._ended(state):
                ends.append(state)
            try:
                for kind, label, after in self._edges(state):
                    if after not in origin:
                        origin[after] = state, label
                        todo.append(after)
                    if kind == "step":
                        back.setdefault(after, []).append(state)
            except ProtocolError as error:
                raise ProtocolError(f"{error}\n{_trace(origin, state)}") from None
        good = set(ends)
        for state in ends:
            for before in back.get(state, ()):
                if before not in good:
                    good.add(before)
                    ends.append(before)
        for state in todo:
            if state not in good:
                raise ProtocolError(f"no way to the end from here\n{_trace(origin, state)}")
        return len(todo)

    def _edges(self, state: State) -> Iterator[tuple[str, str, State]]:
        """(kind, label, state after) of every step that can be next."""
        members, memory = state
        seen = set()
        for index, member in enumerate(members):
            local = self._local(index)
            if local.ops[member.place] == DONE or (
                index > 0 and member in seen
            ):  # equal helpers: one is enough
                continue
            if index > 0:
                seen.add(member)
            started = member.place != 0
            kind = "spurious" if member.asleep else "step" if started else "start"
            yield (kind, *self._step(members, dict(memory), index))

    def _step(self, members: tuple[Member, ...], memory: dict[int, int], index: int) -> tuple[str, State]:
        """Let one member take its step."""
        now = list(members)
        local, me = self._local(index), members[index]
        if me.asleep:
            label = "wakes up by itself"
            now[index] = me._replace(place=local.step(me.place, None), asleep=False)
        else:
            if local.ops[me.place] == ("enter",):
                me = me._replace(entered=me.entered + 1, place=local.step(me.place, None))
            name, *arguments = op = local.ops[me.place]
            label = str(op)
            if name == "sleep_on":
                word, old = arguments
                if (memory.get(word, 0) - old) % (1 << 32) == 0:  # a futex compares 32 bits
                    now[index] = me._replace(asleep=True)
                else:
                    now[index] = me._replace(place=local.step(me.place, None))
            elif name == "wake_all":
                for other, sleeper in enumerate(now):
                    if sleeper.asleep and self._local(other).ops[sleeper.place][1] == arguments[0]:
                        place = self._local(other).step(sleeper.place, None)
                        now[other] = sleeper._replace(place=place, asleep=False)
                now[index] = me._replace(place=local.step(me.place, None))
            elif name in STEPS:
                word = arguments[0]
                before = memory.get(word, 0)
                if name == "atomic_add":
                    memory[word] = before + arguments[1]
                now[index] = me._replace(place=local.step(me.place, before))
            else:
                now[index] = me
        # What costs no step happens at once: for these marks the earliest moment is the severest.
        for other in range(len(now)):
            while (op := self._local(other).ops[now[other].place])[0] in ("joined", "left"):
                if op[0] == "joined":
                    now[other] = now[other]._replace(rank=op[1], size=op[2])
                    self._check_joined(now, other)
                else:
                    self._check_left(now, other)
                now[other] = now[other]._replace(place=self._local(other).step(now[other].place, None))
        words = tuple(sorted((word, value) for word, value in memory.items() if value))
        return f"{'leader' if index == 0 else 'helper'} {index}: {label}", ((now[0], *sorted(now[1:])), words)

    def _check_joined(self, members: list[Member], index: int) -> None:
        team_members = [member for member in members if member.size]
        ranks = [member.rank for member in team_members]
        if len({member.size for member in team_members}) > 1:
            raise ProtocolError("the members do not agree on the size")
        if len(set(ranks)) < len(ranks) or any(not 0 <= m.rank < m.size for m in team_members):
            raise ProtocolError(f"the ranks are {ranks} of {members[index].size}")
        if members[index].size > self._wanted:
            raise ProtocolError("the team is larger than wanted")

    def _check_left(self, members: list[Member], index: int) -> None:
        me = members[index]
        entered = [member.entered for member in members if member.size]
        if len(entered) != me.size or any(not 0 <= count - me.entered <= 1 for count in entered):
            raise ProtocolError(f"left barrier {me.entered} when the others had entered {entered}")

    def _ended(self, state: State) -> bool:
        """Whether all who came are done; then the team was complete."""
        members, _ = state
        for index, member in enumerate(members):
            if member.place != 0 and self._local(index).ops[member.place] != DONE:
                return False
        sizes = [member.size for member in members if member.size]
        if sizes and len(sizes) != sizes[0]:
            raise ProtocolError(f"a team of {sizes[0]} had {len(sizes)} members")
        return True

    def _local(self, index: int) -> _Local:
        return self._leader if index == 0 else self._helper


def _trace(origin: dict[State, tuple[State, str] | None], state: State) -> str:
    """The steps that lead to a state."""
    lines = [f"memory {dict(state[1])}"]
    while (before := origin[state]) is not None:
        state, label = before
        lines.append(label)
    return "\n".join(reversed(lines))
