"""How ``minigte serve`` does under load, beside other servers; each part writes JSON that report.py reads.

    load      requests a second and latencies at 1 to 256 connections, for every server that is here
    query     what one request on an idle server costs more than the library's own call
    overload  ten times what it can do: memory, refusals, right answers, and the second after
    soak      clients that die, hang and send rubbish, for an hour

All traffic stays on the loopback, and every part ends by itself. ``load`` needs wrk.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import convert
import machine
import texts as corpus
from serve import servers

from minigte import Embedder

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "serve"
# With 256 a document would wait for longer than is measured.
CONNECTIONS = {"short": (1, 8, 64, 256), "documents": (1, 8, 64), "mix": (1, 8, 64, 256)}
SHORT, LONG = 9, 1  # of ten requests in the mix


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("load", "query", "overload", "soak"))
    parser.add_argument("--model", type=Path, required=True, help="a folder with gte-small")
    parser.add_argument(
        "--data", type=Path, help="a folder with STSBenchmark and NFCorpus; else made-up texts"
    )
    parser.add_argument("--onnx", type=Path, help="gte-small's ONNX export, for fastembed")
    parser.add_argument("--cache", type=Path, help="where bench.mk unpacked llama-cpp-python, for llama.cpp")
    parser.add_argument("--seconds", type=float, help="of each measurement, or of the whole part")
    parser.add_argument("--only", default="", help="servers whose name or precision has this in it")
    parser.add_argument("--workloads", nargs="+", choices=tuple(CONNECTIONS), default=list(CONNECTIONS))
    parser.add_argument("--dtype", default="float32", help="of minigte, but for load")
    parser.add_argument("--output", type=Path, help="the JSON file; by default in bench/results/serve")
    options = parser.parse_args()
    begun, others = time.time(), machine.busy()
    result = {"load": load, "query": query, "overload": overload, "soak": soak}[options.part](options)
    result = {
        "part": options.part,
        "begun": time.strftime("%F %H:%M", time.localtime(begun)),
        "seconds": round(time.time() - begun, 1),
        "machine": machine.facts(),
        "busy_before": round(others, 3),
        **result,
    }
    path = options.output or RESULTS / f"{time.strftime('%F')}-{options.part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)


def read_texts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Short texts (STSBenchmark), and documents that the model reads whole (NFCorpus); or made-up ones."""
    if options.data is None:
        chance = random.Random(0)
        words = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world")
        made = [" ".join(chance.choices(words, k=chance.randint(4, 14))) for _ in range(1000)]
        return made, [" ".join(chance.choices(words, k=chance.randint(100, 450))) for _ in range(300)]
    tokenizer = corpus.load_tokenizer(options.model)
    tokenizer.no_truncation()
    documents = [
        text for text in corpus.read_documents(options.data)[:600] if len(tokenizer.encode(text).ids) <= 500
    ]
    return corpus.read_sentences(options.data)[:1000], documents[:300]


def bodies(texts: Sequence[str]) -> list[str]:
    """One request for each text."""
    return [json.dumps({"input": text, "model": "gte-small"}) for text in texts]


def mixed(short: list[str], long: list[str]) -> list[str]:
    """Nine short texts, a document, and so on."""
    mix = []
    for i in range(len(long) * (SHORT + LONG)):
        group, place = divmod(i, SHORT + LONG)
        mix.append(long[group] if place == SHORT else short[(group * SHORT + place) % len(short)])
    return mix


def linked(options: argparse.Namespace, work: Path) -> dict[str, str]:
    """The model's folder, under the name that the requests have."""
    model = work / "gte-small"
    model.symlink_to(options.model.resolve(), target_is_directory=True)
    return {"model": str(model)}


def converted(options: argparse.Namespace, work: Path) -> tuple[dict[str, str], list[str]]:
    """The files that the peers' commands name, each made by its own converter; and which cannot be had."""
    files, missing = linked(options, work), []
    source = convert.Sources(str(options.model), str(options.onnx), "", str(options.cache))
    for name, kind, option, file in (
        ("onnx", "fastembed", "onnx", ""),
        ("gguf", "gguf_float32", "cache", "model.gguf"),
    ):
        if getattr(options, option) is None:
            missing.append(f"{kind}: no --{option} was given")
            continue
        target = work / kind
        target.mkdir()
        command = [servers.python(".venv-bench"), convert.__file__, kind, str(target)]
        done = subprocess.run([*command, json.dumps(asdict(source))], capture_output=True, text=True)
        if done.returncode:
            missing.append(f"{kind}: {done.stderr.strip().splitlines()[-1]}")
        else:
            files[name] = str(target / file)
    return files, missing


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Requests a second and latencies, server by server."""
    if shutil.which("wrk") is None:
        raise SystemExit("load needs wrk: apt-get install wrk")
    seconds = options.seconds or 10
    short, long = read_texts(options)
    requests = {"short": bodies(short), "documents": bodies(long), "mix": bodies(mixed(short, long))}
    measurements = [(workload, number) for workload in options.workloads for number in CONNECTIONS[workload]]
    rows: list[dict[str, Any]] = []
    cosines: dict[str, float] = {}
    known = [*short[:4], *long[:4]]
    right = Embedder(options.model).encode(known)
    with tempfile.TemporaryDirectory() as work:
        files, missing = converted(options, Path(work))
        for kind in servers.KINDS:
            if options.only not in f"{kind.name}, {kind.precision}":
                continue
            if kind.needs and not Path(kind.needs).exists():
                missing.append(f"{kind.name}: {Path(kind.needs).relative_to(servers.ROOT)} is not here")
                continue
            if any(kind.wants(name) and name not in files for name in ("onnx", "gguf")):
                continue  # said above
            try:
                with servers.started(kind, files) as server:
                    cosines[f"{kind.name}, {kind.precision}"] = lowest_cosine(server, known, right)
                    for workload, connections in measurements:
                        wrk(server, requests[workload], connections, min(2.0, seconds))  # warm
                        server.settle()
                        measured = wrk(server, requests[workload], connections, seconds)
                        server.settle()
                        row = {"server": kind.name, "precision": kind.precision, "workload": workload}
                        rows.append({**row, "connections": connections, **measured, "rss": server.rss()})
                        print(json.dumps(rows[-1]), file=sys.stderr)
            except RuntimeError as error:
                missing.append(str(error))
                print(error, file=sys.stderr)
    return {"seconds_each": seconds, "rows": rows, "lowest_cosines": cosines, "missing": missing}


def lowest_cosine(server: servers.Started, texts: list[str], right: np.ndarray) -> float:
    """Of what a server answers to the vectors of the library, so that all compute the same of whole texts."""
    cosines = []
    for body, vector in zip(bodies(texts), right, strict=True):
        answer = json.loads(servers.ask(server.url + server.kind.path, body.encode()))
        found = np.asarray(answer["data"][0]["embedding"], np.float64)
        cosines.append(found @ vector / np.linalg.norm(found) / np.linalg.norm(vector))
    return round(min(cosines), 6)


def wrk(server: servers.Started, requests: list[str], connections: int, seconds: float) -> dict[str, Any]:
    """One run of wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("\n".join(requests) + "\n")
        file.flush()
        command = [
            "wrk",
            "--threads",
            "1",
            "--connections",
            str(connections),
            "--timeout",
            "60s",
            "--latency",
        ]
        command += [
            "--duration",
            f"{max(1, round(seconds))}s",
            "--script",
            str(HERE / "requests.lua"),
            server.url,
        ]
        environment = {**os.environ, "SERVE_BODIES": file.name, "SERVE_PATH": server.kind.path}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("JSON ")]
    measured: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    return {"requests_per_second": round(measured["requests"] / measured["seconds"], 1), **measured}


@contextlib.contextmanager
def minigte(options: argparse.Namespace, *more: str) -> Iterator[servers.Started]:
    """minigte alone, in one precision."""
    kind = servers.Kind("minigte", options.dtype, (*servers.minigte(options.dtype), *more))
    with tempfile.TemporaryDirectory() as work, servers.started(kind, linked(options, Path(work))) as server:
        yield server


def query(options: argparse.Namespace) -> dict[str, Any]:
    """In turn, the library's call in this process and one request over a kept connection, by two clients.

    What a bare socket sees is the server; http.client adds what Python's own client does with an answer.
    """
    seconds = options.seconds or 20
    short, _ = read_texts(options)
    embedder = Embedder(options.model, dtype=options.dtype)
    for text in short[:50]:
        embedder.encode(text)
    library: list[float] = []
    with minigte(options) as server:
        address = server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address)
        bare = BareClient(address)

        def through_http_client(body: bytes) -> None:
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            connection.getresponse().read()

        clients = {"a socket": bare.ask, "http.client": through_http_client}
        served: dict[str, list[float]] = {name: [] for name in clients}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = short[len(library) % len(short)]
            body = {"input": text, "model": "gte-small", "encoding_format": "base64"}
            library.append(timed(embedder.encode, text))
            for name, ask in clients.items():
                served[name].append(timed(ask, json.dumps(body).encode()))
    return {
        "dtype": options.dtype,
        "queries": len(library),
        "library_p50_ms": round(statistics.median(library), 3),
        "clients": {name: beyond(library, times) for name, times in served.items()},
    }


def timed(call: Callable[[Any], object], argument: object) -> float:
    """How many ms a call takes; and rest, so that none finds another's threads still spinning."""
    begun = time.perf_counter()
    call(argument)
    taken = 1e3 * (time.perf_counter() - begun)
    time.sleep(0.002)
    return taken


def beyond(library: list[float], times: list[float]) -> dict[str, float]:
    """What requests take, and how much more than the library's call of the same turn."""
    more = sorted(b - a for a, b in zip(library, times, strict=True))
    return {
        "p50_ms": round(statistics.median(times), 3),
        "more_p50_ms": round(statistics.median(more), 3),
        "more_p90_ms": round(more[int(0.9 * len(more))], 3),
    }


class BareClient:
    """A connection that is kept, and an answer that is read and not looked at."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, body: bytes) -> None:
        """One request. Raises RuntimeError where it is refused."""
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._socket.sendall(head + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65536)
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the server answers {head[:100]!r}")
        missing = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(rest)
        while missing > 0:
            missing -= len(self._socket.recv(65536))


class Watcher:
    """Looks at a server's memory once in a while."""

    def __init__(self, server: servers.Started, every: float) -> None:
        self.samples: list[tuple[float, int]] = []
        self._server = server
        self._every = every
        self._stop = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.samples.append((round(time.monotonic() - self._begun, 1), self._server.rss()))

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()


class Checker:
    """A client that knows the right answers."""

    def __init__(self, server: servers.Started, texts: list[str], right: np.ndarray) -> None:
        self.address = server.url.removeprefix("http://")
        self.texts = texts
        self.right = right
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong = 0

    def ask(self, chance: random.Random, most: int = 8) -> None:
        """One request of some texts over a connection of its own; what comes back is compared bit for bit."""
        chosen = [chance.randrange(len(self.texts)) for _ in range(chance.randint(1, most))]
        body = {"input": [self.texts[i] for i in chosen], "model": "gte-small", "encoding_format": "base64"}
        connection = http.client.HTTPConnection(self.address, timeout=90)
        try:
            connection.request(
                "POST", "/v1/embeddings", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            content = answer.read()
            self.statuses[str(answer.status)] += 1
            if answer.status == 200:
                rows = [
                    np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
                    for item in json.loads(content)["data"]
                ]
                self.wrong += not np.array_equal(np.stack(rows), self.right[chosen])
            elif answer.status in (429, 503):
                self.wrong += int(answer.headers["retry-after"]) < 1
        except OSError as error:
            self.statuses[type(error).__name__] += 1
        finally:
            connection.close()


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """Many times what it can do, for two minutes, while a client checks what is answered."""
    if shutil.which("wrk") is None:
        raise SystemExit("overload needs wrk: apt-get install wrk")
    seconds = options.seconds or 120
    short, long = read_texts(options)
    pool = short[:200] + long[:20]
    right = Embedder(options.model, dtype=options.dtype).encode(pool)
    requests = bodies(mixed(short, long))
    with minigte(options, "--max-queue-seconds", "0.5") as server:
        calm = wrk(server, requests, 16, min(10.0, seconds))
        capacity = round(calm["statuses"]["200"] / calm["seconds"], 1)
        server.settle()
        before = latency(server, short)
        watcher, checker = Watcher(server, max(0.2, seconds / 240)), Checker(server, pool, right)
        running = True

        def check() -> None:
            chance = random.Random(0)
            while running:
                checker.ask(chance)

        checking = threading.Thread(target=check)
        checking.start()
        flood = wrk(server, requests, 900, seconds)
        running = False
        checking.join()
        recovered = until_answered(server, short[0])
        after = latency(server, short)
        watcher.stop()
        healthy = servers.ask(server.url + "/health") == b""
    memory = [size for _, size in watcher.samples]
    quarter = max(1, len(memory) // 4)
    return {
        "dtype": options.dtype,
        "flood_seconds": seconds,
        "capacity_per_second": capacity,
        "asked_per_second": flood["requests_per_second"],
        "times_capacity": round(flood["requests_per_second"] / capacity, 1),
        "answers": flood["statuses"],
        "socket_errors": flood["socket_errors"],
        **{name: flood[name] for name in ("p50_ms", "p95_ms", "p99_ms")},
        "checked": dict(checker.statuses),
        "checked_wrong": checker.wrong,
        "rss_first_quarter": max(memory[:quarter]),
        "rss_last_quarter": max(memory[-quarter:]),
        "query_ms_before": before,
        "query_ms_after": after,
        "seconds_until_answered_after": round(recovered, 2),
        "healthy": healthy,
        "rss": watcher.samples,
    }


def latency(server: servers.Started, short: list[str]) -> float:
    """The median of some lone queries, in ms."""
    return round(1e3 * statistics.median(until_answered(server, text) for text in short[:20]), 2)


def until_answered(server: servers.Started, text: str) -> float:
    """The seconds of one query, which is asked again where it is refused."""
    begun = time.perf_counter()
    while True:
        try:
            servers.ask(server.url + "/v1/embeddings", bodies([text])[0].encode())
            return time.perf_counter() - begun
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503) or time.perf_counter() - begun > 60:
                raise
            time.sleep(0.01)


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Good clients that check, beside clients that die, hang and send rubbish."""
    seconds = options.seconds or 3600
    short, long = read_texts(options)
    pool = short[:400] + long[:40]
    right = Embedder(options.model, dtype=options.dtype).encode(pool)
    counts: collections.Counter[str] = collections.Counter()
    with minigte(options, "--max-body-bytes", "1000000") as server:
        checker = Checker(server, pool, right)
        watcher = Watcher(server, max(0.2, seconds / 720))
        end = time.monotonic() + seconds
        hanging: collections.deque[socket.socket] = collections.deque()

        def good(seed: int) -> None:
            chance = random.Random(seed)
            while time.monotonic() < end:
                checker.ask(chance)

        def bad(seed: int) -> None:
            chance = random.Random(seed)
            while time.monotonic() < end:
                counts[misbehave(server, chance, pool, hanging)] += 1
                time.sleep(chance.random() * 0.05)

        threads = [threading.Thread(target=good, args=(i,)) for i in range(4)]
        threads += [threading.Thread(target=bad, args=(100 + i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watcher.stop()
        for connection in hanging:
            connection.close()
        try:
            healthy = servers.ask(server.url + "/health") == b""
        except urllib.error.HTTPError:  # 503: it is not, and the rest of the hour counts all the same
            healthy = False
        after = latency(server, short)
    memory = [size for _, size in watcher.samples]
    tenth = max(1, len(memory) // 10)
    return {
        "dtype": options.dtype,
        "soak_seconds": seconds,
        "checked": dict(checker.statuses),
        "checked_wrong": checker.wrong,
        "bad_clients": dict(counts),
        "rss_second_tenth": max(memory[tenth : 2 * tenth] or memory),
        "rss_last_tenth": max(memory[-tenth:]),
        "query_ms_after": after,
        "healthy": healthy,
        "rss": watcher.samples,
    }


def misbehave(
    server: servers.Started, chance: random.Random, pool: list[str], hanging: collections.deque[socket.socket]
) -> str:
    """One client that should not be; gives what it did."""
    kind = chance.choice(
        ("dies", "resets", "hangs", "half", "rubbish", "wrong json", "too large", "never reads")
    )
    host, _, port = server.url.removeprefix("http://").partition(":")
    content = json.dumps(
        {"input": [chance.choice(pool) for _ in range(chance.randint(1, 60))], "model": "gte-small"}
    )
    if kind == "wrong json":
        content = content[: chance.randrange(len(content))]
    elif kind == "too large":
        content += " " * 1_200_000
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content.encode())}\r\n\r\n"
    whole = head.encode() + content.encode()
    try:
        connection = socket.create_connection((host, int(port)), timeout=30)
        if kind == "rubbish":
            connection.sendall(chance.randbytes(chance.randint(1, 3000)))
        elif kind in ("hangs", "half"):
            connection.sendall(whole[: chance.randrange(1, len(whole))])
        else:
            connection.sendall(whole)
        if kind in ("hangs", "never reads"):
            hanging.append(connection)
            while len(hanging) > 100:
                hanging.popleft().close()
            return kind
        if kind == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if kind in ("wrong json", "too large"):
            connection.recv(100)
        connection.close()
    except OSError:
        return f"{kind}, refused"
    return kind


if __name__ == "__main__":
    main()
