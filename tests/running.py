"""``minigte serve`` as a process on the loopback, for tests that talk to it through real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx


class Running:
    """A server that is ready."""

    def __init__(
        self, process: subprocess.Popen[str], first: dict[str, Any], log: list[dict[str, Any]]
    ) -> None:
        self.process = process
        self.url = first["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.log = log
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def rss(self) -> int:
        """Bytes that the process has in memory."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(status[1]) * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values with these labels."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(
                f'{k}="{v}"' in line for k, v in labels.items()
            ):
                total += float(line.rpartition(" ")[2])
        return total


@contextlib.contextmanager
def running(
    *options: str, environment: dict[str, str] | None = None, program: str | None = None
) -> Iterator[Running]:
    """Start a server with these options on a free port; it is ended with the block, if it still runs.

    ``program`` is run in the place of ``python -m minigte``.
    """
    start = ["-m", "minigte"] if program is None else ["-c", program]
    command = [sys.executable, *start, "serve", "--port", "0", "--log-format", "json", *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINIGTE_")}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**inherited, **(environment or {})}
    )
    log: list[dict[str, Any]] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                log.append(json.loads(line))
            except ValueError:
                log.append({"message": line.rstrip("\n"), "level": "plain"})
            if log[-1]["message"] == "ready":
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(120)
        firsts = [line for line in log if line["message"] == "ready"]
        assert firsts, log
        server = Running(process, firsts[0], log)
        yield server
        server.client.close()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        reader.join(30)
        assert process.stderr is not None
        process.stderr.close()


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    """Look again and again until it is so. Raises AssertionError where it does not come to be."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)
