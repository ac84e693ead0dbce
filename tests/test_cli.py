"""The command line as a shell sees it: stdout, stderr, exit codes, files; each run is its own process."""

import csv
import json
import os
import pty
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny

from minigte import Embedder

TEXTS = ["the cat sat", "a dog", "", "the mat, the mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def vectors(folder):
    return Embedder(folder).encode(TEXTS)


@pytest.fixture
def run(folder, tmp_path):
    """Run ``minigte`` with the tiny model in an empty folder; the process is returned when it has ended."""

    def run(*args, stdin="", **options):
        return subprocess.run(
            [sys.executable, "-m", "minigte", *args],
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "MINIGTE_MODEL": str(folder), **options.pop("env", {})},
            timeout=120,
            check=False,
            **options,
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
        succeeded(run("embed", "--input", path.name, "--column", "body", "--output", f"out.{output}"))
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
            ("x.csv", b"a,text\n1\n", "x.csv, line 2: too few fields, no 'text'"),
            ("x.csv", b'text\n"open\n', "x.csv, after line 1: unexpected end of data"),
            ("x.csv", b"", "x.csv has no column 'text'"),
            ("x.parquet", b"PAR1", "x.parquet is not a whole Parquet file"),
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

    def test_wrong_calls(self, run, tmp_path):
        for args in (
            ["embed", "a", "--input", "b"],
            ["embed", "--precision", "int4"],
            ["unheard"],
            ["embed", "--no"],
        ):
            process = run(*args)
            assert process.returncode == 2
            assert process.stdout == b""
        assert "cannot read nowhere.txt: No such file" in failed(run("embed", "-i", "nowhere.txt"))
        assert "cannot tell the output format of 'x.bin'" in failed(run("embed", "a", "-o", "x.bin"))
        assert "cannot write no/x.npy: No such file" in failed(run("embed", "a", "-o", "no/x.npy"))
        assert "the model folder './nowhere' does not exist" in failed(
            run("embed", "a", "--model", "./nowhere")
        )
        assert "cannot be written to a pipe" in failed(run("embed", "a", "--output-format", "npy"))

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

    def test_interrupted(self, folder, tmp_path):
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "minigte",
                "embed",
                "--model",
                str(folder),
                "-o",
                str(tmp_path / "out.jsonl"),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            process.stdin.write(b"cat\n" * 3000)
            process.stdin.flush()
            while not list(tmp_path.iterdir()):
                pass  # until it has begun to write
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr.read() == b""
        assert list(tmp_path.iterdir()) == []

    def test_no_room_to_write(self, run, tmp_path):
        """The kernel refuses to let the file grow, as it does on a full disk; the old output survives."""
        (tmp_path / "out.npy").write_bytes(b"before")
        limit = 100 * 1024
        process = run(
            "embed",
            "-o",
            "out.npy",
            stdin="cat\n" * 5000,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert "cannot write out.npy: File too large" in failed(process)
        assert (tmp_path / "out.npy").read_bytes() == b"before"
        assert len(list(tmp_path.iterdir())) == 1

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
        assert [row[2] for row in rows] == [texts[int(row[1]) - 1] for row in rows]

    def test_ids(self, run, tmp_path):
        (tmp_path / "x.jsonl").write_text('{"id": "first", "text": "a\\n  dog"}\n')
        assert succeeded(run("search", "a dog", "x.jsonl")) == "1.0000\tfirst\ta dog\n"

    def test_an_empty_file(self, run):
        assert succeeded(run("search", "dog", "-", stdin="")) == ""


def test_info(run, folder):
    facts = json.loads(succeeded(run("info", "--json")))
    assert facts["folder"] == str(folder)
    assert facts["origin"] == "folder"
    assert facts["weights"].startswith("model.safetensors, sha256 ")
    assert facts["assumed"] == ["mean pooling", "L2 norm", "max_seq_length 32"]
    assert {"minigte", "python", "numpy", "cache", "dtype", "backend"} <= set(facts)
    text = succeeded(run("info"))
    assert f"{'folder:':<21}{folder}\n" in text
    assert "mean pooling, L2 norm, max_seq_length 32" in text


def test_info_downloads_nothing(run, tmp_path):
    facts = json.loads(
        succeeded(run("info", "--json", "--model", "thenlper/gte-small", "--cache-folder", str(tmp_path)))
    )
    assert "is not on this machine" in facts["model"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], ["embed"], ["similarity"], ["search"], ["download"], ["info"]])
def test_every_help_page_has_examples(run, command):
    page = succeeded(run(*command, "--help"))
    assert "Examples:\n" in page
    assert f"  minigte {' '.join(command)}" in page.partition("Examples:")[2]
