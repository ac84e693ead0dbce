"""schemathesis reads the OpenAPI document and looks for a request that is answered in another way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from places import ROOT
from running import running

PROGRAM = Path(sys.executable).parent / "schemathesis"
SETTINGS = ROOT / "tests" / "clients" / "schemathesis.toml"


@pytest.mark.parametrize("keys", [(), ("a-key",)], ids=["open", "with a key"])
def test_schemathesis_finds_nothing(tmp_path, keys):
    if not PROGRAM.exists():
        pytest.skip("schemathesis is not installed")
    folder = tiny.write_model(tmp_path / "tiny", tiny.config(max_position_embeddings=512))
    tiny.write_sentence_transformers(folder, prompts={"query": "query: "})
    options = ["--model", str(folder), *(f"--api-key={key}" for key in keys)]
    headers = [f"--header=Authorization: Bearer {key}" for key in keys]
    with running(*options) as server:
        command = [
            str(PROGRAM),
            "--config-file",
            str(SETTINGS),
            "run",
            f"{server.url}/openapi.json",
            *headers,
        ]
        command += [
            "--checks",
            "all",
            "--max-examples",
            "15",
            "--seed",
            "1",
            "--generation-database",
            ":memory:",
        ]
        process = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
        )
        assert process.returncode == 0, process.stdout[-20_000:] + process.stderr
        assert not [line for line in server.log if line["level"] == "error"]
