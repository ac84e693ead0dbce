"""What a process may use: quotas and limits as the kernel's files say, and what they make impossible."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from minigte import Embedder, MinigteError, OutOfMemoryError
from minigte.runtime import resources


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, float("inf")),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000", "a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ({"cpu.max": "50000 100000", "a/b/cpu.max": "400000 100000"}, 0.5),
        ({"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "100000"}, float("inf")),
        ({"a/cpu.max": "nonsense"}, float("inf")),
    ],
)
def test_cgroup_quota(
    files: dict[str, str], cores: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    proc = tmp_path / "cgroup"
    proc.write_text("5:cpu,cpuacct:/a/b\n4:memory:/x\n0::/a/b\n")
    monkeypatch.setattr(resources, "PROC", tmp_path)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "fs")
    assert resources._quota() == cores


def test_usable_cores_is_at_least_one() -> None:
    assert 1 <= resources.usable_cores() <= (os.cpu_count() or 1)


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A process of version 1's group /a/b that holds 10 MB of its own, and 20 MB of files."""
    pages = 2**20 // os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "statm").write_text(f"{100 * pages} {30 * pages} {20 * pages} 1 0 1 0\n")
    (tmp_path / "cgroup").write_text("4:memory:/a/b\n0::/\n")
    (tmp_path / "fs" / "memory" / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(resources, "PROC", tmp_path)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "fs")
    return tmp_path / "fs"


@pytest.mark.parametrize(
    "file", ["memory/a/b/memory.limit_in_bytes", "memory/a/memory.limit_in_bytes", "memory.max"]
)
def test_the_smallest_limit_counts(process, file):
    resources.require_memory(2**40, "a model", "pray")
    (process / file).write_text(f"{50 * 2**20}\n")
    resources.require_memory(40 * 2**20, "a model", "pray")
    message = (
        "a model needs about 51 MB, but its control group allows this process 50 MB: allow it more, or p"
    )
    with pytest.raises(OutOfMemoryError, match=message):
        resources.require_memory(41 * 2**20, "a model", "pray")


def test_no_limit(process):
    (process / "memory.max").write_text("max\n")
    resources.require_memory(2**50, "a model", "pray")


def test_without_proc(process, tmp_path):
    (process / "memory.max").write_text("1000\n")
    (tmp_path / "statm").unlink()
    resources.require_memory(2**50, "a model", "pray")


def test_an_embedder_is_refused_before_its_weights_are_read(process, tmp_path):
    folder = tiny.write_model(tmp_path / "model")
    damaged = {name: np.full_like(array, np.nan) for name, array in tiny.tensors().items()}
    tiny.write_safetensors(folder / "model.safetensors", damaged)  # which whoever reads it says
    (process / "memory.max").write_text(f"{10 * 2**20 + 1000}\n")
    with pytest.raises(OutOfMemoryError, match=r"model in float32 needs about 10 MB"):
        Embedder(folder)
    assert issubclass(OutOfMemoryError, MemoryError)
    assert issubclass(OutOfMemoryError, MinigteError)


def test_address_space():
    """Of a real process: with the limit that prlimit and ulimit set."""
    code = """
import resource
from minigte.runtime.resources import require_memory
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
require_memory(2**28, "a model", "pray")
require_memory(2**30, "a model", "pray")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "a model needs about 1" in done.stderr
    assert "but its limit of address space allows this process 1024 MB: allow it more" in done.stderr
