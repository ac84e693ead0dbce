"""Text to ids against transformers' tokenizer, run beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty import LONE_SURROGATES, NASTY

from minigte import Embedder, InputError


@pytest.fixture(scope="module")
def tokenizer(gte_small: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(gte_small)


@pytest.mark.parametrize("name", NASTY)
def test_nasty_texts(embedder: Embedder, tokenizer: Any, name: str) -> None:
    assert embedder.tokenize(NASTY[name])["input_ids"] == tokenizer(NASTY[name], truncation=True)["input_ids"]
    assert embedder.count_tokens(NASTY[name]) == len(tokenizer(NASTY[name], verbose=False)["input_ids"])


# Any character that has a UTF-8 form, and pieces that tokenizers treat in a way of their own.
PIECES = st.text() | st.sampled_from([text for text in NASTY.values() if len(text) < 100])


@settings(max_examples=500)
@given(pieces=st.lists(PIECES, max_size=6), joint=st.sampled_from(["", " ", "\n", "\u200d", "##"]))
def test_random_texts(embedder: Embedder, tokenizer: Any, pieces: list[str], joint: str) -> None:
    text = joint.join(pieces)
    assert embedder.tokenize(text)["input_ids"] == tokenizer(text, truncation=True)["input_ids"]


@pytest.mark.parametrize("text", LONE_SURROGATES)
def test_what_transformers_cannot_read_is_refused(embedder: Embedder, tokenizer: Any, text: str) -> None:
    with pytest.raises(TypeError):
        tokenizer(text)
    with pytest.raises(InputError, match="lone surrogate"):
        embedder.tokenize(text)
