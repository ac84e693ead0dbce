"""Short runs of scripts that measure beside transformers, or make what the other tests compare with."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import exact
import golden_files
import numpy as np
import pytest
import tiny
from places import ROOT
from scripts import run, write_texts

from minigte import Embedder
from minigte.loading.config import read_config


def test_the_benchmark_runs(gte_small: Path, tmp_path: Path) -> None:
    """Peers that are not installed are left out, and the result says so."""
    data, out = write_texts(tmp_path / "data"), tmp_path / "run.json"
    only = "minigte int8", "(NumPy) float32", "sentence-transformers float32", "OpenVINO float32"
    options = ["--quick", "--only", *only]
    options += ["--data", str(data), "--model", str(gte_small), "--onnx", str(gte_small / "config.json")]
    short = f"run.CACHE = pathlib.Path({str(tmp_path / 'cache')!r})"
    printed = run("bench/run", *options, "--out", str(out), short=short, HF_HUB_OFFLINE="1")
    peers = json.loads(out.read_text())["peers"]
    for name in ("minigte int8", "minigte (NumPy) float32", "sentence-transformers float32"):
        assert peers[name]["error"] is None
        assert peers[name]["cosine"]["sentences"]["min"] > 0.99
        assert name.rpartition(" ")[0] in printed
    if peers["OpenVINO float32"]["error"] is not None:
        assert "openvino" in peers["OpenVINO float32"]["error"].lower()


def test_golden_files_are_remade(gte_small: Path, tmp_path: Path) -> None:
    short = f"""
make_golden.ROOT = make_golden.FOLDER = pathlib.Path({str(tmp_path)!r})
make_golden.GTE_TEXTS = make_golden.GTE_TEXTS[:2]
"""
    run("tools/make_golden", "--model", str(gte_small), short=short)
    kept = ROOT / "tests" / "golden"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in kept.iterdir()} - {
        "messages.txt"
    }
    for path in tmp_path.glob("*.npz"):
        config = golden_files.TINY.get(path.stem) or read_config(gte_small).encoder
        remade, golden = golden_files.read(path.stem, tmp_path), golden_files.read(path.stem)
        # Of gte-small two texts are remade, and of the others all.
        assert len(remade.steps) == (2 if path.stem == "gte-small" else len(golden.steps))
        for (got_ids, _, got), (ids, _, want) in zip(remade.inputs(), golden.inputs(), strict=False):
            np.testing.assert_array_equal(got_ids, ids)
            exact.assert_stages_equal(
                f"golden {path.stem}, remade", got, want, exact.largest_scores(want, config)
            )
    tokens, kept_tokens = (json.loads((folder / "tokens.json").read_text()) for folder in (tmp_path, kept))
    assert tokens["texts"] == kept_tokens["texts"]


def test_the_plain_server_answers(tmp_path: Path) -> None:
    """What minigte's server is measured beside: FastAPI over sentence-transformers."""
    pytest.importorskip("fastapi")
    model = tiny.write_model(tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = ROOT / "bench" / "serve" / "plain.py"
    command = [sys.executable, str(script), "sentence-transformers", str(model), str(port)]
    with subprocess.Popen(command) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{url}/health").close()
                    break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.2)
            texts = ["a cat", "the dog"]
            body = json.dumps({"input": texts, "model": "m"}).encode()
            request = urllib.request.Request(
                f"{url}/v1/embeddings", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as answer:
                rows = [row["embedding"] for row in json.load(answer)["data"]]
        finally:
            server.terminate()
    want = Embedder(model, backend="numpy").encode(texts)
    np.testing.assert_allclose(rows, want, rtol=0, atol=1e-6)


def test_a_model_is_exported(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    target = tmp_path / "model.onnx"
    run("bench/export", str(tiny.write_model(tmp_path / "model")), str(target))
    inputs = [one.name for one in onnx.load(target).graph.input]
    assert inputs == ["input_ids", "attention_mask", "token_type_ids"]
    onnx.checker.check_model(str(target))
