"""What is kept of a killed run: any end of the file, any damage, any mix-up; no model is needed."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from minigte.cli.formats import DATABASES, OUTPUT_FORMATS
from minigte.cli.outputs import output_of
from minigte.cli.records import Record
from minigte.cli.resumable import DIGEST_BYTES, LENGTH_BYTES, MAGIC, Unfinished
from minigte.embedder import CHUNK_TEXTS
from minigte.errors import InputError, OutputError

pytestmark = pytest.mark.slow

OPTIONS = {"--dtype": "int8", "--prompt": None}
RECORDS = [Record(f"id {i}", f"text {i}") for i in range(3 * CHUNK_TEXTS + 100)]
VECTORS = np.random.default_rng(0).normal(size=(len(RECORDS), 3)).astype(np.float32)


class KilledError(Exception):
    """Stands for a kill: nothing is written after it."""


def run(path, file_format, *, chunks=99, resume=False, records=RECORDS, options=OPTIONS) -> int:
    """What ``minigte embed`` does, with ready vectors, until it is killed; returns the chunks it made."""
    made = 0
    with Unfinished(path, resume=resume) as kept:
        source: Iterator[Record] = iter(records)
        kept.start(options, source)
        output = output_of(file_format, VECTORS[:0], kept.first())
        while chunk := list(itertools.islice(source, CHUNK_TEXTS)):
            if made == chunks:
                raise KilledError
            first = kept.texts
            rows = VECTORS[first : first + len(chunk)]
            kept.append(chunk, output.encode(chunk, rows, first))
            made += 1
        kept.finish(output.write)
    return made


def left_after(path: Path, file_format: str, chunks: int, **options) -> Path:
    with pytest.raises(KilledError):
        run(path, file_format, chunks=chunks, **options)
    return path.with_name(path.name + ".unfinished")


@pytest.fixture(params=[name for name in OUTPUT_FORMATS if name not in DATABASES])
def file_format(request) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    return request.param


@pytest.fixture
def whole(file_format, tmp_path) -> bytes:
    """The output of a run that nothing has disturbed."""
    path = tmp_path / f"whole.{file_format}"
    assert run(path, file_format) == 4
    assert list(tmp_path.iterdir()) == [path]
    return path.read_bytes()


def test_cut_anywhere(file_format, tmp_path, whole):
    """Whatever a kill leaves of the file, the output is the same; whole chunks are not made again."""
    path = tmp_path / f"out.{file_format}"
    kept = left_after(path, file_format, 3)
    content = kept.read_bytes()
    ends, position = [], len(MAGIC)
    while position < len(content):
        position += LENGTH_BYTES + DIGEST_BYTES
        position += int.from_bytes(content[position - DIGEST_BYTES - LENGTH_BYTES :][:LENGTH_BYTES], "little")
        ends.append(position)
    assert len(ends) == 4
    assert ends[-1] == len(content)
    edges = {0, 1, len(MAGIC) - 1, len(MAGIC), len(MAGIC) + 7}
    edges |= {end + step for end in ends for step in (-1, 0, 1, LENGTH_BYTES, LENGTH_BYTES + DIGEST_BYTES)}
    edges |= set(random.Random(0).sample(range(len(content)), 20))
    for length in sorted(edge for edge in edges if edge <= len(content)):
        kept.write_bytes(content[:length])
        done = max(0, sum(end <= length for end in ends) - 1)
        assert run(path, file_format, resume=True) == 4 - done
        assert path.read_bytes() == whole
        assert not kept.exists()


def test_damage_ends_what_is_kept(file_format, tmp_path, whole):
    path = tmp_path / f"out.{file_format}"
    kept = left_after(path, file_format, 3)
    content = kept.read_bytes()
    for place in random.Random(1).sample(range(len(MAGIC), len(content)), 20):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        kept.write_bytes(damaged)
        run(path, file_format, resume=True)
        assert path.read_bytes() == whole


def test_killed_again_and_again(file_format, tmp_path, whole):
    path = tmp_path / f"out.{file_format}"
    path.write_bytes(b"before")
    for _ in range(3):
        left_after(path, file_format, 1, resume=True)
        assert path.read_bytes() == b"before"
    assert run(path, file_format, resume=True) == 1
    assert path.read_bytes() == whole


def test_killed_while_it_joins(file_format, tmp_path, whole):
    path = tmp_path / f"out[1].{file_format}"  # a name that is a pattern to glob
    kept = left_after(path, file_format, 3)
    leftover = tmp_path / f".{path.name}.x1y2.part"
    leftover.write_bytes(b"half of it")
    assert run(path, file_format, resume=True) == 1
    assert path.read_bytes() == whole
    assert not kept.exists()
    assert not leftover.exists()


def test_an_input_that_has_grown(tmp_path):
    path = tmp_path / "out.npy"
    left_after(path, "npy", 2, records=RECORDS[: 3 * CHUNK_TEXTS])
    assert run(path, "npy", resume=True) == 2
    np.testing.assert_array_equal(np.load(path), VECTORS)


def test_without_resume_it_names_the_way_out(tmp_path):
    path = tmp_path / "out.npy"
    kept = left_after(path, "npy", 1)
    before = kept.read_bytes()
    with pytest.raises(InputError, match=r"out.npy.unfinished .* --resume, or delete it"):
        run(path, "npy")
    assert kept.read_bytes() == before


def test_nothing_is_kept_before_the_first_whole_chunk(tmp_path):
    path = tmp_path / "out.npy"
    assert not left_after(path, "npy", 0).exists()
    kept = left_after(path, "npy", 1)
    kept.write_bytes(kept.read_bytes()[:-1])  # as a kill within the first chunk leaves it
    assert run(path, "npy", options={"--dtype": "float32"}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"options": {**OPTIONS, "--dtype": "float32"}},
            "made with --dtype 'int8', now 'float32': give the same",
        ),
        ({"options": {**OPTIONS, "--prompt": "a"}}, "made with --prompt None, now 'a'"),
        ({"options": {"--prompt": "a"}}, "made with --dtype 'int8', now None; --prompt None, now 'a'"),
        ({"records": RECORDS[1:]}, "another input .some of its texts 1 to 1024 differ.: give the same input"),
        ({"records": RECORDS[:2000]}, "another input .some of its texts 1025 to 2048 differ"),
        ({"records": [*RECORDS[:2047], Record("x", RECORDS[2047].text)]}, "texts 1025 to 2048 differ"),
    ],
)
def test_another_run_is_refused(tmp_path, change, message):
    path = tmp_path / "out.npy"
    kept = left_after(path, "npy", 2)
    before = kept.read_bytes()
    with pytest.raises(InputError, match=message):
        run(path, "npy", resume=True, **change)
    assert kept.read_bytes() == before
    assert not path.exists()


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    kept = tmp_path / "out.npy.unfinished"
    kept.write_bytes(b"my poem")
    for resume in (False, True):
        with pytest.raises(InputError, match="was not written by minigte: rename it"):
            run(tmp_path / "out.npy", "npy", resume=resume)
    assert kept.read_bytes() == b"my poem"


def test_two_processes(tmp_path):
    """The second is refused while the first lives, and not when it was killed."""
    path = tmp_path / "out.npy"
    left_after(path, "npy", 1)
    script = (
        "import pathlib, sys; from minigte.cli.resumable import Unfinished; "
        "kept = Unfinished(pathlib.Path(sys.argv[1]), resume=True); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"\n"
        for resume in (False, True):
            with pytest.raises(OutputError, match=r"another process is writing .*out.npy: wait for it"):
                run(path, "npy", resume=resume)
        other.kill()
        other.wait()
    assert run(path, "npy", resume=True) == 3


def test_damage_while_it_runs_is_not_passed_on(tmp_path):
    path = tmp_path / "out.npy"
    kept = left_after(path, "npy", 3)

    def damaging() -> Iterator[Record]:
        yield from RECORDS
        kept.write_bytes(kept.read_bytes()[:-1])

    with pytest.raises(OutputError, match="damaged after text 2048 since it was written: use --resume"):
        run(path, "npy", resume=True, records=damaging())
    assert not path.exists()
    assert run(path, "npy", resume=True) == 2
    np.testing.assert_array_equal(np.load(path), VECTORS)
