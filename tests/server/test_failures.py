"""Bounds, bad clients and bad moments: real sockets, real processes, on the loopback alone."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny
from running import Running, running, wait_until

from minigte import Embedder

pytestmark = pytest.mark.slow

TEXTS = ["the cat sat on the mat", "a dog", "run"]
MANY = ["the cat sat on the mat a dog run"] * 1000  # a second of work, or more


def body_of(texts, model="tiny") -> bytes:
    return json.dumps({"input": texts, "model": model}).encode()


def request(content: bytes, *headers: str, path: str = "/v1/embeddings") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


@pytest.fixture
def connect() -> Iterator[Callable[[Running], socket.socket]]:
    """Opens connections, and closes them when the test ends."""
    with contextlib.ExitStack() as opened:

        def connect(server: Running) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened.enter_context(connection)

        yield connect


def status_of(connection: socket.socket) -> int:
    """The status of the next answer; 0 where the connection is closed without one."""
    try:
        with connection.makefile("rb") as answer:
            first = answer.readline()
    except ConnectionError:
        return 0
    return int(first.split()[1]) if first else 0


def read_answer(connection: socket.socket) -> bytes:
    """The next answer's first line, when all of it has come."""
    return read_head(connection)[0]


def read_head(connection: socket.socket) -> tuple[bytes, dict[bytes, bytes]]:
    """The next answer's first line and headers, when all of it has come."""
    with connection.makefile("rb") as answer:
        first, headers = answer.readline(), {}
        while (line := answer.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        answer.read(int(headers.get(b"content-length", 0)))
    return first, headers


@pytest.fixture
def heavy_model(tmp_path: Path) -> Path:
    """Slow enough that many texts take a second or more."""
    config = tiny.config(hidden_size=256, num_attention_heads=8, intermediate_size=1024, num_hidden_layers=8)
    return tiny.write_model(tmp_path / "heavy", config)


def test_bodies_that_are_too_large(tiny_model, connect):
    with running("--model", str(tiny_model), "--max-body-bytes", "10000", "--max-texts", "5") as server:
        large = body_of("a" * 20_000)
        assert server.client.post("/v1/embeddings", content=large).status_code == 413
        declared = connect(server)  # is refused before it comes
        declared.sendall(request(b"", "Content-Length: 1000000000").replace(b"Content-Length: 0\r\n", b""))
        assert status_of(declared) == 413

        def parts():
            for _ in range(100):
                yield b"a" * 1000

        assert server.client.post("/v1/embeddings", content=parts()).status_code == 413
        assert server.post("/v1/embeddings", {"input": ["a"] * 6, "model": "tiny"}).status_code == 413
        compressed = server.client.post(
            "/v1/embeddings", content=body_of("a"), headers={"Content-Encoding": "gzip"}
        )
        assert compressed.status_code == 415
        assert server.post("/v1/embeddings", {"input": "a", "model": "tiny"}).status_code == 200


def test_headers_that_are_too_large_or_malformed(tiny_server, connect):
    large = connect(tiny_server)
    large.sendall(b"GET /health HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(200):  # until the server has had enough
            large.sendall(b"X-Header: " + b"a" * 1000 + b"\r\n")
            time.sleep(0.001)
    assert status_of(large) in (0, 431)
    for wrong in (
        b"\x16\x03\x01 no http\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        connection = connect(tiny_server)
        connection.sendall(wrong)
        assert status_of(connection) in (0, 400)
    assert tiny_server.get("/health").status_code == 200


def test_a_client_without_headers_is_not_waited_for(tiny_model, connect):
    program = (
        "import minigte.server.limits as limits; limits.HEADER_SECONDS = 0.3; limits.BODY_SECONDS = 0.3; "
        "import sys; sys.argv = ['minigte', *sys.argv[1:]]; from minigte.cli.main import main; main()"
    )
    with running("--model", str(tiny_model), program=program) as server:
        silent, half = connect(server), connect(server)
        half.sendall(b"POST /embed HTTP/1.1\r\nHost:")
        assert status_of(silent) == 408
        assert status_of(half) == 408
        slow = connect(server)
        slow.sendall(request(body_of("a"))[:-5])
        assert status_of(slow) == 408
        # A connection that has been used and is then kept open is another thing.
        kept = connect(server)
        for _ in range(3):
            kept.sendall(request(body_of("a")))
            assert b" 200 " in read_answer(kept)
            time.sleep(0.5)
        # Nor is the body waited for of a request that has been refused already, however it dribbles in.
        refused = connect(server)
        refused.sendall(request(b"").replace(b"Content-Length: 0", b"Content-Length: 1000000000"))
        assert b" 413 " in read_answer(refused)
        closed = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < closed:
                refused.sendall(b"a")
                time.sleep(0.05)
        assert time.monotonic() < closed


def test_keys(tiny_model, tmp_path):
    file = tmp_path / "keys"
    file.write_text("from-a-file\nanother\n")
    options = ["--model", str(tiny_model), "--api-key", "by-flag", "--api-key-file", str(file)]
    with running(*options, environment={"MINIGTE_API_KEYS": "from-the-environment"}) as server:
        body = {"input": "a", "model": "tiny"}
        for key in ("by-flag", "from-a-file", "another", "from-the-environment"):
            headers = {"Authorization": f"Bearer {key}"}
            assert server.post("/v1/embeddings", body, headers=headers).status_code == 200
        for wrong in (
            {},
            {"Authorization": "Bearer by-fla"},
            {"Authorization": "Basic by-flag"},
            {"Authorization": ""},
        ):
            for path in ("/v1/embeddings", "/embed", "/api/embed", "/v1/rerank"):
                answer = server.post(path, body, headers=wrong)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "Authorization" in answer.text
        strange = server.client.post("/embed", headers=[(b"authorization", b"Bearer \xff")])
        assert strange.status_code == 401
        assert server.get("/metrics").status_code == 401
        for path in ("/health", "/docs", "/openapi.json"):
            assert server.get(path).status_code == 200
        assert server.stop() == 0
        log = json.dumps(server.log)
        assert not any(key in log for key in ("by-fla", "from-a-file", "another", "from-the-environment"))


def test_neither_texts_nor_what_a_client_calls_itself_reach_the_log(tiny_server):
    tiny_server.post("/v1/embeddings", {"input": "a most secret text", "model": "tiny"})
    tiny_server.post("/v1/embeddings", {"input": ["a", 5, "a most secret text"], "model": "tiny"})
    tiny_server.client.post("/embed", content=b'{"inputs": "a most secret text \\ud83d"}')
    tiny_server.post("/embed", {"inputs": "a", "prompt_name": "a most secret text"})
    tiny_server.get("/health?text=a+most+secret+text")
    assert "secret" not in json.dumps(tiny_server.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_has_come_in(heavy_model, number, connect):
    right = Embedder(heavy_model).encode(MANY[:1])[0]
    with running("--model", str(heavy_model)) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        idle = connect(server)
        jobs = [
            pool.submit(httpx.post, f"{server.url}/embed", json={"inputs": MANY}, timeout=60)
            for _ in range(3)
        ]
        wait_until(lambda: server.metric("minigte_requests_in_flight") == 4)  # and the one that asks
        assert server.stop(number) == 0
        for job in jobs:
            assert job.result().status_code == 200
            for vector in job.result().json():
                np.testing.assert_array_equal(np.array(vector, np.float32), right)
        assert status_of(idle) == 0
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_a_client_that_has_gone_is_not_worked_for(heavy_model, connect):
    with running("--model", str(heavy_model)) as server:
        for gone in range(5):
            connection = connect(server)
            connection.sendall(request(body_of(MANY, "heavy")))
            wait_until(lambda: server.metric("minigte_queue_tokens") > 0)
            if gone % 2:
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )  # with a reset
            connection.close()
            wait_until(lambda: server.metric("minigte_queue_tokens") == 0)
        assert server.metric("minigte_requests_total", status="499") == 5
        assert server.metric("minigte_requests_in_flight") == 1  # the one that asks
        assert server.post("/embed", {"inputs": "a"}).status_code == 200


def test_more_than_it_can_do_is_refused_and_what_is_taken_is_right(heavy_model):
    right = Embedder(heavy_model).encode(TEXTS)
    options = ["--model", str(heavy_model), "--max-queue-tokens", "20000", "--max-queue-seconds", "0.5"]
    with running(*options) as server:
        before = server.rss()

        def ask(i: int) -> int:
            texts = [TEXTS[i % 3]] * (1 if i % 4 else 300)
            answer = httpx.post(f"{server.url}/embed", json={"inputs": texts}, timeout=60)
            if answer.status_code == 200:
                np.testing.assert_array_equal(
                    np.array(answer.json(), np.float32), right[[i % 3] * len(texts)]
                )
            else:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error_type"] == "Overloaded"
            return answer.status_code

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            statuses = list(pool.map(ask, range(200)))
        assert set(statuses) <= {200, 429, 503}
        assert statuses.count(200) > 5
        assert statuses.count(429) + statuses.count(503) > 20
        assert server.rss() - before < 100 << 20
        wait_until(lambda: server.metric("minigte_queue_tokens") == 0)
        assert server.post("/embed", {"inputs": "a cat"}).status_code == 200
        assert server.get("/health").status_code == 200


@pytest.fixture
def full_server(heavy_model: Path, connect: Callable[[Running], socket.socket]) -> Iterator[Running]:
    """A server in whose queue there is no room for as long as a test takes."""
    options = ["--model", str(heavy_model), "--threads", "1", "--max-queue-tokens", "100"]
    with running(*options, "--max-texts", "1000000") as server, connect(server) as filling:
        filling.sendall(request(body_of(MANY * 20, "heavy")))
        wait_until(lambda: server.metric("minigte_queue_tokens") > 100_000, 60)
        yield server


def test_where_the_queue_is_full_a_request_is_refused_before_its_body_comes(full_server, connect):
    connection = connect(full_server)
    content = body_of(["a cat"] * 100_000)
    connection.sendall(request(content)[: -len(content)])
    first, headers = read_head(connection)
    assert b" 429 " in first
    assert int(headers[b"retry-after"]) >= 1
    assert int(headers[b"content-length"]) > 0
    # The connection goes on: what comes of the body is thrown away, and the next request is answered.
    connection.sendall(content + request(b"", path="/nowhere"))
    assert b" 404 " in read_answer(connection)


def test_clients_are_told_that_the_queue_is_full(full_server):
    """Small and large bodies, and clients that send all before they read, or ask before they send."""
    for texts in (["a cat"], ["a cat"] * 100_000):
        for _ in range(3):
            answer = full_server.client.post("/v1/embeddings", content=body_of(texts))
            assert answer.status_code == 429
            assert answer.json()["error"]["type"] == "rate_limit_exceeded"
            assert int(answer.headers["retry-after"]) >= 1
    curl = ["curl", "--silent", "--write-out", "%{http_code}", "--data-binary", "@-"]
    for expect in ("Expect: 100-continue", "Expect:"):
        asked = subprocess.run(
            [*curl, "-H", expect, f"{full_server.url}/embed"],
            input=json.dumps({"inputs": ["a cat"] * 100_000}).encode(),
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert asked.stdout.endswith(b"429")
        assert b"Overloaded" in asked.stdout
    # What needs no place in the queue is answered as ever.
    assert full_server.post("/tokenize", {"inputs": "a cat"}).status_code == 200
    assert full_server.get("/health").status_code == 200


def test_a_short_request_does_not_wait_for_the_rest_of_a_long_one(heavy_model):
    with running("--model", str(heavy_model)) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        long = pool.submit(httpx.post, f"{server.url}/embed", json={"inputs": MANY}, timeout=120)
        wait_until(lambda: server.metric("minigte_queue_tokens") > 0)
        for _ in range(5):
            assert server.post("/embed", {"inputs": "a cat"}).status_code == 200
        assert not long.done()
        assert server.metric("minigte_queue_tokens") > 0
        assert long.result().status_code == 200


def test_an_exception_fails_the_request_whose_fault_it_is_and_the_server_goes_on(tmp_path):
    config = tiny.config(hidden_size=64, num_attention_heads=2, intermediate_size=64)
    arrays = tiny.tensors(config)
    arrays["embeddings.word_embeddings.weight"][tiny.VOCABULARY.index("mat")] = np.float32(3e38)
    folder = tiny.write_model(tmp_path / "spoilt", config)
    tiny.write_safetensors(folder / "model.safetensors", arrays)
    right = Embedder(folder).encode("a cat")
    with running("--model", str(folder)) as server, concurrent.futures.ThreadPoolExecutor(16) as pool:

        def ask(i: int) -> None:
            text = "mat" if i % 3 == 0 else "a cat"
            answer = httpx.post(
                f"{server.url}/v1/embeddings", json={"input": text, "model": "spoilt"}, timeout=60
            )
            if i % 3 == 0:
                assert answer.status_code == 500
                assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
            else:
                vector = np.array(answer.json()["data"][0]["embedding"], np.float32)
                np.testing.assert_array_equal(vector, right)

        list(pool.map(ask, range(60)))
        assert server.get("/health").status_code == 200
        failures = [line for line in server.log if line["message"] == "a request failed"]
        assert len(failures) == 20
        assert "CheckpointError" in failures[0]["exception"]


def test_an_engine_that_does_not_answer_shows_in_the_health(tiny_model, connect):
    """A fault that no one foresaw: the thread that computes never comes back."""
    program = """
import sys, threading, time
sys.argv = ["minigte", *sys.argv[1:]]
from minigte.server import service
from minigte.batching import batcher
service.PROBE_SECONDS = batcher.PATIENCE = 0.5
forward = batcher._Work._forward
def stuck(self, pieces, together):
    if any(len(job.input_ids[place]) == 9 for job, place in pieces):
        time.sleep(3600)
    forward(self, pieces, together)
batcher._Work._forward = stuck
from minigte.cli.main import main
main()
"""
    with running("--model", str(tiny_model), "--threads", "1", program=program) as server:
        assert server.get("/health").status_code == 200
        connection = connect(server)
        connection.sendall(request(body_of("a a a a a a a")))  # nine tokens
        wait_until(lambda: server.get("/health").status_code == 503)
        assert server.get("/health").json() == {
            "error": "unhealthy: the engine does not answer",
            "error_type": "Unhealthy",
        }


def test_an_engine_that_is_slow_is_healthy(tiny_model, connect, tmp_path, monkeypatch):
    """As where other processes leave it little time: a probe waits for too long, and the work gets done."""
    program = """
import os, pathlib, sys, time
sys.argv = ["minigte", *sys.argv[1:]]
from minigte.server import service
from minigte.batching import batcher
forward = batcher._Work._forward
def slow(self, pieces, together):
    if any(len(job.input_ids[place]) == 9 for job, place in pieces):
        pathlib.Path(os.environ["BEGUN"]).touch()
        while not pathlib.Path(os.environ["GO_ON"]).exists():
            time.sleep(0.01)
    forward(self, pieces, together)
batcher._Work._forward = slow
from minigte.cli.main import main
service.PROBE_SECONDS = 0.5
main()
"""
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    monkeypatch.setenv("BEGUN", str(begun))
    monkeypatch.setenv("GO_ON", str(go_on))
    with running("--model", str(tiny_model), "--threads", "1", program=program) as server:
        time.sleep(1)  # for so long the probe of the start counts
        connection = connect(server)
        connection.sendall(request(body_of("a a a a a a a")))  # nine tokens
        wait_until(begun.exists)
        assert server.get("/health").status_code == 200
        go_on.touch()
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_what_it_cannot_start_with_is_one_line(tiny_model, tiny_server, tmp_path):
    empty = tmp_path / "keys"
    empty.write_text("\n")
    for options, named in (
        (["--model", str(tmp_path / "nothing")], "nothing"),
        (["--model", str(tiny_model), "--port", str(tiny_server.port)], "--port"),
        (["--model", str(tiny_model), "--host", "203.0.113.7"], "203.0.113.7"),
        (["--model", str(tiny_model), "--alias", "x"], "ALIAS=NAME"),
        (["--model", str(tiny_model), "--alias", "x=y"], "'y'"),
        (["--model", str(tiny_model), "--model", str(tiny_model)], "tiny"),
        (["--model", str(tiny_model), "--api-key-file", str(empty)], "no key"),
        (["--model", str(tiny_model), "--api-key-file", str(tmp_path / "none")], "none"),
        (["--model", str(tiny_model), "--api-key", "a b"], "API key"),
        (["--model", str(tiny_model), "--cl100k-base", str(empty)], "cl100k_base.tiktoken"),
        (["--model", str(tiny_model), "--max-connections", "100000000"], "open files"),
    ):
        command = [
            sys.executable,
            "-m",
            "minigte",
            "serve",
            "--port",
            "0",
            "--log-level",
            "warning",
            *options,
        ]
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert process.returncode == 1, options
        (line,) = process.stderr.splitlines()
        assert line.startswith("minigte: error: ")
        assert named in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_workers_share_the_weights_and_one_that_dies_is_replaced(heavy_model):
    right = Embedder(heavy_model).encode(TEXTS)
    with running("--model", str(heavy_model), "--workers", "2", "--threads", "1") as server:

        def children() -> list[int]:
            path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
            return [int(child) for child in path.read_text().split()]

        def ask(_: int) -> None:
            answer = httpx.post(f"{server.url}/embed", json={"inputs": TEXTS}, timeout=60)
            np.testing.assert_array_equal(np.array(answer.json(), np.float32), right)

        wait_until(lambda: len(children()) == 2)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(40)))
        first = children()
        # What a worker has of its own is far less than the weights.
        weights = (heavy_model / "model.safetensors").stat().st_size
        for child in first:
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
            own = {line.split()[0]: int(line.split()[1]) << 10 for line in rollup.splitlines()[1:]}
            assert own["Rss:"] > weights
            assert own["Private_Dirty:"] + own["Private_Clean:"] < own["Rss:"] - weights
        # Whichever worker is asked, it has counted the requests of both.
        assert server.metric("minigte_requests_total", route="/embed") == 40
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len(children()) == 2 and children() != first, 30)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(40)))
        assert server.stop() == 0
        assert [line for line in server.log if line["message"] == "a worker ended"]
        assert all(not Path(f"/proc/{child}").exists() for child in first)
