"""``minigte embed`` killed, out of disk, twice at once, over many texts: gte-small in int8."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from minigte.backend import jit_missing
from minigte.embedder import CHUNK_TEXTS

pytestmark = pytest.mark.skipif(jit_missing() is not None, reason=f"Numba: {jit_missing()}")

CHUNKS = 4
COUNT = CHUNKS * CHUNK_TEXTS + 300
KILLS = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSONL of short English texts: pieces of this repository's own pages."""
    words = " ".join(path.read_text() for path in sorted(ROOT.glob("*.md"))).split()
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    with path.open("w") as file:
        for number in range(COUNT):
            begin = chance.randrange(len(words))
            text = " ".join(words[begin : begin + chance.randint(1, 3)])
            file.write(json.dumps({"id": f"row-{number}", "text": text}) + "\n")
    return path


NIGHTLY = [pytest.param(name, marks=pytest.mark.nightly) for name in ("npy", "jsonl")]


@pytest.fixture(scope="module", params=["parquet", *NIGHTLY])
def output_format(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    return str(request.param)


def command(model: Path, corpus: Path, output: Path, *options: str) -> list[str]:
    embed = [sys.executable, "-m", "minigte", "embed", "--model", str(model), "--dtype", "int8"]
    embed += ["--max-seq-length", "8", "--truncation", "ignore"]  # fast also where int8 is slow
    return [*embed, "--input", str(corpus), "--output", str(output), *options]


def finish(*arguments: str | Path) -> None:
    """Run the command to its end."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.fixture(scope="module")
def whole(
    gte_small: Path, corpus: Path, output_format: str, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The output of a run that nothing has disturbed."""
    output = tmp_path_factory.mktemp("whole") / f"out.{output_format}"
    finish(gte_small, corpus, output)
    assert list(output.parent.iterdir()) == [output]
    return output.read_bytes()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_killed_at_random_points(
    gte_small: Path, corpus: Path, output_format: str, whole: bytes, tmp_path: Path
) -> None:
    """SIGKILL at random sizes of what is done, and while the output is joined; the same bytes at last."""
    output = tmp_path / f"out.{output_format}"
    kept = tmp_path / f"out.{output_format}.unfinished"
    output.write_bytes(b"before")
    chance = random.Random()  # other points in every run; the output must be the same for all
    all_of_it = len(whole) * CHUNKS * CHUNK_TEXTS // COUNT
    points = sorted(chance.randrange(all_of_it) for _ in range(KILLS))
    for point in [*points, None]:  # None: when the output is being joined
        with subprocess.Popen(command(gte_small, corpus, output, "--resume")) as process:
            while process.poll() is None:
                if any(tmp_path.glob(".*.part")) if point is None else size_of(kept) > point:
                    break
                time.sleep(0.0005)
            time.sleep(chance.random() / 20)
            process.kill()
            code = process.wait()
        print(f"killed at {point}: {size_of(kept)} bytes kept")
        if not kept.exists():  # the output was whole before the kill came
            break
        assert code == -signal.SIGKILL
        assert output.read_bytes() == b"before"
    finish(gte_small, corpus, output, "--resume")
    assert output.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [output]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("output_format", ["parquet"], indirect=True)
def test_a_full_disk(
    gte_small: Path, corpus: Path, output_format: str, whole: bytes, small_disk: Path
) -> None:
    """A disk too small for what is done, then for the output beside it, then large enough."""
    output = small_disk / f"out.{output_format}"
    kept = small_disk / f"out.{output_format}.unfinished"
    for size in (len(whole) // 2, len(whole) * 3 // 2):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
        done = subprocess.run(
            command(gte_small, corpus, output, "--resume"),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(done.stderr)
        assert done.returncode == 1
        note, error = done.stderr.splitlines()
        assert re.fullmatch(
            rf"minigte: \d+ texts are done, in {kept}: the same command with --resume .*", note
        )
        assert error == f"minigte: error: cannot write {output}: No space left on device"
        assert list(small_disk.iterdir()) == [kept]
    subprocess.run(["mount", "-o", "remount,size=1g", str(small_disk)], check=True)
    finish(gte_small, corpus, output, "--resume")
    assert output.read_bytes() == whole
    assert list(small_disk.iterdir()) == [output]


@pytest.mark.parametrize("output_format", ["parquet"], indirect=True)
def test_a_second_process_on_the_same_output_is_refused(
    gte_small: Path, corpus: Path, output_format: str, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / f"out.{output_format}"
    kept = tmp_path / f"out.{output_format}.unfinished"
    with subprocess.Popen(command(gte_small, corpus, output)) as first:
        while size_of(kept) == 0:  # what is in it was written under the lock
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)  # however slow the machine, it is not done before the second comes
        second = subprocess.run(
            command(gte_small, corpus, output, "--resume"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait() == 0
    assert second.returncode == 1
    assert second.stderr == (
        f"minigte: error: another process is writing {output}: wait for it, or name another output\n"
    )
    assert output.read_bytes() == whole


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_readers_hold_nothing_but_what_they_read(tmp_path: Path, suffix: str) -> None:
    """The peak of memory grows by less than a tenth of the file from its first texts to its last."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    make = """
        import csv, json, random, sys
        path, suffix = sys.argv[1:]
        chance = random.Random(0)
        rows = [{"id": i, "text": chance.randbytes(500).hex()} for i in range(200_000)]
        if suffix == "jsonl":
            open(path, "w").writelines(json.dumps(row) + "\\n" for row in rows)
        elif suffix == "csv":
            writer = csv.DictWriter(open(path, "w", newline=""), ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            import pyarrow, pyarrow.parquet
            table = pyarrow.Table.from_pylist(rows)
            pyarrow.parquet.write_table(table, path, row_group_size=len(rows))  # one for the whole file
    """
    read = """
        import re, sys
        from minigte.cli.inputs import read_records
        path, suffix = sys.argv[1:]
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
        with open(path, "rb") as file:
            for number, record in enumerate(read_records(file, path, suffix)):
                if number == 5000:
                    early = peak()
        assert number == 199_999
        print(early, peak())
    """
    path = tmp_path / f"large.{suffix}"
    printed = ""
    for script in (make, read):
        lines = "\n".join(line[8:] for line in script.splitlines())
        printed = subprocess.run(
            [sys.executable, "-c", lines, str(path), suffix], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    early, late = map(int, printed.split())
    print(f"{suffix}, {path.stat().st_size >> 10} KB: {early} KB after 5,000 texts, {late} KB after 200,000")
    assert (late - early) * 1024 < path.stat().st_size / 10
