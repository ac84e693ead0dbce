"""Arrays in pages of their own: where they begin, and that their memory goes back to the system."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tiny

from minigte.runtime import memory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7, 5), (memory.LARGE // 4,), (2, memory.LARGE)])
def test_zeros(shape: tuple[int, ...], dtype: type) -> None:
    array = memory.zeros(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % memory.CACHE_LINE == 0
    assert not array.any()
    array[...] = 1
    assert array.all()


def test_more_than_there_is() -> None:
    with pytest.raises(MemoryError, match="bytes"):
        memory.zeros((1 << 60,), np.int8)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux alone says what is resident")
@pytest.mark.parametrize(("backend", "dtype"), [("auto", "int8"), ("auto", "float32"), ("numpy", "float32")])
def test_dropped_embedders_leave_nothing(backend: str, dtype: str, tmp_path: Path) -> None:
    """10 are made and dropped one by one, then 10 held at once; each weighs 9 to 29 MB."""
    config = tiny.config(hidden_size=320, intermediate_size=1280, num_hidden_layers=6)
    folder = tiny.write_model(tmp_path / "model", config)
    script = f"""
        import gc, pathlib
        from minigte import Embedder

        def resident():
            gc.collect()
            return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

        def embedder():
            made = Embedder({str(folder)!r}, backend={backend!r}, dtype={dtype!r})
            made.encode(["the cat sat on the mat"] * 3)
            return made

        embedder()
        before = resident()
        for _ in range(10):
            embedder()
        one_by_one = resident()
        held = [embedder() for _ in range(10)]
        most = resident()
        held.clear()
        print(one_by_one - before, most - before, resident() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    one_by_one, most, dropped = map(float, run.stdout.split())
    assert most > 10 * 8
    assert one_by_one < 10
    assert dropped < 20
