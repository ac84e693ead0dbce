"""What a file of texts is, and its records: kept exactly, or refused with the line; no model is needed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from minigte.cli.inputs import HEAD_BYTES, HEAD_LINES, read_records
from minigte.cli.records import Columns
from minigte.errors import InputError


class Pipe(io.RawIOBase):
    """Bytes as a pipe gives them: some at a time, and never again."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = io.BytesIO(content), size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        data = self._content.read(min(self._size, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def read(content, name="stdin", file_format=None, *, text=None, record_id=None, pipe=None):
    file = io.BytesIO(content) if pipe is None else io.BufferedReader(Pipe(content, pipe))
    records = read_records(file, name, file_format, Columns(text, record_id))
    return [(record.id, record.text) for record in records]


def texts(content, *args, **options):
    return [text for _, text in read(content, *args, **options)]


def refused(content, *args, **options):
    with pytest.raises(InputError) as error:
        read(content, *args, **options)
    return str(error.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.tsv", "x.jsonl", "stdin"])
def test_line_ends(end, name):
    if name in ("x.txt", "stdin"):
        content, expected = ["one", "", "three"], [(0, "one"), (1, ""), (2, "three")]
    elif name == "x.jsonl":
        content, expected = ['{"id": 7, "text": "a"}', '{"id": 8, "text": "b"}'], [(7, "a"), (8, "b")]
    else:
        separator = "," if name == "x.csv" else "\t"
        content = [separator.join(row) for row in (("id", "text"), ("7", "a"), ("8", "b"))]
        expected = [("7", "a"), ("8", "b")]
    for last in (end, ""):
        for mark in (b"", b"\xef\xbb\xbf"):
            assert read(mark + (end.join(content) + last).encode(), name) == expected


def test_line_ends_where_a_read_ends(monkeypatch):
    """A line's end may be cut in two by any buffer: every length up to and over some of theirs."""
    for length in [*range(1, 20), *range(8180, 8200), *range(HEAD_BYTES - 4, HEAD_BYTES + 4)]:
        assert texts(b"x" * length + b"\r\ny\rz\n") == ["x" * length, "y", "z"]


def test_other_separators_end_no_line():
    line = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g"
    assert texts(f"{line}\nnext\n".encode()) == [line, "next"]


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1 << 20])
def test_a_pipe_gives_what_a_file_does(size):
    """What is looked at to tell the format is not lost, and the format depends on no buffer."""
    for content in (
        b"".join(b"line %d\r\n" % i for i in range(200)),
        b'{"id": 1, "text": "a"}\n' * 300,
        b"id,text\n" + b'1,"a\nb"\n' * 300,
        gzip.compress(b"".join(b"line %d\n" % i for i in range(2000)), mtime=0),
        b"",
    ):
        assert read(content, pipe=size) == read(content)


def test_lines_are_read_as_they_come():
    """No more of a pipe is waited for than some first lines."""

    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            assert self.given < 4 * HEAD_LINES, "read further than was asked for"
            self.given += 1
            buffer[:5] = b"word\n"
            return 5

    records = read_records(io.BufferedReader(Endless()), "stdin")
    assert [next(records).text for _ in range(HEAD_LINES)] == ["word"] * HEAD_LINES


# What a file is


JSON_LINES = b'{"id": 7, "text": "hello"}\n{"id": 8, "text": "bye"}\n'


@pytest.mark.parametrize("name", ["stdin", "part-00000", "x.txt", "x.json", "x.jsonlines", "x.jsonl.bak"])
def test_json_lines_under_other_names(name):
    assert read(JSON_LINES, name) == [(7, "hello"), (8, "bye")]
    assert read(b"\n\n" + JSON_LINES, name) == [(7, "hello"), (8, "bye")]
    big = b'{"id": 7, "text": "' + b"x" * 2 * HEAD_BYTES + b'"}\n'
    assert read(big, name) == [(7, "x" * 2 * HEAD_BYTES)]
    assert texts(JSON_LINES, name, "lines") == JSON_LINES.decode().splitlines()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'[{"text": "a"}]\n', "line 1: a JSON array"),
        (b'["a", "b"]\n', "line 1: a JSON array"),
        (b'[\n  {"text": "a"}\n]\n', "line 1: not JSON"),
        (b'{\n  "text": "a"\n}\n', "line 1: not JSON"),
        (b'{"text": "a"}\nprose\n', "line 2: not JSON"),
        (b'{"text": "a"\n', "line 1: not JSON"),
        (b'{"body": "a"}\n', "line 1: no key 'text' (keys: body)"),
        (b'"a"\n"b"\n', "every line is in quotation marks"),
    ],
)
def test_json_that_cannot_be_read_so(content, fault):
    for name in ("stdin", "x.txt", "x.json"):
        assert fault in refused(content, name)
        assert texts(content, name, "lines") == content.decode().splitlines()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id,text\n1,hello\n", [("1", "hello")]),
        (b'"id","text"\r\n"1","a, b"\r\n', [("1", "a, b")]),
        (b"id\ttext\n1\thello, you\n", [("1", "hello, you")]),
        (b"text,n\nhello,1\n", [(0, "hello")]),
    ],
)
def test_tables_under_other_names(content, expected):
    for name in ("stdin", "x.txt", "part-0"):
        assert read(content, name) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"id,body\n1,hello\n",
        b"id, text\n1, hello\n",
        b"id;text\n1;hello\n",
        b"id|text\n1|hello\n",
        b"1,hello\n2,bye\n",
        b'"1","hello you"\n"2","bye, you"\n',
        b"1\thello\n2\tbye, you\n",
        b"text\nhello\n",
        b"id,text\n",
    ],
)
def test_what_looks_like_a_table_is_refused(content):
    for name in ("stdin", "x.txt"):
        message = refused(content, name)
        assert message.startswith(f"{name}")
        assert "--input-format" in message
        assert "lines" in message
        assert texts(content, name, "lines") == content.decode().splitlines()


@pytest.mark.parametrize(
    "content",
    [
        "Hello, world\n",
        "Paris, France\nBerlin, Germany\n",
        "1,000 apples\n2,000 pears\n",
        "yes,no\nand then there was nothing\n",
        "hello, text\nyou\n",
        "[1] a footnote\n[2] another\n",
        "[Music]\nla la\n",
        "{name}, hello\n",
        '"Hello," she said.\n"Go," he said.\n',
        "a\tb\n",
        "text\n",
    ],
)
def test_prose_is_lines(content):
    for name in ("stdin", "x.txt", "x.md", "x"):
        assert texts(content.encode(), name) == content.splitlines()


def test_lines_have_no_columns():
    for option, chosen in (("--column", {"text": "body"}), ("--id-column", {"record_id": "key"})):
        for file_format in (None, "lines"):
            assert option in refused(b"hello\n", "x.txt", file_format, **chosen)
    assert read(b"key,body\n1,hello\n", text="body", record_id="key") == [("1", "hello")]


def test_gzip_under_any_name():
    packed = gzip.compress(JSON_LINES)
    for name in ("stdin", "x.jsonl", "x.jsonl.gz", "x.JSONL.GZ", "x.txt", "x"):
        assert read(packed, name) == [(7, "hello"), (8, "bye")]
    two = gzip.compress(b"a\n") + gzip.compress(b"b\n")
    assert texts(two, "x.gz") == ["a", "b"]
    assert "packed by gzip twice" in refused(gzip.compress(packed), "x.gz")
    assert "x.gz is empty" in refused(b"", "x.gz")
    assert "Not a gzipped file" in refused(b"plain\n", "x.gz")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", "text")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("hi\nyou\n".encode("utf-16"), "UTF-16"),
        ("hi\nyou\n".encode("utf-32"), "UTF-32"),
        ("hi\nyou\n".encode("utf-16-le"), "line 1 holds a NUL"),
        ("hi\nyou\n".encode("utf-16-be"), "line 1 holds a NUL"),
        (b"fine\nno\0t\n", "line 2 holds a NUL"),
        ("fine\ncafé\n".encode("latin-1"), "line 2: not UTF-8 (byte 0xe9 after 3 characters)"),
        (b"a\rb\xff\rc", "line 2: not UTF-8"),
        (b"\xed\xa0\x80\n", "line 1: not UTF-8"),  # a surrogate, as UTF-8 would spell it
        (bz2.compress(b"text"), "bzip2"),
        (lzma.compress(b"text"), "xz"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
        (zipped(), "zip archive"),
        (b"%PDF-1.4\n", "PDF"),
        (b"ARROW1\0\0", "Arrow"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"SQLite format 3\0", "SQLite"),
    ],
)
def test_what_is_no_text(content, what):
    for name in ("stdin", "x.txt", "x.md", "x.gz"):
        packed = gzip.compress(content) if name == "x.gz" else content
        message = refused(packed, name)
        assert what in message
        assert message.startswith(name)


# Tables


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("id,text\n1,Hello, world, again\n", "line 2: too many fields, 4 where the header has 2"),
        ("id,text\n1,a\n\n2\n", "line 4: too few fields, 1 where the header has 2"),
        ("text,id\nhello\n", "line 2: too few fields"),
        ("id,text\n1,a,\n", "line 2: too many fields"),
        ('id,text\n1,"a" b\n', "after line 1: ',' expected"),
        ('id,text\n1,fine\n2,"open\n3,bye\n', "after line 2: unexpected end"),
        ("text,text\na,b\n", "2 columns 'text'"),
        ("id,id,text\n1,2,a\n", "2 columns 'id'"),
        ("1,hello\n2,bye\n", "no column 'text' (columns: 1, hello): name it with --column, or put a header"),
        ("id;text\n1;hello\n", "no column 'text' (columns: id;text)"),
        ("", "no column 'text' (columns: none)"),
        ("text\na\n\nb\n", "line 3 is empty"),
    ],
)
def test_csv_that_would_lose_something(content, fault):
    assert fault in refused(content.encode(), "x.csv")


def test_csv_is_kept_exactly():
    content = b'id,text,n\r\n007,"a, ""b""\r\nc",\r\n ,5" pipe,1\r\n\r\n,,\r\n\r\n'
    assert read(content, "x.csv") == [("007", 'a, "b"\r\nc'), (" ", '5" pipe'), ("", "")]
    assert texts(b'text\n""\na\n\n\n', "x.csv") == ["", "a"]
    assert read(b"a,a,text\n1,2,b\n", "x.csv") == [(0, "b")]  # of columns that are not asked for


def test_a_lone_quotation_mark_joins_no_rows_of_a_tsv():
    content = 'id\ttext\n1\t"Tis the season\n2\tso "they" say"\n3\t"\n'
    assert read(content.encode(), "x.tsv") == [
        ("1", '"Tis the season'),
        ("2", 'so "they" say"'),
        ("3", '"'),
    ]
    content = 'id\ttext\n"1"\t"He said ""hi"""\n2\t""\n3\t"a" and "b"\n'  # as spreadsheets quote
    assert read(content.encode(), "x.tsv") == [("1", 'He said "hi"'), ("2", ""), ("3", '"a" and "b"')]
    for spread in ('id\ttext\n1\t"first\nsecond"\n', 'text\n"first\nsecond"\n', 'id\ttext\n1\t"a\tb"\n'):
        assert refused(spread.encode(), "x.tsv").startswith("x.tsv, line ")


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"id,text\n1,a\n", "x.csv"), (b"id\ttext\n1\ta\n", "x.tsv"), (b'{"id": 1, "text": "a"}\n', "x.jsonl")],
)
def test_columns_that_are_asked_for_must_be_there(content, name):
    assert "'key'" in refused(content, name, record_id="key")
    assert "--id-column" in refused(content, name, record_id="key")
    assert "'body'" in refused(content, name, text="body")
    assert read(content, name, text="text", record_id="text") == [("a", "a")]
    assert read(content, name, text="id" if name != "x.jsonl" else "text")[0][1] in ("1", "a")


# Ids of JSON lines


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ('"a"', "a"),
        ('"\\ud83d\\ude00"', "😀"),
        ("18329103420363166823", 18329103420363166823),
        ("-1" + "0" * 100, -(10**100)),
        ("1.10", 1.1),
        ("1e2", 100.0),
        ("0.1", 0.1),
        ("-0.0", -0.0),
        ("true", True),
        ("null", None),
    ],
)
def test_ids_that_are_kept(spelled, expected):
    [(record_id, _)] = read(f'{{"text": "a", "id": {spelled}}}'.encode(), "x.jsonl")
    assert record_id == expected
    assert type(record_id) is type(expected)


@pytest.mark.parametrize(
    "spelled",
    ["NaN", "Infinity", "-Infinity", "1e400", "0.1234567890123456789", "[1]", "{}", '"\\ud800"', "9" * 5000],
)
def test_ids_that_are_refused(spelled):
    line = f'{{"text": "a", "id": {spelled}}}\n'
    assert refused(f'{{"text": "a", "id": 1}}\n{line}'.encode(), "x.jsonl").startswith("x.jsonl, line 2")
    if len(spelled) < 1000:  # beside the texts and ids anything may stand
        assert read(line.encode(), "x.jsonl", record_id="text") == [("a", "a")]


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": 1, "text": "a"}\n{"text": "b"}\n',
        b'{"text": "a"}\n{"id": 0, "text": "b"}\n',
        b'"a"\n{"id": 0, "text": "b"}\n',
        b'{"id": 1, "text": "a"}\n"b"\n',
    ],
)
def test_ids_of_some_records_alone(content):
    """The number that stands for a missing id may be the id of another record."""
    assert "x.jsonl, line 2 has" in refused(content, "x.jsonl")


def test_a_key_twice():
    assert "line 1: the key 'id' appears twice" in refused(b'{"id":1,"id":2,"text":"a"}', "x.jsonl")
    assert "line 1: the key 'text' appears twice" in refused(b'{"text":"a","text":"b"}', "x.jsonl")
    assert read(b'{"n":1,"n":2,"text":"a"}', "x.jsonl") == [(0, "a")]


@pytest.mark.parametrize("value", ["1.5", "3", "null", '["a"]', '{"a": 1}', "true"])
def test_texts_that_are_none(value):
    message = refused(f'"fine"\n{{"text": {value}}}\n'.encode(), "x.jsonl")
    assert f"x.jsonl, line 2: 'text' is not a text but {value}" in message


# Parquet


def parquet(**columns) -> bytes:
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["x.parquet", "x.pq", "x.txt", "x.csv", "stdin", "x"])
def test_parquet_under_any_name(name):
    content = parquet(text=["a", "b"])
    for packed in (content, gzip.compress(content)):
        assert read(packed, name) == [(0, "a"), (1, "b")]
        assert read(packed, name, pipe=1000) == [(0, "a"), (1, "b")]
    assert "is a Parquet file, not csv" in refused(content, name, "csv")


def test_parquet_texts():
    pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    import pyarrow.parquet

    assert texts(parquet(text=pa.array(["a", "b", "a"]).dictionary_encode())) == ["a", "b", "a"]
    assert read(parquet(**{"a.b": ["x"]}), text="a.b") == [(0, "x")]
    spoiled = pa.array([b"fine", b"\xff"]).view(pa.string())
    assert "row 1: 'text' is not UTF-8" in refused(parquet(text=spoiled))
    assert "row 1: 'id' is not UTF-8" in refused(parquet(text=["a", "b"], id=spoiled))
    assert "row 1: 'text' is not a text but None" in refused(parquet(text=["a", None]))
    assert "row 0: 'text' is not a text but b'a'" in refused(parquet(text=[b"a"]))
    assert "no column 'key' (columns: text)" in refused(parquet(text=["a"]), record_id="key")
    for ids in (pa.array([[1]]), pa.array([{"a": 1}])):
        assert "column 'id' holds" in refused(parquet(text=["a"], id=ids))
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(twice, buffer)
    assert "2 columns 'text'" in refused(buffer.getvalue())
