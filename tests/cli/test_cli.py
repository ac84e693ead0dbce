"""The command line as a shell sees it: stdout, stderr, exit codes, files; each run is its own process."""

import csv
import gzip
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from forking import Forks

from minigte import Embedder
from minigte.backend import jit_missing

pytestmark = pytest.mark.slow

TEXTS = ["the cat sat", "a dog", "", "the mat, the mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def vectors(folder):
    return Embedder(folder).encode(TEXTS)


@pytest.fixture(scope="module")
def forks():
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def run(forks, folder, tmp_path):
    """Run ``minigte`` with the tiny model in an empty folder; the process is returned when it has ended.

    What ``env`` adds may be read when Python starts, or when minigte is imported: then it is started.
    """

    def run(*args, stdin="", env=None):
        stdin = stdin if isinstance(stdin, bytes) else stdin.encode()
        environment = {**os.environ, "MINIGTE_MODEL": str(folder), **(env or {})}
        if env is None:
            return forks.run(*args, stdin=stdin, cwd=tmp_path, environment=environment)
        return subprocess.run(
            [sys.executable, "-m", "minigte", *args],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


def succeeded(process):
    assert process.stderr.decode() == ""
    assert process.returncode == 0
    return process.stdout.decode()


def failed(process, code=1):
    """The one line of an error; nothing went to stdout, and there is no traceback."""
    assert process.stdout == b""
    assert process.returncode == code
    lines = process.stderr.decode().splitlines()
    assert len(lines) == 1
    return lines[0]


def parse(stdout):
    rows = [json.loads(line) for line in stdout.splitlines()]
    return [row["id"] for row in rows], np.array([row["embedding"] for row in rows], np.float32)


class TestEmbed:
    def test_arguments(self, run, vectors):
        ids, got = parse(succeeded(run("embed", *TEXTS)))
        assert ids == [0, 1, 2, 3]
        np.testing.assert_array_equal(got, vectors)  # the JSON spelling is exact

    def test_stdin_is_lines(self, run, vectors):
        for text in (
            "\n".join(TEXTS) + "\n",
            "\n".join(TEXTS),
            "\r\n".join(TEXTS),
            "\ufeff" + "\n".join(TEXTS),
        ):
            ids, got = parse(succeeded(run("embed", stdin=text)))
            assert ids == [0, 1, 2, 3]
            np.testing.assert_array_equal(got, vectors)

    @pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "tsv", "parquet"])
    @pytest.mark.parametrize("output", ["jsonl", "npy", "parquet"])
    def test_files(self, run, vectors, tmp_path, suffix, output):
        ids = ["a", "b", "c", "d"]
        path = tmp_path / f"input.{suffix}"
        if suffix == "txt":
            ids = [0, 1, 2, 3]
            path.write_text("\n".join(TEXTS))
        elif suffix == "jsonl":
            rows = [{"id": i, "body": text} for i, text in zip(ids, TEXTS, strict=True)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif suffix == "parquet":
            pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
            import pyarrow.parquet

            pyarrow.parquet.write_table(pa.table({"id": ids, "body": TEXTS}), path)
        else:
            with path.open("w", newline="") as file:
                writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
                writer.writerows([("id", "body"), *zip(ids, TEXTS, strict=True)])
        column = [] if suffix == "txt" else ["--column", "body"]
        succeeded(run("embed", "--input", path.name, *column, "--output", f"out.{output}"))
        got_path = tmp_path / f"out.{output}"
        if output == "npy":
            got = np.load(got_path)
        elif output == "jsonl":
            got_ids, got = parse(got_path.read_text())
            assert got_ids == ids
        else:
            pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(got_path)
            assert table["id"].to_pylist() == ids
            got = np.array(table["embedding"].to_pylist(), np.float32)
        np.testing.assert_array_equal(got, vectors)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([path.name, got_path.name])

    @pytest.mark.parametrize("output", ["jsonl", "npy", "parquet"])
    def test_more_than_one_chunk_and_none_at_all(self, run, folder, tmp_path, output):
        if output == "parquet":
            pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
        texts = [f"cat {i}" for i in range(2500)]
        for lines in (texts, []):
            succeeded(run("embed", "-o", f"out.{output}", stdin="\n".join(lines)))
            path = tmp_path / f"out.{output}"
            if output == "npy":
                got = np.load(path)
            elif output == "jsonl":
                got = parse(path.read_text())[1].reshape(-1, 20)
            else:
                import pyarrow.parquet

                got = np.array(pyarrow.parquet.read_table(path)["embedding"].to_pylist(), np.float32).reshape(
                    -1, 20
                )
            np.testing.assert_array_equal(got, Embedder(folder).encode(lines))

    def test_options_reach_the_model(self, run, folder):
        _, got = parse(
            succeeded(run("embed", "cat", "--prompt", "the ", "--truncate-dim", "6", "--normalize"))
        )
        expected = Embedder(folder).encode(["the cat"], truncate_dim=6, normalize_embeddings=True)
        np.testing.assert_array_equal(got, expected)
        stdout = succeeded(run("embed", "cat", "--precision", "ubinary"))
        assert json.loads(stdout)["embedding"] == Embedder(folder).encode("cat", precision="ubinary").tolist()

    def test_too_long(self, run):
        process = run("embed", "cat " * 40)
        assert process.returncode == 0
        assert process.stderr.decode().startswith("minigte: warning: 1 of 1 texts have more than 32 tokens")
        assert len(process.stderr.splitlines()) == 1
        assert b"--truncation error" in process.stderr
        assert b"truncation=" not in process.stderr
        assert "has 42 tokens, the model reads 32" in failed(
            run("embed", "cat " * 40, "--truncation", "error")
        )
        succeeded(run("embed", "cat " * 40, "--truncation", "ignore"))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("x.txt", b"fine\n\xff\n", "x.txt, line 2: not UTF-8"),
            ("x.jsonl", b'{"text": "a"}\n{"text": 3}\n', "x.jsonl, line 2: 'text' is not a text but 3"),
            ("x.jsonl", b'{"text": "a"}\n\n{"body": "a"}\n', "x.jsonl, line 3: no key 'text' (keys: body)"),
            ("x.jsonl", b"{", "x.jsonl, line 1: not JSON"),
            ("x.jsonl", b'{"text": "\\ud800"}', "x.jsonl, line 1 holds a lone surrogate"),
            ("x.csv", b"a,b\n1,2\n", "x.csv has no column 'text' (columns: a, b): name it with --column"),
            ("x.csv", b"a,text\n1\n", "x.csv, line 2: too few fields, 1 where the header has 2"),
            ("x.csv", b'text\n"open\n', "x.csv, after line 1: unexpected end of data"),
            ("x.csv", b"", "x.csv has no column 'text'"),
            ("x.parquet", b"PAR1", "x.parquet is not a complete Parquet file"),
        ],
    )
    def test_bad_input_is_named(self, run, tmp_path, name, content, message):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
        (tmp_path / name).write_bytes(content)
        (tmp_path / "out.jsonl").write_text("what was there before")
        assert message in failed(run("embed", "-i", name, "-o", "out.jsonl"))
        assert (tmp_path / "out.jsonl").read_text() == "what was there before"
        assert {path.name for path in tmp_path.iterdir()} == {name, "out.jsonl"}

    @pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "parquet"])
    def test_gzip(self, run, vectors, tmp_path, suffix):
        path = tmp_path / f"input.{suffix}.GZ"
        if suffix == "parquet":
            pa = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
            import pyarrow.parquet

            buffer = io.BytesIO()
            pyarrow.parquet.write_table(pa.table({"text": TEXTS}), buffer)
            content = buffer.getvalue()
        elif suffix == "csv":
            content = "text\n{}\n".format("\n".join(f'"{text}"' for text in TEXTS)).encode()
        else:
            content = "\n".join(json.dumps(text) if suffix == "jsonl" else text for text in TEXTS).encode()
        path.write_bytes(gzip.compress(content, mtime=0))
        ids, got = parse(succeeded(run("embed", "--input", path.name)))
        assert ids == [0, 1, 2, 3]
        np.testing.assert_array_equal(got, vectors)
        assert succeeded(run("search", "--top-k", "1", TEXTS[0], path.name)).startswith("1.0000\t")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                gzip.compress(b"a\n" * 500, mtime=0)[:-9],
                "cannot read x.gz after line 500: Compressed file ended before",
            ),
            (b"not packed", "cannot read x.gz after line 0: Not a gzipped file"),
            (
                gzip.compress(b"", mtime=0)[:10] + b"\xff" * 100,
                "cannot read x.gz after line 0: Error -3 while",
            ),
        ],
    )
    def test_spoiled_gzip(self, run, tmp_path, content, message):
        (tmp_path / "x.gz").write_bytes(content)
        assert message in failed(run("embed", "--input", "x.gz", "--output", "out.npy"))
        assert not (tmp_path / "out.npy").exists()

    def test_spoiled_gzip_of_parquet(self, run, tmp_path):
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
        (tmp_path / "x.parquet.gz").write_bytes(gzip.compress(b"PAR1" * 500, mtime=0)[:-9])
        assert "x.parquet.gz is not a complete Parquet file (Compressed file ended" in failed(
            run("embed", "--input", "x.parquet.gz")
        )

    def test_an_input_that_cannot_be_read(self, run):
        # Its first byte belongs to no page of the process, and reading it is an input/output error.
        assert "cannot read /proc/self/mem after line 0: Input/output error" in failed(
            run("embed", "--input", "/proc/self/mem")
        )

    def test_wrong_calls(self, run, tmp_path):
        for args in (
            ["embed", "a", "--input", "b"],
            ["embed", "a", "--prompt", "query: ", "--prompt-name", "query"],
            ["embed", "--precision", "int4"],
            ["unheard"],
            ["embed", "--no"],
            ["embed", "a", "--resume"],
            ["embed", "a", "-o", "b.npy", "-o", "c.npy"],
            ["embed", "-i", ""],
            ["embed", "a", "-o", ""],
            ["embed", "a", "--batch-size", "0"],
            ["search", "a", "-", "--prompt", "query: ", "--prompt-name", "query"],
        ):
            process = run(*args)
            assert process.returncode == 2
            assert process.stdout == b""
        assert "cannot read nowhere.txt: No such file" in failed(run("embed", "-i", "nowhere.txt"))
        for name, fault in (("x.bin", "writes no .bin files"), ("x", "no suffix"), ("x.npy.gz", "gzip")):
            message = failed(run("embed", "a", "-o", name))
            assert f"cannot write {name}: " in message
            assert fault in message
            assert "give --output-format" in message
        assert "cannot write no/x.npy: No such file" in failed(run("embed", "a", "-o", "no/x.npy"))
        assert "the model folder './nowhere' does not exist" in failed(
            run("embed", "a", "--model", "./nowhere")
        )
        assert "cannot be written to a pipe" in failed(run("embed", "a", "--output-format", "npy"))
        (tmp_path / "folder.npy").mkdir()
        assert "cannot write folder.npy: Is a directory" in failed(run("embed", "a", "-o", "folder.npy"))
        assert "folder.npy is a folder without" in failed(run("embed", "-i", "folder.npy"))

    def test_a_dash_is_stdout(self, run, tmp_path):
        line = succeeded(run("embed", "a dog", "-o", "-"))
        assert line == succeeded(run("embed", "a dog"))
        assert succeeded(run("embed", "a dog", "-o", "-", "--output-format", "jsonl")) == line
        assert list(tmp_path.iterdir()) == []

    def test_json_is_not_taken_for_lines(self, run, tmp_path):
        (tmp_path / "texts.json").write_text('[{"text": "a dog"}]\n')
        for args in (("embed", "-i", "texts.json"), ("search", "a dog", "texts.json")):
            message = failed(run(*args))
            assert "texts.json, line 1: a JSON array" in message
            assert "jq -c '.[]'" in message
        (tmp_path / "texts.json").write_text('{"id": "b", "text": "a dog"}\n')
        assert parse(succeeded(run("embed", "-i", "texts.json")))[0] == ["b"]
        assert parse(succeeded(run("embed", stdin='{"id": "b", "text": "a dog"}\n')))[0] == ["b"]

    def test_a_file_name_is_not_taken_for_a_text(self, run, tmp_path, folder):
        (tmp_path / "dog.txt").write_text("cat\n")
        (tmp_path / "mat").mkdir()
        for command in ("embed", "similarity", "explain"):
            for texts in (["dog.txt"], ["mat"], ["dog.txt", "mat"]):
                message = failed(run(command, *texts))
                assert f"{texts[0]!r} is the name of a" in message
                assert ("--input FILE" if command == "embed" else "$(cat FILE)") in message
        vectors = Embedder(folder).encode(["dog.txt", "a dog"])
        for args in (["dog.txt", "a dog"], ["--", "dog.txt", "a dog"]):
            np.testing.assert_array_equal(parse(succeeded(run("embed", *args)))[1], vectors)
        np.testing.assert_array_equal(parse(succeeded(run("embed", "--", "dog.txt")))[1], vectors[:1])

    def test_a_file_is_not_written_over_its_own_vectors(self, run, tmp_path):
        content = '{"text": "precious"}\n'
        (tmp_path / "in.jsonl").write_text(content)
        os.link(tmp_path / "in.jsonl", tmp_path / "hard.jsonl")
        (tmp_path / "soft.jsonl").symlink_to("in.jsonl")
        before = {path.name for path in tmp_path.iterdir()}
        for output in ("in.jsonl", "./in.jsonl", "hard.jsonl", "soft.jsonl"):
            for model in ((), ("--model", "./nowhere")):  # before any of it is read
                process = run("embed", "-i", "in.jsonl", "-o", output, *model)
                assert "in.jsonl is both input and output: write to another" in failed(process)
        script = 'exec "$0" -m minigte embed'
        for redirected in ("<in.jsonl -o hard.jsonl", "-i in.jsonl >>soft.jsonl"):
            process = subprocess.run(
                ["sh", "-c", f"{script} {redirected}", sys.executable],
                cwd=tmp_path,
                capture_output=True,
                check=False,
            )
            assert "is both input and output" in failed(process)
        assert (tmp_path / "in.jsonl").read_text() == content
        assert {path.name for path in tmp_path.iterdir()} == before

    def test_outputs_that_are_no_files(self, run, folder, tmp_path, vectors):
        """A device, a named pipe, a link and the names of stdout stay what they are, and are written to."""
        (tmp_path / "target.jsonl").write_text("old")
        (tmp_path / "link.jsonl").symlink_to("target.jsonl")
        succeeded(run("embed", TEXTS[0], "-o", "link.jsonl"))
        assert (tmp_path / "link.jsonl").is_symlink()
        np.testing.assert_array_equal(parse((tmp_path / "target.jsonl").read_text())[1], vectors[:1])
        assert succeeded(run("embed", TEXTS[0], "-o", os.devnull)) == ""
        assert Path(os.devnull).is_char_device()
        assert not Path(f"{os.devnull}.unfinished").exists()
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", "pipe"], cwd=tmp_path, stdout=subprocess.PIPE) as reader:
            succeeded(run("embed", TEXTS[0], "-o", "pipe"))
            np.testing.assert_array_equal(parse(reader.stdout.read().decode())[1], vectors[:1])
        assert (tmp_path / "pipe").is_fifo()
        got = succeeded(run("embed", TEXTS[0], "-o", "/dev/stdout"))
        np.testing.assert_array_equal(parse(got)[1], vectors[:1])
        script = f'{{ echo head; "$0" -m minigte embed "{TEXTS[0]}" -o /dev/stdout; echo tail; }} > log'
        environment = {**os.environ, "MINIGTE_MODEL": str(folder)}
        subprocess.run(["sh", "-c", script, sys.executable], cwd=tmp_path, env=environment, check=True)
        head, got, tail = (tmp_path / "log").read_text().splitlines()
        assert (head, tail) == ("head", "tail")
        np.testing.assert_array_equal(parse(got)[1], vectors[:1])

    def test_resume_needs_a_file(self, run):
        for output in ("-", os.devnull, "/dev/stdout"):
            process = run("embed", "a", "--resume", "-o", output)
            assert process.returncode == 2
            assert "--resume needs --output" in process.stderr.decode()

    def test_a_terminal_gets_a_hint_and_not_silence(self):
        controller, terminal = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "minigte", "embed"],
            stdin=terminal,
            capture_output=True,
            timeout=60,
            check=False,
        )
        os.close(controller)
        os.close(terminal)
        assert done.returncode == 2
        assert b"give TEXTS, --input FILE, or texts on stdin" in done.stderr

    def test_a_reader_that_goes_away(self, folder):
        process = subprocess.Popen(
            [sys.executable, "-m", "minigte", "embed", "--model", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        process.stdin.write(b"cat\n" * 5000)
        process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
        process.stderr.close()

    @pytest.mark.parametrize(
        ("redirected", "fault"),
        [
            ("embed cat >&-", "stdout"),
            ("search cat - <&-", "cannot read stdin"),
            ("similarity cat dog >&-", "stdout"),
            ("embed <&-", "cannot read stdin"),
        ],
    )
    def test_a_stream_that_is_needed_and_closed(self, folder, redirected, fault):
        """Results that go nowhere, and texts that come from nowhere, are no success."""
        process = subprocess.run(
            ["sh", "-c", f'exec "$0" -m minigte {redirected}', sys.executable],
            env={**os.environ, "MINIGTE_MODEL": str(folder)},
            capture_output=True,
            check=False,
        )
        message = failed(process)
        assert fault in message
        assert "Bad file descriptor" in message

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_closed_streams(self, folder, tmp_path, closed):
        """As a service may be started: what asks whether they are a terminal must find nothing amiss."""
        command = f'exec "$0" -m minigte embed --model "$1" --output out.npy cat {closed}'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, str(folder)], cwd=tmp_path, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert np.load(tmp_path / "out.npy").shape == (1, 20)

    @pytest.mark.parametrize(("texts", "written"), [(10, 100), (3000, 2 * 1024 * 20 * 4)])
    def test_interrupted(self, run, folder, tmp_path, texts, written):
        """Stopped after it has begun, and after two chunks: what is done is kept, and --resume goes on."""
        # Where this test runs in the background its children would ignore an interrupt, so that is undone.
        listen = (
            "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-m", "minigte", "embed", "--model", str(folder), "-o", "out.npy"]
        kept = tmp_path / "out.npy.unfinished"
        with subprocess.Popen(
            [sys.executable, "-c", listen, *command],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        ) as process:
            process.stdin.write(b"cat\n" * texts)
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while not kept.exists() or kept.stat().st_size < written:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            said = process.stderr.read().decode()
        if texts == 10:
            assert said == ""
            assert list(tmp_path.iterdir()) == []
        else:
            assert " texts are done, in out.npy.unfinished: the same command with --resume" in said
            assert list(tmp_path.iterdir()) == [kept]
            succeeded(run("embed", "-o", "out.npy", "--resume", stdin="cat\n" * texts))
            assert len(np.load(tmp_path / "out.npy")) == texts
            assert not kept.exists()

    def test_no_room_to_write(self, run, folder, tmp_path):
        """The kernel refuses to let the file grow; the old output survives, and what is done is kept."""
        (tmp_path / "out.npy").write_bytes(b"before")
        command = [sys.executable, "-m", "minigte", "embed", "--model", str(folder), "-o", "out.npy"]
        process = subprocess.run(
            ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *command],  # at most 100 KiB
            input=b"cat\n" * 5000,
            capture_output=True,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        assert process.returncode == 1
        note, error = process.stderr.decode().splitlines()
        assert "1024 texts are done, in out.npy.unfinished" in note
        assert "cannot write out.npy: File too large" in error
        assert (tmp_path / "out.npy").read_bytes() == b"before"
        assert len(list(tmp_path.iterdir())) == 2
        succeeded(run("embed", "-o", "out.npy", "--resume", stdin="cat\n" * 5000))
        assert len(np.load(tmp_path / "out.npy")) == 5000
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_full_disk(self, run, tmp_path):
        """A real file system of 64 KiB, where root may mount one; the old output survives."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        try:
            (disk / "out.jsonl").write_bytes(b"before")
            process = run("embed", "-o", "disk/out.jsonl", stdin="cat\n" * 5000)
            assert "cannot write disk/out.jsonl: No space left on device" in failed(process)
            assert (disk / "out.jsonl").read_bytes() == b"before"
            assert len(list(disk.iterdir())) == 1
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_stdout_is_full(self, folder):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            process = subprocess.run(
                [sys.executable, "-m", "minigte", "embed", "cat", "--model", str(folder)],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert process.returncode == 1
        assert process.stderr.decode() == "minigte: error: stdout: No space left on device\n"


def test_similarity(run, vectors):
    lines = succeeded(run("similarity", *TEXTS)).splitlines()
    assert lines[0].split() == ["1", "2", "3", "4"]
    assert lines[1].startswith("1 the cat sat ")
    table = np.array([line.split()[-4:] for line in lines[1:]], float)
    np.testing.assert_allclose(table, vectors @ vectors.T, atol=6e-5)


def test_similarity_shows_each_text_on_one_line(run):
    assert succeeded(run("similarity", "a\n\tdog", "cat")) == succeeded(run("similarity", "a dog", "cat"))


class TestSearch:
    def test_lines(self, run, folder, tmp_path):
        texts = [f"cat {'dog ' * (i % 9)}{'mat ' * (i % 7)}".strip() for i in range(1500)]
        (tmp_path / "corpus.txt").write_text("\n".join(texts))
        embedder = Embedder(folder)
        expected = embedder.semantic_search("dog dog", texts, top_k=3)[0]
        rows = [
            line.split("\t") for line in succeeded(run("search", "-k3", "dog dog", "corpus.txt")).splitlines()
        ]
        assert [row[0] for row in rows] == [f"{hit['score']:.4f}" for hit in expected]
        assert [row[2] for row in rows] == [texts[int(row[1])] for row in rows]  # as embed counts them

    def test_ids(self, run, tmp_path):
        (tmp_path / "x.jsonl").write_text('{"id": "first", "text": "a\\n  dog"}\n')
        assert succeeded(run("search", "a dog", "x.jsonl")) == "1.0000\tfirst\ta dog\n"

    def test_a_long_text_is_not_cut_in_silence(self, run, tmp_path):
        (tmp_path / "x.txt").write_text("cat " * 31 + "\na dog\n")
        process = run("search", "a dog", "x.txt")
        assert process.stdout.decode().startswith("1.0000\t1\ta dog\n")
        assert "warning: 1 of 2 texts have more than 32 tokens and were cut" in process.stderr.decode()

    def test_prompts(self, run, folder, tmp_path):
        (tmp_path / "x.txt").write_text("cat\ndog mat\n")
        process = run("search", "dog", "x.txt", "--prompt", "the ", "--document-prompt", "a ")
        embedder = Embedder(folder)
        query, texts = embedder.encode("the dog"), embedder.encode(["a cat", "a dog mat"])
        scores = dict(enumerate(embedder.similarity(query, texts)[0]))
        rows = [line.split("\t") for line in succeeded(process).splitlines()]
        best = sorted(scores, key=scores.__getitem__, reverse=True)
        assert [(row[0], int(row[1])) for row in rows] == [(f"{scores[i]:.4f}", i) for i in best]

    def test_an_id_stays_on_its_line(self, run, tmp_path):
        (tmp_path / "x.jsonl").write_text('{"id": "a\\tb\\n", "text": "dog"}\n')
        assert succeeded(run("search", "dog", "x.jsonl")) == '1.0000\t"a\\tb\\n"\tdog\n'

    @pytest.mark.parametrize(("encoding", "shown"), [("cp1252", "café \\u2192"), ("latin-1", "café \\u2192")])
    def test_a_stdout_that_has_not_every_character(self, run, tmp_path, encoding, shown):
        (tmp_path / "x.txt").write_text("café →\n")
        process = run("search", "dog", "x.txt", env={"PYTHONIOENCODING": encoding})
        assert process.returncode == 0
        assert process.stdout.decode(encoding).endswith(f"\t0\t{shown}\n")
        assert process.stderr == b""

    def test_an_empty_file(self, run):
        assert succeeded(run("search", "dog", "-", stdin="")) == ""


def test_info(run, folder):
    facts = json.loads(succeeded(run("info", "--json")))
    assert facts["folder"] == str(folder)
    assert facts["origin"] == "folder"
    assert facts["weights"].startswith("model.safetensors, sha256 ")
    assert facts["assumed"] == ["max_seq_length 32"]
    assert {
        "minigte",
        "python",
        "numpy",
        "model cache",
        "packed cache",
        "packed weights",
        "dtype",
        "backend",
        "instructions",
        "threads",
    } <= set(facts)
    text = succeeded(run("info"))
    assert f"{'folder:':<21}{folder}\n" in text
    assert f"{'assumed:':<21}max_seq_length 32\n" in text


@pytest.mark.parametrize("modules", [False, True])
def test_info_of_a_cross_encoder(run, folder, tmp_path, modules):
    model = tiny.write_cross_encoder(tmp_path / "pairs", num_labels=2, modules=modules)
    facts = json.loads(succeeded(run("info", "--json", "--model", "pairs", "--max-seq-length", "9")))
    arrays = [*tiny.tensors().values(), *tiny.head_tensors(num_labels=2).values()]
    assert facts["kind"] == "cross-encoder"
    assert facts["architecture"] == "bert"
    assert facts["folder"] == str(model)
    assert facts["weights"].startswith("model.safetensors, sha256 ")
    assert facts["parameters"] == sum(array.size for array in arrays)
    assert facts["labels"] == ["LABEL_0", "LABEL_1"]
    assert facts["activation_fn"] == ("Sigmoid" if modules else "Identity")
    assert facts["max_seq_length"] == 9
    assert {"dtype", "backend", "packed weights", "instructions", "threads"} <= set(facts)
    of_vectors = json.loads(succeeded(run("info", "--json")))
    assert of_vectors["kind"] == "embedding model"
    assert set(of_vectors) - set(facts) == {
        "embedding_dimension",
        "pooling",
        "normalize",
        "similarity",
        "prompts",
        "assumed",
    }
    assert f"{'labels:':<21}LABEL_0, LABEL_1\n" in succeeded(run("info", "--model", "pairs"))
    message = failed(run("info", "--model", "pairs", "--truncate-dim", "3"))
    assert "--truncate-dim is about vectors, and pairs is a cross-encoder: omit it" in message


@pytest.mark.parametrize("command", [("embed", "cat"), ("similarity", "cat", "dog"), ("explain", "cat")])
def test_a_cross_encoder_where_vectors_are_asked_for(run, tmp_path, command):
    tiny.write_cross_encoder(tmp_path / "pairs", modules=True)
    message = failed(run(*command, "--model", "pairs"))
    assert message.endswith(
        "pairs is a cross-encoder, which scores pairs of texts: use CrossEncoder, or minigte rerank"
    )


def test_warmup(run, tmp_path):
    if jit_missing() is not None:
        pytest.skip(f"Numba: {jit_missing()}")
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    first = run("warmup", "float32", env=environment)
    assert first.returncode == 0
    assert first.stdout.decode() == f"{tmp_path / 'kernels' / 'minigte'}\n"
    assert len(first.stderr.splitlines()) <= 1  # that it compiles, unless an image has been warmed up
    assert succeeded(run("warmup", "float32", env=environment)) == first.stdout.decode()
    assert (
        json.loads(succeeded(run("info", "--json", env=environment)))["kernel cache"] in first.stdout.decode()
    )


def test_info_downloads_nothing(run, tmp_path):
    """And a model that is not here is an error, of which nothing stands on stdout."""
    for form in ([], ["--json"]):
        process = run("info", *form, "--model", "thenlper/gte-small", "--cache-folder", str(tmp_path))
        assert "is not on this machine" in failed(process)
        assert "the model folder './nothing' does not exist" in failed(
            run("info", *form, "--model", "./nothing")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_more_threads_than_there_is_use_for(run, backend):
    process = run("embed", "a", "--threads", "999", "--backend", backend)
    assert process.returncode == 0
    [line] = process.stderr.decode().splitlines()
    assert "warning: --threads 999" in line


def test_the_package_that_downloads_is_missing(run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['huggingface_hub'] = None")
    for args in (["download", "some/model"], ["embed", "a", "--model", "some/model", "--offline"]):
        message = failed(run(*args, env={"PYTHONPATH": str(tmp_path)}))
        assert "pip install huggingface-hub" in message
    succeeded(run("embed", "a", env={"PYTHONPATH": str(tmp_path)}))  # a folder needs no such package


def test_the_package_of_the_command_line_is_missing(run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['click'] = None")
    for args in (["--help"], ["embed", "a"]):
        assert failed(run(*args, env={"PYTHONPATH": str(tmp_path)})).endswith("pip install click")


@pytest.mark.parametrize("package", ["pyarrow", "tqdm"])
def test_a_package_that_is_missing_is_named(run, tmp_path, package):
    (tmp_path / f"{package}.py").write_text("raise ImportError('absent')")
    args = {"pyarrow": ("-o", "x.parquet"), "tqdm": ("--progress",)}[package]
    message = failed(run("embed", "a", *args, env={"PYTHONPATH": str(tmp_path)}))
    assert message.endswith(f"pip install {package}")
    parse(succeeded(run("embed", "a", env={"PYTHONPATH": str(tmp_path)})))


@pytest.mark.parametrize(
    "command",
    [[], ["embed"], ["similarity"], ["search"], ["explain"], ["download"], ["pack"], ["warmup"], ["info"]],
)
def test_every_help_page_has_examples(run, command):
    page = succeeded(run(*command, "--help"))
    assert "Examples:\n" in page
    assert f"  minigte {' '.join(command)}" in page.partition("Examples:")[2]


def test_the_list_of_commands_says_each_in_a_whole_sentence(run):
    listed = succeeded(run("--help")).partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) == 11
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


class TestExplain:
    def test_a_page_under_its_default_name(self, run, tmp_path):
        assert succeeded(run("explain", "the cat sat")) == "minigte-explain.html\n"
        page = (tmp_path / "minigte-explain.html").read_text()
        assert page.startswith("<!doctype html>")
        assert '"text":"the cat sat"' in page
        assert [path.name for path in tmp_path.iterdir()] == ["minigte-explain.html"]

    def test_two_texts_to_stdout(self, run, tmp_path):
        page = succeeded(run("explain", "the cat sat", "a dog", "-o", "-"))
        assert page.startswith("<!doctype html>")
        assert '"by_layer":[' in page
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("args", [("--json",), ("-o", "minigte-explain.json")])
    def test_json_holds_every_number(self, run, folder, tmp_path, args):
        assert succeeded(run("explain", "the cat sat", *args)) == "minigte-explain.json\n"
        got = json.loads((tmp_path / "minigte-explain.json").read_text())
        trace = Embedder(folder).explain("the cat sat")
        assert (got["text"], got["tokens"], got["input_ids"], got["is_cut"]) == (
            "the cat sat",
            list(trace.tokens),
            list(trace.input_ids),
            False,
        )
        np.testing.assert_array_equal(np.array(got["vector"], np.float32), trace.vector)
        assert list(got["stages"]) == list(trace)
        for name, stage in got["stages"].items():
            values = np.array(stage["values"], np.float32)
            np.testing.assert_array_equal(values, trace[name])
            assert stage["shape"] == list(values.shape)
            assert (stage["where"], stage["source"]) == (trace.stage(name).where, trace.stage(name).source)

    def test_json_of_two_texts(self, run, folder):
        got = json.loads(succeeded(run("explain", "the cat sat", "a dog", "--json", "-o", "-")))
        want = Embedder(folder).explain_similarity("the cat sat", "a dog")
        assert got["score"] == want.score
        np.testing.assert_array_equal(got["pairs"], want.pairs)
        np.testing.assert_array_equal(got["by_layer"], want.by_layer)
        assert got["b"]["text"] == "a dog"
        assert list(got["a"]["stages"]) == list(want.a)

    @pytest.mark.parametrize("texts", [["the cat $sat$ on"], ["the cat", "a dog"]])
    def test_png(self, run, tmp_path, texts):
        pytest.importorskip("matplotlib", reason="the plot extra is not installed")
        assert succeeded(run("explain", "--png", "--layer", "1", *texts)) == "minigte-explain.png\n"
        assert (tmp_path / "minigte-explain.png").read_bytes().startswith(b"\x89PNG")

    def test_png_without_matplotlib(self, run, tmp_path):
        (tmp_path / "matplotlib.py").write_text("raise ImportError('absent')")
        process = run("explain", "--png", "a", env={"PYTHONPATH": str(tmp_path)})
        assert "pip install matplotlib" in failed(process)
        assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["matplotlib.py"]

    def test_prompts_and_truncation(self, run):
        got = json.loads(succeeded(run("explain", "--prompt", "query ", "the cat", "--json", "-o", "-")))
        assert got["text"] == "query the cat"
        process = run("explain", "dog " * 100)
        assert process.returncode == 0
        assert "1 of 1 texts have more than 32 tokens" in process.stderr.decode()
        assert b"truncation" not in process.stderr  # explain has no such option

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("--layer", "2", "a"), "--layer must be from 0 to 1, not 2"),
            (("--head", "5", "a"), "--head must be from 0 to 4, not 5"),
            (("--prompt-name", "nonsense", "a"), "unknown prompt_name"),
            (("-o", "no/such/folder.html", "a"), "cannot write no/such/folder.html"),
            (("-o", "a.svg", "a"), "cannot tell the format of 'a.svg': name it .html, .json or .png"),
        ],
    )
    def test_errors_leave_nothing_behind(self, run, tmp_path, args, message):
        assert message in failed(run("explain", *args))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "args",
        [(), ("a", "b", "c"), ("--json", "--png", "a"), ("--prompt", "", "--prompt-name", "query", "a")],
    )
    def test_wrong_calls(self, run, args):
        process = run("explain", *args)
        assert process.returncode == 2
        assert "Traceback" not in process.stderr.decode()

    def test_an_error_keeps_what_was_there(self, run, tmp_path):
        (tmp_path / "minigte-explain.html").write_text("mine")
        failed(run("explain", "--layer", "9", "a"))
        assert (tmp_path / "minigte-explain.html").read_text() == "mine"
