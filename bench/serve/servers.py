"""The servers that are measured: how each is started, stopped, and asked whether it is ready."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Kind:
    """A server."""

    name: str
    precision: str
    command: tuple[str, ...]  # with {model}, {onnx}, {gguf} and {port}
    path: str = "/v1/embeddings"
    needs: str = ""  # a program that must be there

    def wants(self, file: str) -> bool:
        """Whether the command names it."""
        return any(f"{{{file}}}" in part for part in self.command)


def python(environment: str) -> str:
    """The interpreter of one of the make targets' environments; this one, where it is not there."""
    path = ROOT / environment / "bin" / "python"
    return str(path) if path.exists() else sys.executable


def minigte(dtype: str, *options: str) -> tuple[str, ...]:
    """The command that serves with minigte."""
    start = (sys.executable, "-m", "minigte", "serve", "--model", "{model}", "--port", "{port}")
    return (*start, "--dtype", dtype, "--log-level", "warning", "--max-queue-seconds", "60", *options)


# Each as its documentation says, with the settings that suited it best here.
INFINITY = (
    *(str(ROOT / ".venv-infinity" / "bin" / "infinity_emb"), "v2", "--model-id", "{model}"),
    *("--engine", "torch", "--device", "cpu", "--dtype", "float32", "--no-bettertransformer"),
    *("--served-model-name", "gte-small", "--batch-size", "32"),
    *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "error"),
)
LLAMA = (
    *(str(ROOT / ".venv-bench" / "bin" / "llama-server"), "--model", "{gguf}"),
    *("--embedding", "--pooling", "mean", "--parallel", "8", "--ctx-size", "4096", "--ubatch-size", "512"),
    *("--threads-http", "264"),  # each connection that is kept has one of these to itself
    *("--host", "127.0.0.1", "--port", "{port}", "--log-disable"),
)
KINDS = (
    Kind("minigte", "float32", minigte("float32")),
    Kind("minigte", "bfloat16", minigte("bfloat16")),
    Kind("minigte", "int8", minigte("int8")),
    Kind("infinity-emb, torch", "float32", INFINITY, path="/embeddings", needs=INFINITY[0]),
    Kind(
        "FastAPI + sentence-transformers",
        "float32",
        (python(".venv-torch"), str(HERE / "plain.py"), "sentence-transformers", "{model}", "{port}"),
    ),
    Kind(
        "FastAPI + fastembed",
        "float32",
        (python(".venv-bench"), str(HERE / "plain.py"), "fastembed", "{onnx}", "{port}"),
    ),
    Kind("llama.cpp", "float32", LLAMA, needs=LLAMA[0]),
)


class Started:
    """A server that answers."""

    def __init__(self, kind: Kind, process: subprocess.Popen[bytes], port: int) -> None:
        self.kind = kind
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def rss(self) -> int:
        """Bytes in memory, of the process and its children."""
        total = 0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def settle(self, seconds: float = 120) -> None:
        """Wait until it computes no more: some go on with what nobody waits for. Raises RuntimeError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self._processor_seconds()
            time.sleep(0.25)
            if self._processor_seconds() - before < 0.05:
                return
        raise RuntimeError(f"{self.kind.name} still computes {seconds} seconds after the last request")

    def _processor_seconds(self) -> float:
        ticks = 0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(after_name[11]) + int(after_name[12])  # in user mode, and in the kernel
        return ticks / os.sysconf("SC_CLK_TCK")

    def _pids(self) -> list[int]:
        """The process and its children, and theirs."""
        pids = [self.process.pid]
        for pid in pids:  # grows meanwhile
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return pids


def ask(url: str, body: bytes | None = None, seconds: float = 60) -> bytes:
    """One request's answer. Raises OSError."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        return bytes(answer.read())


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def started(kind: Kind, files: dict[str, str]) -> Iterator[Started]:
    """Start a server and wait until it embeds. Raises RuntimeError, with what it said, where it does not."""
    port = free_port()
    command = [part.format(**files, port=port) for part in kind.command]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        server = Started(kind, process, port)
        try:
            end = time.monotonic() + 180
            while True:
                try:
                    ask(server.url + kind.path, b'{"input": "ready?", "model": "gte-small"}', 60)
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > end:
                        said.seek(0)
                        text = said.read().decode(errors="replace")[-1500:]
                        raise RuntimeError(f"{kind.name} does not serve ({error}): {text}") from None
                    time.sleep(0.2)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
