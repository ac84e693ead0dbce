"""The long measurements of bench/serve in short: under overload and bad clients every answer is right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from places import ROOT
from running import Running

pytestmark = pytest.mark.slow

pytest.importorskip("packaging")


BENCH = ROOT / "bench"


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
    assert result["socket_errors"] == 0
    assert result["rss_last_quarter"] - result["rss_first_quarter"] < 60 << 20


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_new_connection_has_its_turn_among_busy_ones(tiny_server: Running) -> None:
    """Where one connection was accepted each time around the loop, this one waited for a minute."""
    command = ["wrk", "--threads", "1", "--connections", "900", "--duration", "20s"]
    with subprocess.Popen([*command, f"{tiny_server.url}/health"], stdout=subprocess.DEVNULL) as wrk:
        try:
            time.sleep(1)  # for all of them to be there
            with httpx.Client(base_url=tiny_server.url, timeout=15, trust_env=False) as client:
                assert client.get("/health").status_code == 200
            assert wrk.poll() is None
        finally:
            wrk.terminate()


def test_a_lone_query(gte_small: Path, tmp_path: Path) -> None:
    """What it costs more than the library's call is measured on a quiet machine; here, that it can be."""
    result = measured("query", gte_small, 3, tmp_path / "query.json")
    assert result["queries"] > 3


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_load_and_what_the_page_shows_of_it(gte_small: Path, tmp_path: Path) -> None:
    """minigte alone, and two numbers of connections; what was not measured is said to be so."""
    page = tmp_path / "serve.md"
    marks = "<!-- figures: written by bench/serve/report.py -->\n<!-- end of figures -->\n"
    page.write_text(f"before\n{marks}after\n")
    measure = [f"load --model {gte_small} --seconds 1 --output {tmp_path}/2026-01-01-load.json"]
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(BENCH)!r})
from serve import measure, report, servers
servers.KINDS = servers.KINDS[:1]
measure.CONNECTIONS = dict.fromkeys(measure.CONNECTIONS, (1, 8))
for arguments in {measure}:
    sys.argv = ["measure", *arguments.split()]
    measure.main()
report.RESULTS, report.PAGE = pathlib.Path({str(tmp_path)!r}), pathlib.Path({str(page)!r})
report.main()
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False
    )
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "2026-01-01-load.json").read_text())
    assert len(result["rows"]) == 6
    assert all(set(row["statuses"]) == {"200"} and not row["socket_errors"] for row in result["rows"])
    assert result["lowest_cosines"]["minigte, float32"] > 0.999999
    shown = page.read_text()
    assert shown.startswith("before\n")
    assert shown.endswith("<!-- end of figures -->\nafter\n")
    first = result["rows"][0]
    assert f"{first['statuses']['200'] / first['seconds']:,.0f}; " in shown
    assert "\nNot measured yet: one request on an idle server, overload, a long run" in shown


def test_the_page_shows_the_figures_that_are_kept(tmp_path: Path) -> None:
    shown = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    (tmp_path / "serve.md").write_text(shown, encoding="utf-8")
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(BENCH)!r})
from serve import report
report.PAGE = pathlib.Path({str(tmp_path / "serve.md")!r})
report.main()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    assert (tmp_path / "serve.md").read_text(encoding="utf-8") == shown
