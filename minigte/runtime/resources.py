"""What this process may really use: cores and memory, as affinity, control groups and resource limits say.

A control group ends a process that takes too much memory without a word, in the middle of whatever it
does. So what a model needs is compared with the limit before it is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from minigte.errors import OutOfMemoryError

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """How many cores this process may really use: its affinity, and its control group's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def running_core() -> int | None:
    """The core that this thread runs on at the moment; None where the system does not say."""
    call = _sched_getcpu()
    core = -1 if call is None else call()
    return core if core >= 0 else None


@functools.cache
def _sched_getcpu() -> Callable[[], int] | None:
    if not hasattr(os, "sched_getaffinity"):  # what to do with a core's number is not there either
        return None
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
        import ctypes

        call: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
        return call
    return None


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raise OutOfMemoryError, which names the ``remedy``, where ``what`` cannot have ``needed`` bytes."""
    with contextlib.suppress(OSError, ValueError):  # without /proc nobody can tell
        size, resident, shared = (
            int(pages) for pages in (PROC / "statm").read_text(encoding="utf-8").split()[:3]
        )
        page = os.sysconf("SC_PAGE_SIZE")
        limit, name = _group_limit(), "its control group"
        used = (resident - shared) * page  # pages of files are given back when memory is short
        address_space = _address_space()
        if address_space - size * page < limit - used:
            limit, name, used = address_space, "its limit of address space", size * page
        if used + needed > limit:
            raise OutOfMemoryError(
                f"{what} needs about {_megabytes(used + needed)} MB, but {name} allows this process "
                f"{_megabytes(limit)} MB: allow it more, or {remedy}"
            )


def _megabytes(size: float) -> int:
    return round(size / 2**20)


def _address_space() -> float:
    if sys.platform == "win32":
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _quota() -> float:
    """The CPU quota in cores: the smallest among the process's control group and those around it."""
    quota = math.inf
    for group in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            limit, period = (group / "cpu.max").read_text(encoding="utf-8").split()
            quota = min(quota, math.inf if limit == "max" else int(limit) / int(period))
        with contextlib.suppress(OSError, ValueError):
            microseconds = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))  # -1 is no quota
            if microseconds > 0:
                quota = min(
                    quota, microseconds / int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))
                )
    return quota


def _group_limit() -> float:
    """The memory limit in bytes: the smallest among the process's control group and those around it."""
    smallest = math.inf
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                smallest = min(smallest, int((group / name).read_text(encoding="utf-8")))
    return smallest


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the process's control group and of those around it, of version 2 and of version 1."""
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "":  # version 2
                base = CGROUPS
            elif controller in controllers.split(","):  # version 1
                base = CGROUPS / controller
            else:
                continue
            group = base / name.lstrip("/")
            while group.is_relative_to(base):
                yield group
                group = group.parent
