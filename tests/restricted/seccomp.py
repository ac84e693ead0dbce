"""Run a command under a seccomp filter that refuses system calls: seccomp.py [--no-shared-maps] COMMAND ...

Refused with EPERM is what a sandbox for computing has no use for: sockets, namespaces, mounts, tracing, other
processes' memory, shared memory files, the choice of cores. clone3 gets
ENOSYS, as from Docker's filter, so that the C library falls back to clone. With --no-shared-maps nothing may
be mapped MAP_SHARED, as a security module may refuse it; libraries, mapped privately, still load. For x86-64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
AUDIT_ARCH_X86_64 = 0xC000003E
# classic BPF: ld [k], jeq #k, jset #k, ret #k
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, ARCHITECTURE, FLAGS = 0, 4, 16 + 3 * 8  # offsets in struct seccomp_data
MMAP, MAP_SHARED = 9, 1
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, EACCES, ENOSYS = 1, 13, 38
NOT_HERE = 77

REFUSED = {
    41: EPERM,  # socket
    42: EPERM,  # connect
    53: EPERM,  # socketpair
    101: EPERM,  # ptrace
    165: EPERM,  # mount
    203: EPERM,  # sched_setaffinity
    238: EPERM,  # set_mempolicy
    237: EPERM,  # mbind
    239: EPERM,  # get_mempolicy
    272: EPERM,  # unshare
    298: EPERM,  # perf_event_open
    308: EPERM,  # setns
    310: EPERM,  # process_vm_readv
    319: EPERM,  # memfd_create
    321: EPERM,  # bpf
    323: EPERM,  # userfaultfd
    324: EPERM,  # membarrier
    425: EPERM,  # io_uring_setup
    435: ENOSYS,  # clone3
}


def instruction(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """One struct sock_filter."""
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def main() -> int:
    """Install the filter and become the command."""
    if platform.machine() != "x86_64":
        print("the filter is written for x86-64", file=sys.stderr)
        return NOT_HERE
    program = instruction(LOAD, ARCHITECTURE)
    program += instruction(JUMP_IF_EQUAL, AUDIT_ARCH_X86_64, 1) + instruction(RETURN, KILL)
    program += instruction(LOAD, NUMBER)
    for number, errno in REFUSED.items():
        program += instruction(JUMP_IF_EQUAL, number, 0, 1) + instruction(RETURN, ERRNO | errno)
    if sys.argv[1] == "--no-shared-maps":
        del sys.argv[1]
        program += instruction(JUMP_IF_EQUAL, MMAP, 0, 3) + instruction(LOAD, FLAGS)
        program += instruction(JUMP_IF_SET, MAP_SHARED, 0, 1) + instruction(RETURN, ERRNO | EACCES)
    program += instruction(RETURN, ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog), 0, 0
    ):
        print(f"no seccomp filter: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return NOT_HERE
    return os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
