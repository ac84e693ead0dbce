"""Run a command in a control group of its own: cgroup.py --cores 0.5 --memory 512M COMMAND ...

Works with version 1 and version 2 of control groups, as root. At the end one line on stderr says the peak of
the memory that the kernel counted for the group. Exit code 77: the kernel gives no such group.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds
NOT_HERE = 77
UNITS = {"M": 2**20, "G": 2**30}


def main() -> int:
    """Make the group, run the command in it, remove the group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=float)
    parser.add_argument("--memory", help="such as 512M")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    memory = arguments.memory and int(arguments.memory[:-1]) * UNITS[arguments.memory[-1]]
    quota = arguments.cores and int(arguments.cores * PERIOD)
    name = f"minigte-{os.getpid()}"
    unified = (ROOT / "cgroup.controllers").exists()
    if unified:
        groups = [ROOT / name]
        limits = {"memory.max": memory, "cpu.max": quota and f"{quota} {PERIOD}"}
        peak = ROOT / name / "memory.peak"
    else:
        groups = [ROOT / "memory" / name, ROOT / "cpu" / name]
        limits = {"memory.limit_in_bytes": memory, "cpu.cfs_quota_us": quota}
        peak = ROOT / "memory" / name / "memory.max_usage_in_bytes"
    try:
        if unified:
            (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
        for group in groups:
            group.mkdir()
        for file, limit in limits.items():
            if limit:
                group = next(group for group in groups if (group / file).exists())
                (group / file).write_text(str(limit))
    except (OSError, StopIteration) as error:
        print(f"no control group: {error!r}", file=sys.stderr)
        return NOT_HERE

    def enter() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        code = subprocess.run(arguments.command, preexec_fn=enter, check=False).returncode
        print(f"peak of the group: {int(peak.read_text()) >> 20} MB", file=sys.stderr)
    finally:
        for group in groups:
            group.rmdir()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
