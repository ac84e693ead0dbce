"""What the tests of other programs share: a small model, in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from minigte import Embedder

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose prompts tell queries from documents, so that one taken for the other shows."""
    path = tiny.write_model(tmp_path_factory.mktemp("model") / "tiny")
    tiny.write_sentence_transformers(path, prompts=PROMPTS)
    return path


@pytest.fixture(scope="session")
def small(folder: Path) -> Embedder:
    return Embedder(folder)
