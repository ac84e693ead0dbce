"""Long texts in chunks: none too long, cut where sentences end, and nothing of the text left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from minigte import Embedder, InputError
from minigte.tokenizing.chunking import cut
from minigte.tokenizing.tokenizer import Tokenizer

PARTS = st.sampled_from(
    [
        "the cat sat",
        ". ",
        "! ",
        "?\n",
        " ",
        "\n\n",
        "a dog",
        "antidisestablishment" * 3,
        "。",
        "1.5 ",
        '"run." ',
        "é中",
    ]
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tiny.write_model(tmp_path_factory.mktemp("model"))
    return Embedder(folder, backend="numpy").tokenizer


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(parts=st.lists(PARTS, max_size=40), size=st.integers(3, 30), share=st.floats(0, 0.9))
def test_any_text(tokenizer: Tokenizer, parts: list[str], size: int, share: float) -> None:
    text = "".join(f"{number}{part}" for number, part in enumerate(parts))  # no two places are the same
    overlap = int(share * (size - 3))
    chunks = list(cut(text, tokenizer, size, overlap))
    assert chunks
    assert all(count <= size for count in tokenizer.count(chunks))
    if not overlap:
        assert squeezed("".join(chunks)) == squeezed(text)
    if size <= 9 or "anti" in text:  # a chunk may be a few letters, which stand in several places
        return
    end = 0  # of what the chunks have had
    for chunk in chunks:
        place = text.index(chunk)
        assert not text[end:place].strip()
        assert place + len(chunk) > end or not chunk
        end = place + len(chunk)
    assert not text[end:].strip()


def test_sentences_stay_whole(tokenizer: Tokenizer) -> None:
    text = "the cat sat. a dog run!\n\nthe mat? the dog sat on 1.5 mats. "
    assert list(cut(text, tokenizer, 14)) == [
        "the cat sat. a dog run!\n\nthe mat?",
        "the dog sat on 1.5 mats.",
    ]
    assert list(cut(text, tokenizer, 100)) == [text.strip()]


def test_overlap_is_of_whole_sentences(tokenizer: Tokenizer) -> None:
    text = "a cat. a dog. a mat. a run."  # three tokens each
    assert list(cut(text, tokenizer, 8, 3)) == ["a cat. a dog.", "a dog. a mat.", "a mat. a run."]
    assert list(cut(text, tokenizer, 8, 2)) == ["a cat. a dog.", "a mat. a run."]


def test_nothing_but_blanks(tokenizer: Tokenizer) -> None:
    assert list(cut("", tokenizer, 8)) == [""]
    assert list(cut(" \n ", tokenizer, 8)) == [" \n "]


@pytest.mark.parametrize(
    ("size", "overlap", "says"), [(2, 0, "no room"), (8, 6, "from 0 to 5"), (8, -1, "-1")]
)
def test_no_room(tokenizer: Tokenizer, size: int, overlap: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        list(cut("a cat", tokenizer, size, overlap))
