"""minigte inside llm, by its entry point: `make test-integrations`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigte import Embedder

pytest.importorskip("llm", reason="llm is missing: make test-integrations")


def run(tmp_path: Path, folder: Path, *arguments: str, text: str | None = None) -> str:
    """What the command ``llm`` prints."""
    process = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(tmp_path), "MINIGTE_MODEL": str(folder)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_embed(tmp_path: Path, folder: Path, small: Embedder) -> None:
    assert "minigte" in run(tmp_path, folder, "embed-models")
    vector = json.loads(run(tmp_path, folder, "embed", "-m", "minigte", "-c", "the cat"))
    assert vector == small.encode("the cat").tolist()


def test_a_collection_finds_its_texts(tmp_path: Path, folder: Path) -> None:
    lines = "".join(f'{{"id": {n}, "text": "{text}"}}\n' for n, text in enumerate(("the cat", "a dog")))
    run(tmp_path, folder, "embed-multi", "texts", "-m", "minigte", "--format", "nl", "-", text=lines)
    found = run(tmp_path, folder, "similar", "texts", "-c", "a dog", "-n", "1")
    assert json.loads(found)["id"] == "1"


def test_the_plugin_is_imported_without_the_engine() -> None:
    """What a plugin costs every command of llm: no tokenizers, no Numba, no model."""
    code = (
        "import sys, llm; before = set(sys.modules); import minigte.integrations.llm; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new & {'numba', 'llvmlite', 'huggingface_hub', 'onnx', 'torch'}))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
