"""Which kernels have become slower than the figures that are kept: ``make bench-kernels``.

Each kernel's part of this core's peak, measured by ops.py now, beside that of the newest file in results/ops.
A part of the peak does not depend on the clock, and little on the processor as long as its instructions are
the same. The run says which parts have fallen by more than FALL. It needs a quiet core, and proves nothing:
look again before you look for a cause.
"""

from __future__ import annotations

from statistics import median

import ops
import report

FALL = 0.05  # of the peak; the same kernel differs by some hundredths from run to run


def fallen(now: dict[str, float], kept: dict[str, float]) -> list[str]:
    """The kernels whose part of the peak has fallen."""
    return [name for name, share in now.items() if name in kept and share < kept[name] - FALL]


def main() -> None:
    """Measure, compare, print."""
    speeds = {name: median(rounds) for name, rounds in ops.measure(ops.cases()).items()}
    now = report.shares(speeds)
    found = report.kept_ops()
    day, processor, before = found if found else ("none", "none", {})
    kept = report.shares(before)
    lower = fallen(now, kept)
    print(f"now: {ops.processor()}; kept: {processor}, {day}")
    print(f"{'kernel':52}{'now':>8}{'kept':>8}")
    for name, share in now.items():
        shown = f"{kept[name]:.0%}" if name in kept else "-"
        print(f"{name:52}{share:8.0%}{shown:>8}{'  fell' * (name in lower)}")
    print(f"fell by more than {FALL:.0%} of the peak: {', '.join(lower) or 'none'}")


if __name__ == "__main__":
    main()
