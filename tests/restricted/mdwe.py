"""Run a command in which no memory ever becomes executable: mdwe.py COMMAND ...

The kernel's PR_SET_MDWE (Linux 6.3), what systemd's MemoryDenyWriteExecute=yes asks for. A compiler that runs
just in time cannot work there. Exit code 77: the kernel does not know it.
"""

import ctypes
import os
import sys

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    print(f"no PR_SET_MDWE: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    sys.exit(77)
os.execvp(sys.argv[1], sys.argv[1:])
