"""all-mpnet-base-v2 with its real weights: every stage against transformers, vectors as published.

`make mpnet` fetches it; MINIGTE_MPNET is its folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import exact
import numpy as np
import oracle
import pytest
import sentence_transformers
import transformers
from nasty import LONG, NASTY
from places import ROOT

from minigte import Embedder
from minigte.loading.config import read_config
from minigte.loading.weights import load_weights

TEXTS = [
    "what is the capital of China?",
    "Beijing",
    "",
    "Çà et là: naïve cafés, 東京 🙂 3.14!",
    LONG,
    LONG * 20,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    path = Path(os.environ.get("MINIGTE_MPNET") or ROOT / ".models" / "all-mpnet-base-v2")
    if not path.is_dir():
        pytest.skip(f"all-mpnet-base-v2 is not in {path}: run `make mpnet`, or set MINIGTE_MPNET")
    return path


def test_every_stage(folder: Path) -> None:
    config, tokenizer = read_config(folder), transformers.AutoTokenizer.from_pretrained(folder)
    weights, model = load_weights(folder, config), oracle.load(folder)
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=config.max_seq_length)["input_ids"]
        got = exact.trace(config.encoder, weights, np.array(ids))
        largest = exact.largest_scores(got, config.encoder)
        exact.assert_stages_equal("all-mpnet-base-v2", got, oracle.trace(model, ids), largest)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def test_tokens(folder: Path, theirs: Any) -> None:
    ours = Embedder(folder, backend="numpy")
    for name, text in NASTY.items():
        want = theirs.tokenizer(text, truncation=True)["input_ids"]
        assert ours.tokenize(text)["input_ids"] == want, name


# gte-small has 0.99999 in bfloat16. Rounding this model's weights alone, with all else in float32, moves the
# empty text to 0.99997 (docs/precision-and-speed.md).
@pytest.mark.parametrize(("dtype", "cosine"), [("float32", 0.9999999), ("bfloat16", 0.9999), ("int8", 0.998)])
def test_vectors(folder: Path, theirs: Any, dtype: str, cosine: float) -> None:
    want = theirs.encode(TEXTS)
    got = Embedder(folder, dtype=dtype).encode(TEXTS, truncation="ignore")
    if dtype == "float32":
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    assert (got * want).sum(axis=1).min() >= cosine
