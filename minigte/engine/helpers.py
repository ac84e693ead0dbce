"""Helper threads: calls that are made once, by whichever thread takes them first."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread


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
        self._process = 0
        self._jobs: SimpleQueue[Job | None]

    def offer(self, job: Job) -> None:
        """Let a helper take the job when it can; there may be none, so the caller must be ready to."""
        if self._process != os.getpid():  # threads do not survive a fork
            self._process = os.getpid()
            self._jobs = SimpleQueue()
            threads = [Thread(target=_serve, args=(self._jobs,), daemon=True) for _ in range(self._count)]
            # At exit too: a helper must not compute while the interpreter is taken apart.
            weakref.finalize(self, _dismiss, self._jobs, threads)
            with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter is shutting down
                for thread in threads:
                    thread.start()
        self._jobs.put(job)


def _serve(jobs: SimpleQueue[Job | None]) -> None:
    """A helper's life."""
    while (job := jobs.get()) is not None:
        with contextlib.suppress(Exception):  # kept in the job
            job.take()
        del job  # and all it refers to


def _dismiss(jobs: SimpleQueue[Job | None], threads: list[Thread]) -> None:
    """Let the helpers finish what they do, and end."""
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join()
