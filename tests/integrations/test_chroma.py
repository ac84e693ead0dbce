"""minigte inside Chroma: `make test-integrations`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigte import Embedder, InputError

chromadb = pytest.importorskip("chromadb", reason="chromadb is missing: make test-integrations")

from minigte.integrations.chroma import MinigteEmbeddingFunction  # noqa: E402

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]
AGAIN = """
import sys
import chromadb
from chromadb.config import Settings
import minigte.integrations.chroma
client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))
print(client.get_collection("texts").query(query_texts=["the cat"], n_results=2)["ids"])
"""


def test_a_collection_is_opened_again_by_another_process(
    tmp_path: Path, folder: Path, small: Embedder
) -> None:
    client = chromadb.PersistentClient(str(tmp_path), chromadb.config.Settings(anonymized_telemetry=False))
    function = MinigteEmbeddingFunction(folder, truncate_dim=16)
    collection = client.create_collection("texts", embedding_function=function)
    collection.add(ids=["0", "1", "2"], documents=TEXTS)
    assert collection.configuration["hnsw"]["space"] == "cosine"
    stored = collection.get(include=["embeddings"])["embeddings"]
    expected = small.encode_document(TEXTS, truncate_dim=16)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    [hits] = small.semantic_search("the cat", TEXTS, 2, truncate_dim=16)
    process = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert process.stdout.splitlines()[-1:] == [str([[str(hit["corpus_id"]) for hit in hits]])], process


def test_config(folder: Path) -> None:
    function = MinigteEmbeddingFunction(folder, truncate_dim=16)
    again = MinigteEmbeddingFunction.build_from_config(function.get_config())
    assert again.get_config() == function.get_config()
    assert (again(["a cat"])[0] == function(["a cat"])[0]).all()
    assert (function.embed_query(["a cat"])[0] != function(["a cat"])[0]).any()
    assert not function.is_legacy()


def test_what_chroma_cannot_keep_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="prompts"):
        MinigteEmbeddingFunction(folder, prompts=[("query", "q")])
