"""What this processor can do, asked of the processor itself: /proc may be missing, and Numba too."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable

from minigte.engine.level import AMX

# (leaf, subleaf) to the registers eax, ebx, ecx, edx: what the instruction cpuid answers.
Cpuid = Callable[[int, int], tuple[int, ...]]

EAX, EBX, ECX, EDX = range(4)
# Where cpuid tells of a feature, by LLVM's name: leaf, subleaf, register, bit. From the manuals of Intel
# (volume 2A, CPUID) and AMD (volume 3, appendix E).
X86_64 = {
    "sse3": (1, 0, ECX, 0),
    "ssse3": (1, 0, ECX, 9),
    "fma": (1, 0, ECX, 12),
    "sse4.1": (1, 0, ECX, 19),
    "sse4.2": (1, 0, ECX, 20),
    "movbe": (1, 0, ECX, 22),
    "popcnt": (1, 0, ECX, 23),
    "avx": (1, 0, ECX, 28),
    "f16c": (1, 0, ECX, 29),
    "bmi": (7, 0, EBX, 3),
    "avx2": (7, 0, EBX, 5),
    "bmi2": (7, 0, EBX, 8),
    "avx512f": (7, 0, EBX, 16),
    "avx512dq": (7, 0, EBX, 17),
    "avx512cd": (7, 0, EBX, 28),
    "avx512bw": (7, 0, EBX, 30),
    "avx512vl": (7, 0, EBX, 31),
    "avx512vnni": (7, 0, ECX, 11),
    "amx-bf16": (7, 0, EDX, 22),
    "amx-tile": (7, 0, EDX, 24),
    "amx-int8": (7, 0, EDX, 25),
    "avxvnni": (7, 1, EAX, 4),
    "avx512bf16": (7, 1, EAX, 5),
    "lzcnt": (0x80000001, 0, ECX, 5),
}
OSXSAVE = (1, 0, ECX, 27)  # the system lets programs read XCR0
# The parts of wide registers that the system keeps when it changes threads, as bits of XCR0.
YMM, ZMM, TMM = 0b00000110, 0b11100110, 0b11 << 17
# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), from Linux 5.16: its number on x86-64, its arguments.
ARCH_PRCTL, REQUEST, MATRIX_REGISTERS = 158, 0x1023, 18


def machine() -> str:
    """The family of this processor, on every system by the same name: "x86_64" or "aarch64"."""
    name = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name.lower(), name.lower())


def x86_64_features(cpuid: Cpuid, xcr0: Callable[[], int]) -> frozenset[str]:
    """Those of X86_64 that the processor has and the system lets programs use."""

    def has(leaf: int, subleaf: int, register: int, bit: int) -> bool:
        highest = cpuid(leaf & 0x80000000, 0)[EAX]
        if leaf > highest or (subleaf and subleaf > cpuid(leaf, 0)[EAX]):
            return False
        return bool(cpuid(leaf, subleaf)[register] >> bit & 1)

    kept = xcr0() if has(*OSXSAVE) else 0
    names = {name for name, place in X86_64.items() if has(*place)}
    if kept & YMM != YMM:
        names -= {"avx", "avx2", "fma", "f16c", "avxvnni"}
    if kept & ZMM != ZMM:
        names = {name for name in names if not name.startswith("avx512")}
    if kept & TMM != TMM:
        names -= set(AMX)
    return frozenset(names)


@functools.cache
def may_use_matrices() -> bool:
    """Ask the system for AMX's registers, for all threads of this process and of those that it forks.

    Only Linux is asked. It refuses where it is too old, in some sandboxes, and where a thread has a stack for
    signals that is too small to keep these registers.
    """
    if sys.platform != "linux" or machine() != "x86_64":
        return False
    try:
        return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST, MATRIX_REGISTERS) == 0)
    except (OSError, AttributeError):
        return False


def usable(features: frozenset[str]) -> frozenset[str]:
    """These features without those of AMX, where the system refuses its registers."""
    return features if features.isdisjoint(AMX) or may_use_matrices() else features - set(AMX)
