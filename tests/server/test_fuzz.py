"""Bodies that no client sends: whatever comes, the answer is JSON of the API, and never a 500."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Running

pytestmark = pytest.mark.slow

PATHS = [
    "/v1/embeddings", "/embed", "/embed_all", "/rerank", "/predict", "/similarity", "/tokenize", "/decode",
    "/api/embed", "/api/embeddings", "/v1/rerank", "/v2/rerank", "/",
]  # fmt: skip
FIELDS = [
    "input", "inputs", "model", "query", "texts", "documents", "ids", "prompt", "dimensions", "truncate",
    "options", "truncation_direction", "normalize", "prompt_name", "encoding_format", "top_n", "parameters",
]  # fmt: skip
# What these fields usually hold, among what they should not.
LIKELY = st.sampled_from(
    [
        "tiny",
        "a cat",
        "",
        "left",
        "query",
        "base64",
        True,
        None,
        0,
        1,
        7,
        -1,
        2**63,
        1e300,
        8.0,
        [],
        {},
        [2, 3],
    ]
)
NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(LIKELY, st.none(), st.booleans(), NUMBERS, st.text(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(
            st.one_of(st.sampled_from(["text", "source_sentence", "sentences"]), st.text()), inner
        ),
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)


def check(server: Running, path: str, content: bytes) -> None:
    answer = server.client.post(path, content=content)
    assert answer.status_code in (200, 400, 404, 413, 422, 424), (content, answer.text)
    answer.json()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=BODIES)
def test_objects(tiny_server: Running, path: str, body: dict[str, object]) -> None:
    check(tiny_server, path, json.dumps(body).encode())
    named = {
        "model": "tiny",
        "input": "a",
        "inputs": "a",
        "query": "a",
        "texts": ["a"],
        "documents": ["a"],
        **body,
    }
    check(tiny_server, path, json.dumps(named).encode())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), content=st.binary(max_size=200))
def test_bytes(tiny_server: Running, path: str, content: bytes) -> None:
    check(tiny_server, path, content)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    body=BODIES,
    places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
def test_json_with_bytes_changed(
    tiny_server: Running, path: str, body: dict[str, object], places: list[tuple[int, int]]
) -> None:
    content = bytearray(json.dumps({"model": "tiny", "input": "a", "inputs": "a", **body}).encode())
    for place, value in places:
        content[place % len(content)] = value
    check(tiny_server, path, bytes(content))


@pytest.mark.parametrize("path", PATHS)
def test_extremes(tiny_server: Running, path: str) -> None:
    for content in (
        b"[" * 200_000,
        b'{"options":' * 100_000,
        b'{"input":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"inputs":' + b"9" * 100_000 + b"}",
        b'{"input":[1e400],"model":"tiny"}',
        b'{"model":"tiny","input":"a","dimensions":1e400}',
        b'{"model":"tiny","input":"' + b"\\u0000" * 1000 + b'"}',
        b'{"inputs":"' + "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}".encode() * 10_000 + b'"}',
        b'{"inputs":"' + b"a" * 4_000_000 + b'"}',
    ):
        check(tiny_server, path, content)
