"""Facts that a measurement means nothing without: the machine, how quiet it is, what is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The instructions that decide which kernels a program picks.
FLAGS = (
    *("sse4_2", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm", "sve"),
)
QUIET = 0.05  # a machine is quiet if others use at most this share of its time


def facts() -> dict[str, Any]:
    """CPU, cores, instruction sets, memory, operating system and Python, as they are in this process."""
    described = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    cpu = {key.strip(): value.strip() for key, _, value in described}
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    model = cpu.get("model name", platform.machine())
    if "cpu family" in cpu:  # virtual machines often hide the model's name, and these tell it all the same
        model += f" (family {cpu['cpu family']}, model {cpu['model']}, stepping {cpu['stepping']})"
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "python": platform.python_version(),
    }


class Others:
    """How much of the machine other processes use, from the moment this is made."""

    def __init__(self) -> None:
        self.used, self.total = self._seconds()

    def share(self, own: float) -> float:
        """Their share of all cores' time until now, ``own`` seconds of which were the measured work's."""
        used, total = self._seconds()
        return max(0.0, used - self.used - own) / (total - self.total)

    def _seconds(self) -> tuple[float, float]:
        ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        used = sum(ticks) - ticks[3] - ticks[4]  # all but idle and waiting for a disk
        return used / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def busy(seconds: float = 2.0) -> float:
    """The share of all cores' time that is in use while this process sleeps."""
    others = Others()
    time.sleep(seconds)
    return others.share(own=0.0)


def closure(roots: Iterable[str]) -> dict[str, Distribution]:
    """These distributions and all they depend on; PackageNotFoundError names one that is not installed."""
    found: dict[str, Distribution] = {}
    todo = [Requirement(root) for root in roots]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        found[name] = here = distribution(name)
        extras = wanted.extras or {""}
        for line in here.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    return found


def files(installed: Distribution) -> list[Path]:
    """The files of one distribution; of an editable install, the package it points to."""
    if json.loads(installed.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        spec = importlib.util.find_spec(installed.name)
        if spec is None or spec.origin is None:
            raise PackageNotFoundError(installed.name)
        return [p for p in Path(spec.origin).parent.rglob("*") if p.suffix in {".py", ".typed"}]
    paths = (Path(str(f.locate())) for f in installed.files or [])
    return [p for p in paths if p.is_file()]


def forget(paths: Iterable[Path]) -> None:
    """Ask the kernel to drop these files from its page cache, so that the next start reads them anew."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
