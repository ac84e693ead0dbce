"""Servers that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from running import Running, running

from minigte import Embedder


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where what ``minigte[serve]`` brings is missing nothing can be tested."""
    try:
        import httpx  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        return True
    return None


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.write_model(tmp_path_factory.mktemp("served") / "tiny")
    return tiny.write_sentence_transformers(folder, prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture(scope="session")
def tiny_embedder(tiny_model: Path) -> Embedder:
    return Embedder(tiny_model)


@pytest.fixture(scope="session")
def tiny_server(tiny_model: Path) -> Iterator[Running]:
    with running("--model", str(tiny_model), "--alias", "text-embedding-3-small=tiny") as server:
        yield server
