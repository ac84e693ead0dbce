"""The processes of ``minigte serve``: one that serves, or one that watches over several that do.

The models are loaded once, before the workers are forked, so all of them read one copy of the weights. Each
accepts connections from the same socket. A worker that ends without being told to is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from minigte.errors import InputError
from minigte.server import logs
from minigte.server.limits import KEEP_ALIVE_SECONDS, SHUTDOWN_SECONDS, Limits
from minigte.server.protocol import BoundedProtocol

if TYPE_CHECKING:  # it counts, and where the counts are kept is not known before they are shared
    from minigte.server.service import Service

# How long a thread keeps Python's lock while another wants it: the threads that compute want it for some
# microseconds between two units, and would stand still for 5 ms behind a busy loop.
SWITCH_SECONDS = 0.0005
BACKLOG = 2048  # connections that the system accepts ahead
PAUSE_SECONDS = 1.0  # before connections are accepted again that the system had no room for
RESPAWN_SECONDS = 1.0  # between two births of a worker that dies at once
STOP = (signal.SIGTERM, signal.SIGINT)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one. Raises InputError where that cannot be."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(address[0], address[1])
        try:
            if sys.platform != "win32":  # where it would let two servers listen on one port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address[4])
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): try another --host or --port"
        ) from None
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """The address to give to a client."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(make_app: Callable[[], Service], listening: socket.socket, limits: Limits, workers: int) -> int:
    """Serve until a SIGTERM or SIGINT; gives the process' exit code.

    ``make_app`` is called in each process that serves, and shares what the caller has loaded.
    """
    _allow_connections(limits.max_connections)
    if workers == 1:
        return _serve_here(make_app, listening, limits)
    with _shared_metrics():
        return _Supervisor(lambda: _serve_here(make_app, listening, limits), workers).run()


def _serve_here(make_app: Callable[[], Service], listening: socket.socket, limits: Limits) -> int:
    """Serve in this process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        make_app(),
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request came from
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
    )
    server = _Server(config)
    for number in STOP:  # uvicorn sends itself the signal again when it has stopped
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listening])
    except SystemExit as error:  # the application did not start; it has said why
        return int(error.code or 0)
    return 0


class _Server(uvicorn.Server):
    """uvicorn, which accepts connections all at once, and says when it is ready.

    libuv accepts one each time around the loop, so that among some hundred busy connections a new one would
    wait for minutes.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections of these sockets."""
        own = sys.platform != "win32"  # where there is no libuv, and no reader of a socket that listens
        await super().startup([] if own else sockets)
        self._opening: set[asyncio.Task[object]] = set()
        for listening in (sockets or []) if self.started else []:
            if own:
                self._listen(listening)
            logs.event("ready", url=url_of(listening))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and close connections when they are answered."""
        for listening in (sockets or []) if sys.platform != "win32" else []:
            asyncio.get_running_loop().remove_reader(listening)
        await super().shutdown(sockets)

    def _listen(self, listening: socket.socket) -> None:
        if listening.fileno() != -1:  # closed while it paused
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take all connections that wait."""
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            try:
                connection, _ = listening.accept()
            except ConnectionAbortedError:  # its client has gone
                continue
            except (BlockingIOError, InterruptedError):  # no more
                return
            except OSError as error:  # no room: what waits goes on waiting
                logs.logger.error("cannot accept a connection (%s)", error.strerror or error)
                loop.remove_reader(listening)
                loop.call_later(PAUSE_SECONDS, self._listen, listening)
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _Supervisor:
    """Forks workers, replaces those that die, and stops them all together."""

    def __init__(self, work: Callable[[], int], count: int) -> None:
        self._work = work
        self._count = count
        self._workers: dict[int, float] = {}  # process -> when it was born
        self._stopping = False

    def run(self) -> int:
        """Watch over the workers until all have ended; gives the exit code."""
        from prometheus_client import multiprocess

        gc.collect()
        gc.freeze()  # what is loaded stays where it is, so the children share its pages
        handlers = {number: signal.signal(number, self._stop) for number in STOP}
        code = 0
        try:
            for _ in range(self._count):
                self._fork()
            while self._workers:
                process, status = self._wait()
                if process == 0:
                    continue
                born = self._workers.pop(process)
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]
                ended = os.waitstatus_to_exitcode(status)
                if self._stopping:
                    code = code or (0 if ended in (0, -signal.SIGTERM) else 1)
                    continue
                logs.event("a worker ended", logging.ERROR, worker=process, code=ended)
                if ended == 3 and time.monotonic() - born < RESPAWN_SECONDS:  # it could not even start
                    code = 1
                    self._stop(signal.SIGTERM, None)
                    continue
                time.sleep(max(0.0, born + RESPAWN_SECONDS - time.monotonic()))
                if not self._stopping:
                    self._fork()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return code

    def _fork(self) -> None:
        # A signal between the birth and the child's own handlers would be lost, or end the parent's way.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        process = os.fork()
        if process:
            self._workers[process] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
            return
        code = 1
        try:
            for number in STOP:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
            code = self._work()
        except BaseException:
            logs.logger.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _wait(self) -> tuple[int, int]:
        """The next child that ends, with its status; (0, 0) for none yet."""
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            self._workers.clear()
            return 0, 0
        if process == 0 or process not in self._workers:
            time.sleep(0.05)  # a signal's handler runs in between
            return 0, 0
        return process, status

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._stopping = True
        for process in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """A folder in which the workers keep their counts; it must be in the environment before they count."""
    folder = Path(tempfile.mkdtemp(prefix="minigte-metrics-"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _allow_connections(count: int) -> None:
    """Ask the system for as many open files as connections, and some more."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise InputError(
            f"--max-connections {count} needs {wanted} open files, and the system allows {hard}: "
            "choose fewer, or raise the limit (ulimit -n)"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
