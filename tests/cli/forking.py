"""``minigte`` in processes that are forked from one where all is imported: as a shell sees it, and sooner."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CALL = 1 << 17  # bytes that a call may take: a packet of a socket holds some more
TIMEOUT = 120  # seconds


class Forks:
    """A process that has imported minigte, and of which each command is a fork."""

    def __init__(self) -> None:
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:  # Python warns of a fork where there are threads: here those of NumPy's BLAS
            command = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def run(
        self, *args: str, stdin: bytes, cwd: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        """As ``subprocess.run`` of ``python -m minigte`` with pipes for all three streams."""
        (stdin_read, stdin_write), (stdout_read, stdout_write), (stderr_read, stderr_write) = (
            os.pipe() for _ in range(3)
        )
        theirs = [stdin_read, stdout_write, stderr_write]
        socket.send_fds(self._calls, [json.dumps([args, str(cwd), environment]).encode()], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_write, stdin_write, stdin)
            stdout, stderr = pool.map(_read, (stdout_read, stderr_read))
        return subprocess.CompletedProcess(args, int(self._calls.recv(CALL)), stdout, stderr)

    def close(self) -> None:
        """End the process."""
        self._calls.close()
        assert self._process.wait(60) == 0


def _write(descriptor: int, content: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(content)  # a BrokenPipeError stays in the pool: not every command reads its stdin


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def serve(calls: socket.socket) -> None:
    """Fork for every call, until there are no more."""
    import minigte.cli.encoding
    import minigte.cli.outputs
    import minigte.embedder  # noqa: F401
    from minigte.__main__ import main
    from minigte.backend import choose_backend, kernels

    backend = choose_backend("auto", "float32")
    if backend != "numpy":
        kernels(backend).prepare("float32")
    gc.freeze()
    while True:
        call, descriptors, *_ = socket.recv_fds(calls, CALL, 3)
        if not call:
            return
        child = os.fork()
        if child == 0:
            signal.alarm(TIMEOUT)  # ends it: its exit code is then -SIGALRM
            args, cwd, environment = json.loads(call)
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            calls.close()
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["minigte", *args]
            sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
            try:
                main()
            except SystemExit as end:  # without taking apart what was imported, which takes a second
                sys.stderr.flush()
                os._exit(end.code)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        calls.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
