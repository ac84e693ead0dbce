"""Helper threads: calls that are made once, by whichever thread takes them first."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from minigte.runtime.resources import running_core


class Job:
    """A call that is made once, by whichever thread takes it first."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._function, self._arguments = function, arguments
        self._untaken = threading.Lock()
        self._unfinished = threading.Lock()
        self._unfinished.acquire()
        self._error: BaseException | None = None

    def take(self) -> bool:
        """Make the call, unless another thread has taken it."""
        if not self._untaken.acquire(blocking=False):
            return False
        try:
            self._function(*self._arguments)
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._unfinished.release()
        return True

    def cancel(self) -> None:
        """Let nobody take it any more; who has taken it already goes on."""
        self._untaken.acquire(blocking=False)

    def finished(self) -> bool:
        """Whether the call has been made."""
        return not self._unfinished.locked()

    def wait(self) -> None:
        """Wait until the call has been made by the thread that took it, and raise what it raised."""
        with self._unfinished:
            if self._error is not None:
                raise self._error


class Helpers:
    """Up to ``count`` threads, started when first needed, and again in a forked child.

    They end with this object, or with the interpreter. An interrupt may strike the main thread anywhere in
    Python code and leave a condition variable locked for ever, so all that is shared with the helpers are
    locks and a queue that are taken in one step.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pools: dict[int, _Pool] = {}  # by process: threads do not survive a fork

    def offer(self, job: Job) -> None:
        """Let a helper take the job when it can; there may be none, so the caller must be ready to."""
        pool = self._pools.get(os.getpid()) or self._start()
        pool.jobs.put(job)

    def form_team(self, call: Callable[[int], object], count: int) -> None:
        """Let up to ``count`` helpers make ``call(0)`` beside this thread, on other cores than this one."""
        pool = self._pools.get(os.getpid())
        if pool is None:
            pool = self._start()
        elif (core := running_core()) is not None:
            cores = os.sched_getaffinity(0)
            for thread in pool.threads:
                thread.keep_off(core, cores)
        for _ in range(count):
            pool.jobs.put(Job(call, 0))

    def _start(self) -> _Pool:
        """Start this process's threads; an interrupt anywhere here leaves it with none, as it was."""
        jobs: SimpleQueue[Job | None] = SimpleQueue()
        own = _Pool(jobs, [_Helper(jobs) for _ in range(self._count)])
        # At exit too: a helper must not compute while the interpreter is taken apart.
        dismiss = weakref.finalize(self, _dismiss, own)
        with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter is shutting down
            for thread in own.threads:
                thread.start()
        pool = self._pools.setdefault(os.getpid(), own)
        if pool is not own:  # another thread was faster
            dismiss()
        return pool


class _Helper(Thread):
    """A thread that takes jobs until it gets None."""

    def __init__(self, jobs: SimpleQueue[Job | None]) -> None:
        super().__init__(daemon=True)
        self._jobs = jobs
        self._cores: set[int] = set()  # that it may use, once it has kept off one of them

    def run(self) -> None:
        """Take jobs."""
        while (job := self._jobs.get()) is not None:
            with contextlib.suppress(Exception):  # kept in the job
                job.take()
            del job  # and all it refers to
            if self._cores:
                self._allow(self._cores)

    def keep_off(self, core: int, cores: set[int]) -> None:
        """Until the end of its next job, use these cores but one; from then on, all of these.

        In a virtual machine Linux takes a core that has been idle for a while for one that the host has taken
        away, and wakes a sleeping thread on the core of the thread that wakes it. The two would compute in
        turn, and each wait at a barrier would be a switch between them.
        """
        if core in cores and len(cores) > 1:
            self._cores = cores
            self._allow(cores - {core})

    def _allow(self, cores: set[int]) -> None:
        if self.native_id is not None:  # it has been started
            with contextlib.suppress(OSError):  # it has ended, or a sandbox forbids it
                os.sched_setaffinity(self.native_id, cores)


class _Pool(NamedTuple):
    """The helpers of one process, and what they take their jobs from."""

    jobs: SimpleQueue[Job | None]
    threads: list[_Helper]


def _dismiss(pool: _Pool) -> None:
    """Let the helpers finish what they do, and end."""
    for _ in pool.threads:
        pool.jobs.put(None)
    for thread in pool.threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join()
