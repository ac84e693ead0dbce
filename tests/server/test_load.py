"""The long measurements of bench/serve in short: under overload and bad clients every answer is right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

pytest.importorskip("packaging")


def measured(part: str, model: Path, seconds: int, output: Path) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "bench" / "serve" / "measure.py"), part, "--model", str(model)]
    command += ["--seconds", str(seconds), "--dtype", "float32", "--output", str(output)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(output.read_text())


def test_bad_clients(gte_small: Path, tmp_path: Path) -> None:
    result = measured("soak", gte_small, 20, tmp_path / "soak.json")
    assert result["healthy"]
    assert result["checked_wrong"] == 0
    # On a machine that is slow enough a client may lose its patience.
    assert set(result["checked"]) <= {"200", "429", "503", "TimeoutError"}
    assert result["checked"]["200"] > 0
    assert sum(result["bad_clients"].values()) > 50
    assert result["rss_last_tenth"] - result["rss_second_tenth"] < 60 << 20


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_overload(gte_small: Path, tmp_path: Path) -> None:
    result = measured("overload", gte_small, 12, tmp_path / "overload.json")
    assert result["healthy"]
    assert result["checked_wrong"] == 0
    assert set(result["answers"]) | set(result["checked"]) <= {"200", "429", "503"}
    assert result["answers"]["429"] > result["answers"]["200"]
    assert result["rss_last_quarter"] - result["rss_first_quarter"] < 60 << 20


def test_a_lone_query(gte_small: Path, tmp_path: Path) -> None:
    """What it costs more than the library's call is measured on a quiet machine; here, that it can be."""
    result = measured("query", gte_small, 3, tmp_path / "query.json")
    assert result["queries"] > 3
