"""Embeddings in SQL: SQLite and DuckDB."""

from __future__ import annotations

import sqlite3
import sys

import numpy as np
import pytest

from minigte import Embedder
from minigte.integrations import sqlite

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


@pytest.fixture
def connection(small: Embedder) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    sqlite.register(connection, small)
    connection.execute("CREATE TABLE texts (body, embedding)")
    connection.executemany("INSERT INTO texts (body) VALUES (?)", [(text,) for text in [*TEXTS, None]])
    connection.execute("UPDATE texts SET embedding = embed(body)")
    return connection


def best(small: Embedder, query: str) -> list[tuple[str, float]]:
    """The texts in the order of their similarity to the query, with it."""
    scores = small.similarity(small.encode(query), small.encode(TEXTS))[0]
    return [(TEXTS[place], float(scores[place])) for place in np.argsort(-scores)]


def test_sqlite(connection: sqlite3.Connection, small: Embedder) -> None:
    stored = [row[0] for row in connection.execute("SELECT embedding FROM texts")]
    assert stored[:3] == [vector.tobytes() for vector in small.encode(TEXTS)]
    assert stored[3] is None
    found = connection.execute(
        "SELECT body, similarity(embedding, embed(?)) AS score FROM texts WHERE body NOT NULL "
        "ORDER BY score DESC",
        ["the cat"],
    ).fetchall()
    assert found == best(small, "the cat")
    assert connection.execute("SELECT similarity(embed('a'), NULL)").fetchone() == (None,)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("embed(1)", "embed takes a text, not int"),
        ("embed(x'00')", "embed takes a text, not bytes"),
        ("similarity('a', embed('b'))", "write embed(...)"),
        ("similarity(x'0000', embed('b'))", "has 2"),
    ],
)
def test_sqlite_refuses(
    connection: sqlite3.Connection, sql: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: seen.append(str(raised.exc_value)))
    sqlite3.enable_callback_tracebacks(True)
    try:
        with pytest.raises(sqlite3.OperationalError, match="user-defined function raised exception"):
            connection.execute(f"SELECT {sql}").fetchall()
    finally:
        sqlite3.enable_callback_tracebacks(False)
    assert len(seen) == 1
    assert reason in seen[0]


def test_duckdb(small: Embedder) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is missing: make test-integrations")
    from minigte.integrations.duckdb import register

    connection = duckdb.connect()
    register(connection, small)
    connection.execute("CREATE TABLE texts (n INTEGER, body VARCHAR)")
    many = [*TEXTS, None] * 1500  # more than the 2,048 rows that DuckDB hands on at a time
    connection.executemany("INSERT INTO texts VALUES (?, ?)", [(n, text) for n, text in enumerate(many[:8])])
    connection.execute("INSERT INTO texts SELECT n + 8 * i, body FROM texts, range(1, 750) t(i)")
    connection.execute("CREATE TABLE vectors AS SELECT n, body, embed(body) AS embedding FROM texts")
    stored = connection.execute("SELECT n, embedding FROM vectors ORDER BY n").fetchall()
    assert [n for n, _ in stored] == list(range(6000))
    expected = [*small.encode(TEXTS).tolist(), None]
    assert all((list(row) if row else row) == expected[n % 4] for n, row in stored)
    found = connection.execute(
        "SELECT body, similarity(embedding, embed('the cat')) AS score FROM vectors WHERE n < 3 "
        "ORDER BY score DESC"
    ).fetchall()
    assert found == best(small, "the cat")
    [(native,)] = connection.execute(
        "SELECT max(abs(similarity(embedding, embed('the cat')) - array_cosine_similarity(embedding, "
        "embed('the cat')))) FROM vectors WHERE n < 3"
    ).fetchall()
    assert native < 1e-6
    assert connection.execute("SELECT similarity(embed('a'), NULL)").fetchall() == [(None,)]
    with pytest.raises(duckdb.Error, match=r"INTEGER|implicit"):
        connection.execute("SELECT similarity(1, embed('a'))")
