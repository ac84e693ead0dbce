"""docs/serve.md is true: its commands print what it shows, and its tables name what there is."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from places import ROOT

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "serve.md"
TEXT = PAGE.read_text(encoding="utf-8")

SHELL = """
set -u
cd "$1"
trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def numbers_rounded(text: str) -> str:
    """Numbers to three places: their last ones differ between processors."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.3f}", text)


@pytest.mark.usefixtures("model_by_name")
def test_commands(tmp_path: Path) -> None:
    shown = "".join(block for kind, block in pages.blocks(PAGE) if kind == "console")
    commands = re.findall(r"^\$ (.*)$", shown, re.MULTILINE)
    assert len(commands) > 10
    script = SHELL
    for command in commands:
        script += f"echo {'$ ' + command!r}\n" if "'" not in command else f"cat <<'END'\n$ {command}\nEND\n"
        script += ":\n" if command.startswith("pip ") else f"{command}\n"
    ports = dict(zip(("8080", "8081", "8082"), map(str, free_ports(3)), strict=True))
    first = ports["8080"]
    script = script.replace("minigte serve --log-level", f"minigte serve --port {first} --log-level")
    for port, free in ports.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}").replace(
            f"--port {port}", f"--port {free}"
        )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_PROXY": "*",
    }
    process = subprocess.run(
        ["bash", "-c", script, "bash", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert "Traceback" not in process.stderr
    printed = process.stdout.replace(f"--port {first} --log-level", "--log-level")
    for port, free in ports.items():
        printed = printed.replace(free, port)
    # curl ends no line of its own.
    lines = [line for line in re.sub(r"([\]}])\$ ", r"\1\n$ ", printed).splitlines() if line]
    assert numbers_rounded("\n".join(lines)) == numbers_rounded(shown.strip()), process.stderr


def test_every_metric_is_explained() -> None:
    from minigte.server.metrics import Metrics

    named = set(re.findall(r"^\| `(minigte_\w+)`", TEXT, re.MULTILINE))
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics()._registry.collect()
        if family.name.startswith("minigte_")
    }
    assert named == there


def test_every_bound_is_that_of_the_server() -> None:
    from minigte.server import limits

    defaults = limits.Limits()
    for option, value in (
        ("max-body-bytes", f"{defaults.max_body_bytes >> 20} MiB"),
        ("max-texts", f"{defaults.max_texts}"),
        ("max-queue-tokens", f"{defaults.max_queue_tokens:,}"),
        ("max-queue-seconds", f"{defaults.max_queue_seconds:g}"),
        ("max-connections", f"{defaults.max_connections}"),
    ):
        assert re.search(rf"^\| `--{option}`[^|]*\| {re.escape(value)} \|", TEXT, re.MULTILINE), option
    assert f"{limits.HEADER_BYTES >> 10} KiB, {limits.HEADER_SECONDS:g} s" in TEXT
    assert f"| the body | {limits.BODY_SECONDS:g} s |" in TEXT


def test_the_files_for_deployment_name_options_that_exist() -> None:
    from minigte.cli.pack import pack
    from minigte.cli.serve import serve

    known = {name for command in (pack, serve) for parameter in command.params for name in parameter.opts}
    for name in ("Dockerfile", "compose.yaml", "minigte.service"):
        text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
        served = [line for line in text.splitlines() if not line.startswith("#")]
        used = set(re.findall(r"--[a-z0-9-]+", "\n".join(line for line in served if "pip" not in line)))
        docker = {"--from", "--interval", "--timeout", "--start-period", "--retries"}
        assert used - docker <= known, name
        assert "--offline" in used
