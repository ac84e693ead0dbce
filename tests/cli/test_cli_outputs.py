"""Ids on their way from an input to an output: kept exactly, or refused; and lines of progress for a log."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import json
import re
import sys
import types
import uuid

import numpy as np
import pytest
import tiny

from minigte import Embedder
from minigte.cli import progress
from minigte.cli.encoding import encoded
from minigte.cli.ids import as_text
from minigte.cli.inputs import open_records, read_records
from minigte.cli.outputs import output_of
from minigte.cli.progress import ProgressBar, ProgressLines, progress_for
from minigte.cli.records import Columns, Record
from minigte.cli.resumable import _digest
from minigte.errors import InputError, MissingDependencyError

DIMENSION = 2


def written(file_format: str, *chunks: list) -> bytes:
    """A whole file of vectors with these ids, which come chunk by chunk."""
    form = output_of(file_format, np.empty((0, DIMENSION), np.float32))
    buffer, encoded, start = io.BytesIO(), [], 0
    for ids in chunks:
        records = [Record(record_id, "") for record_id in ids]
        encoded.append(form.encode(records, np.zeros((len(ids), DIMENSION), np.float32), start))
        start += len(ids)
    form.write(buffer, encoded)
    return buffer.getvalue()


def json_ids(*chunks: list) -> list:
    return [json.loads(line)["id"] for line in written("jsonl", *chunks).splitlines()]


def parquet_ids(*chunks: list):
    pq = pytest.importorskip("pyarrow.parquet", reason="the parquet extra is not installed")
    return pq.read_table(io.BytesIO(written("parquet", *chunks)))["id"].combine_chunks()


def through_parquet(ids) -> list:
    """The ids of records that were read from a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"id": ids, "text": ["text"] * len(ids)}), buffer)
    return [record.id for record in read_records(io.BytesIO(buffer.getvalue()), "x.parquet")]


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "", "é\n\u2028"],
        [1, 2**63 - 1, -(2**63)],
        [1, 2**64 - 1],
        [0.1, 1e300],
        [True, False],
        [None, "a"],
    ],
)
def test_ids_are_kept(ids):
    for got in (json_ids(ids), parquet_ids(ids).to_pylist()):
        assert got == ids
        assert list(map(type, got)) == list(map(type, ids))


def test_a_whole_number_of_any_size_is_kept_in_json():
    assert json_ids([2**64, -(10**30)]) == [2**64, -(10**30)]


@pytest.mark.parametrize(
    ("chunks", "row"),
    [
        ([["a", 1]], 1),
        ([["1"], [1]], 1),
        ([[1, True]], 1),
        ([[1, 1.0]], 1),
        ([[1.5, 2**53 + 1]], 1),
        ([[1, 2], [3, 2**63]], 3),
        ([[2**64]], 0),
        ([[-1, 2**63]], 0),
        ([[-(2**63) - 1]], 0),
        ([[None], ["a"]], 1),
    ],
)
def test_ids_that_cannot_share_a_column(chunks, row):
    """Of none is made another: 1 is neither 1.0 nor True nor "1"."""
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    with pytest.raises(InputError, match=f"text {row}: its id .* does not fit a column"):
        written("parquet", *chunks)
    assert json_ids(*chunks) == [record_id for ids in chunks for record_id in ids]


ARROW_IDS = (
    *("ns", "year 0", "zone", "date", "time", "decimal", "uint64", "int8", "large", "none"),
    *("binary", "fixed", "nan", "beyond"),
)


def arrow_ids() -> dict:
    """Columns of ids whose types Python and JSON have not, and how JSON has them."""
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    return {
        "ns": (
            pa.array([1700000000123456001, 1700000000123456002], pa.timestamp("ns")),
            ["2023-11-14 22:13:20.123456001", "2023-11-14 22:13:20.123456002"],
        ),
        "year 0": (pa.array([-62135596801000], pa.timestamp("ms")), ["0000-12-31 23:59:59.000"]),
        "zone": (pa.array([1700000000123], pa.timestamp("ms", "UTC")), ["2023-11-14 22:13:20.123Z"]),
        "date": (pa.array([datetime.date(2023, 11, 14)]), ["2023-11-14"]),
        "time": (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
        "decimal": (pa.array([decimal.Decimal("1.10")], pa.decimal128(38, 2)), ["1.10"]),
        "uint64": (pa.array([5, 2**63 + 5], pa.uint64()), [5, 2**63 + 5]),
        "int8": (pa.array([5, None], pa.int8()), [5, None]),
        "large": (pa.array(["a"], pa.large_string()), ["a"]),
        "none": (pa.array([None], pa.int64()), [None]),
        "binary": (pa.array([b"\xff\0"]), None),
        "fixed": (pa.array([uuid.UUID(int=5).bytes], pa.binary(16)), None),
        "nan": (pa.array([1.5, float("inf")]), None),
        "beyond": (pa.array([2**62], pa.timestamp("ms")), None),
    }


@pytest.mark.parametrize("name", ARROW_IDS)
def test_ids_of_parquet(name):
    column, as_json = arrow_ids()[name]
    assert tuple(arrow_ids()) == ARROW_IDS
    ids = through_parquet(column)
    got = parquet_ids(ids)
    assert got.type == column.type
    assert got.equals(column)
    assert parquet_ids(*([record_id] for record_id in ids)).equals(column)  # whatever the first chunk holds
    if as_json is None:
        with pytest.raises(InputError, match=r"text \d: JSON cannot hold the id"):
            written("jsonl", ids)
    else:
        assert json_ids(ids) == as_json
    assert all("\n" not in as_text(record_id) for record_id in ids)
    assert _digest([Record(record_id, "") for record_id in ids])


def test_equal_texts_of_other_ids_have_other_digests():
    """A kept chunk is taken for another's where only the last digit of a timestamp differs, or a byte."""
    columns = arrow_ids()
    for name in ("ns", "uint64", "nan"):
        first, second = (_digest([Record(record_id, "a")]) for record_id in through_parquet(columns[name][0]))
        assert first != second


def test_ids_of_categories():
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    ids = through_parquet(pa.array(["b", "a", "b"]).dictionary_encode())
    assert json_ids(ids) == parquet_ids(ids).to_pylist() == ["b", "a", "b"]


def test_npy_is_not_appended_to_what_is_there(tmp_path):
    form = output_of("npy", np.empty((0, DIMENSION), np.float32))
    path = tmp_path / "x.npy"
    for mode, before in (("ab", b""), ("ab", b"x"), ("r+b", b"x")):
        path.write_bytes(before)
        with path.open(mode) as file:
            file.seek(len(before))
            with pytest.raises(InputError, match="cannot be appended"):
                form.write(file, [])
        assert path.read_bytes() == before


# Progress


@pytest.fixture
def every_text(monkeypatch):
    """A line where else a minute would go by."""
    monkeypatch.setattr(progress, "SECONDS", 0.0)


def test_a_short_run_says_nothing(capsys):
    with ProgressLines() as lines:
        lines.update(5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("every_text")
def test_a_long_run_says_where_it_is_and_sums_up(capsys, tmp_path):
    """Also within a chunk, which may take minutes; on the way through an Embedder as a command goes it."""
    embedder = Embedder(tiny.write_model(tmp_path), backend="numpy")
    words = [" ".join(("cat", "dog")[i >> bit & 1] for bit in range(11)) for i in range(1500)]
    records = iter([Record(i, "cat " * 50 if i % 100 == 0 else text) for i, text in enumerate(words)])
    options = {"progress": None, "start": 1000, "truncation": "ignore"}
    chunks = list(encoded(embedder, records, **options))
    assert [len(chunk) for chunk, _ in chunks] == [1024, 476]
    out, err = capsys.readouterr()
    assert out == ""
    *running, last = (
        re.fullmatch(r"minigte: ([\d,]+) texts (.*) \d+ min, [\d,.]+ a second, (\d+) cut", line)
        for line in err.splitlines()
    )
    counts = [int(line[1].replace(",", "")) for line in running]
    assert counts == sorted(set(counts))
    assert 1000 < counts[0] < 2024
    assert {line[2] for line in running} == {"after"}
    assert (last[1], last[2], last[3]) == ("2,500", "done in", "15")


@pytest.mark.usefixtures("every_text")
def test_the_time_left_is_told_by_what_is_read(capsys, tmp_path, monkeypatch):
    """Of several files, one of them gzipped; of stdin and Parquet nobody knows."""
    (tmp_path / "a.txt").write_text("cat\n" * 30_000)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(np.random.default_rng(0).bytes(60_000).hex().encode()))
    monkeypatch.chdir(tmp_path)
    seen = []
    with open_records(["a.txt", "b.txt.gz"], None, Columns()) as records:
        for number, _ in enumerate(records):
            if number % 10_000 == 0:
                seen.append(records.share())
        assert records.share() == 1
    assert seen == sorted(seen)
    size, packed = (tmp_path / "a.txt").stat().st_size, (tmp_path / "b.txt.gz").stat().st_size
    assert seen[1] == pytest.approx(40_000 / (size + packed), abs=0.06)
    shares = iter([0.0, 0.25, 0.5])
    clock = iter([0.0, 0.0, 60.0, 60.0, 120.0, 120.0, 120.0])
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=clock.__next__))
    with ProgressLines(0, lambda: next(shares)) as lines:
        lines.update(10)
        lines.update(10)
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith(", 0 cut, 3 min left")
    assert said[1].endswith(", 0 cut, 2 min left")
    assert "left" not in said[2]
    with open_records(["-"], None, Columns()) as records:
        assert records.share() is None


def test_the_bar_ends_where_the_input_will():
    drawn = []

    class Bar:
        total = None

        def update(self, texts):
            drawn.append((texts, self.total))

    shares = iter([0.25, 0.5, 1.0, None])
    bar = ProgressBar(Bar(), 100, lambda: next(shares))
    for _ in range(4):
        bar.update(50)
    assert drawn == [(50, 600), (50, 400), (50, 250), (50, 250)]


@pytest.mark.usefixtures("every_text")
def test_a_run_that_fails_is_not_summed_up(capsys):
    def failing():
        with ProgressLines() as lines:
            lines.update(1)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert "done in" not in capsys.readouterr().err


@pytest.mark.parametrize("package", ["there", "missing"])
def test_a_bar_is_for_a_terminal(monkeypatch, package):
    if package == "missing":
        monkeypatch.setitem(sys.modules, "tqdm", None)
    for terminal in (False, True):
        monkeypatch.setattr(progress, "on_terminal", lambda terminal=terminal: terminal)
        assert progress_for(False) is False
        lines = isinstance(progress_for(None), ProgressLines)
        assert lines == (not terminal or package == "missing")
        assert lines or isinstance(progress_for(None), ProgressBar)
        if package == "there":
            assert isinstance(progress_for(True), ProgressBar)
        else:
            with pytest.raises(MissingDependencyError, match="pip install tqdm"):
                progress_for(True)
