"""minigte inside txtai: `make test-integrations`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minigte import Embedder

txtai = pytest.importorskip("txtai", reason="txtai is missing: make test-integrations")

TEXTS = ["the cat sat on the mat", "a dog", "run, run!"]


def config(folder: Path, **others: object) -> dict:
    return {"method": "minigte.integrations.txtai.MinigteVectors", "path": str(folder), **others}


def test_an_index_is_saved_and_loaded(folder: Path, small: Embedder, tmp_path: Path) -> None:
    embeddings = txtai.Embeddings(config(folder))
    embeddings.index(TEXTS)
    embeddings.save(str(tmp_path / "index"))
    again = txtai.Embeddings()
    again.load(str(tmp_path / "index"))
    [hits] = small.semantic_search("the cat", TEXTS, 3)
    found = again.search("the cat", 3)
    assert [place for place, _ in found] == [hit["corpus_id"] for hit in hits]
    assert [score for _, score in found] == pytest.approx([hit["score"] for hit in hits], abs=1e-6)


def test_settings(folder: Path, small: Embedder) -> None:
    embeddings = txtai.Embeddings(
        config(folder, vectors={"truncate_dim": 8}, instructions={"query": "the ", "data": "a "})
    )
    vector = embeddings.transform("cat")
    expected = small.encode("the cat", truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(vector, expected, atol=1e-6)
