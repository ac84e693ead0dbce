"""Text to ids: what transformers' tokenizer gives for texts that tokenizers stumble over."""

from __future__ import annotations

import json
from typing import Any

import golden_files as golden
import pytest
from nasty import LONE_SURROGATES, NASTY

from minigte import Embedder, InputError


@pytest.fixture(scope="module")
def golden_tokens() -> dict[str, dict[str, Any]]:
    file = json.loads((golden.FOLDER / "tokens.json").read_text())
    assert file["provenance"]["format"] == golden.FORMAT, golden.REMAKE
    assert list(file["texts"]) == list(NASTY), golden.REMAKE
    return dict(file["texts"])


@pytest.mark.parametrize("name", NASTY)
def test_ids_and_their_number_equal_transformers(
    embedder: Embedder, golden_tokens: dict[str, dict[str, Any]], name: str
) -> None:
    want = golden_tokens[name]
    assert embedder.tokenize(NASTY[name]) == {
        "input_ids": want["input_ids"],
        "token_type_ids": [0] * len(want["input_ids"]),
    }
    assert embedder.count_tokens(NASTY[name]) == want["num_tokens"]


def test_a_batch_gives_the_ids_of_each_text_alone(embedder: Embedder) -> None:
    together = embedder.tokenize(list(NASTY.values()))["input_ids"]
    assert together == [embedder.tokenize(text)["input_ids"] for text in NASTY.values()]


@pytest.mark.parametrize("text", LONE_SURROGATES)
def test_a_lone_surrogate_is_refused_with_its_position(embedder: Embedder, text: str) -> None:
    for read in (embedder.encode, embedder.tokenize, embedder.count_tokens):
        with pytest.raises(InputError, match=r"sentences\[2\] holds a lone surrogate"):
            read(["fine", "fine too", text])
