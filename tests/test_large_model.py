"""The script that tries a large model, on a small one: shards are read, packed in int8 and embed texts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from places import ROOT

from minigte import Embedder
from minigte.loading.weights import count_parameters
from minigte.models import bloom

SCRIPT = ROOT / "tools" / "try_large_model.py"


def test_the_script_writes_a_model_that_loads(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("large", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    config = bloom.Config(vocab_size=256, hidden_size=64, n_layer=3, n_head=4)
    count = script.write_model(tmp_path, config)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 4
    embedder = Embedder(tmp_path, dtype="int8")
    assert embedder.config.encoder == config
    assert count == embedder.num_parameters == count_parameters(embedder.config)
    got, want = embedder.encode(script.TEXTS), Embedder(tmp_path, backend="numpy").encode(script.TEXTS)
    cosine = (got * want).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert cosine.min() > 0.99


def test_the_script_measures_each_step(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--layers", "2", "--hidden-size", "64"]
    command += ["--heads", "4", "--vocabulary", "256"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert (tmp_path / "model" / "int8.packed").exists()
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "packed in memory",
        "minigte pack",
        "packed before",
    ]
    for line in lines[1:]:
        assert 0 < float(line.rpartition("peak GB ")[2]) < 2
