"""Pairs have the ids of the tokenizers library, and a long text is read no further than it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from minigte import InputTooLongError, TokenizerError
from minigte.loading.tokenizer_files import read_tokenizer_config
from minigte.tokenizing.splitting import PIECE
from minigte.tokenizing.tokenizer import Tokenizer

Pair = tuple[str, str]
CLS, SEP = (tiny.VOCABULARY.index(token) for token in ("[CLS]", "[SEP]"))


def make_tokenizer(folder: Path, max_seq_length: int) -> Tokenizer:
    config = read_tokenizer_config(folder, "BertTokenizer", chat_template=True)
    return Tokenizer(folder, config, vocab_size=300, max_seq_length=max_seq_length, for_pairs=True)


@pytest.fixture(scope="module", params=["right", "left"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, side: str) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.write_tokenizer(folder)
    return as_stored(folder, side)


def as_stored(folder: Path, side: str) -> Path:
    """Say that tokenizer.json counts as it is, and which side is cut."""
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "truncation_side": side}
    tiny.write_json(folder / "tokenizer_config.json", said)
    return folder


def check(tokenizer: Tokenizer, side: str, pairs: list[Pair]) -> None:
    """Compare with the library, which reads both texts whole."""
    library = tokenizers.Tokenizer.from_file(str(tokenizer.path))
    library.no_padding()
    library.enable_truncation(tokenizer.max_seq_length, direction=side)
    for pair, got in zip(pairs, tokenizer.tokenize_pairs(pairs), strict=True):
        want = library.encode(*pair)
        assert got.input_ids == want.ids, [text[:80] for text in pair]
        assert got.token_type_ids == want.type_ids
        assert got.is_cut == bool(want.overflowing)


def random_text(rng: np.random.Generator, size: int) -> str:
    """About so many characters, in parts with a token in every 4 of them and parts with one in 40."""
    parts: list[str] = []
    while size > 0:
        part = rng.choice(["cat ", "dog ", "ü" * 39 + " "]) * int(rng.integers(1, 2 + size // 80))
        parts.append(part)
        size -= len(part)
    return "".join(parts)


@pytest.mark.parametrize("max_seq_length", [300, 301])
def test_random_pairs(folder: Path, side: str, max_seq_length: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [0, 40, 300, PIECE, PIECE + 1000, 3 * PIECE]
    pairs = [(random_text(rng, a), random_text(rng, b)) for a in sizes for b in sizes for _ in range(2)]
    check(make_tokenizer(folder, max_seq_length), side, pairs)


@pytest.mark.parametrize("max_seq_length", [300, 301])
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_long_texts_of_nearly_the_same_length(
    folder: Path, side: str, max_seq_length: int, difference: int
) -> None:
    """Which is longer shows at their ends alone, and their beginnings say something else."""
    dense, sparse = "cat " * 1000, ("ü" * 39 + " ") * 1000
    a, b = dense + sparse, sparse + dense + "cat " * difference
    if difference < 0:
        a += "cat "
    check(make_tokenizer(folder, max_seq_length), side, [(a, b), (b, a), (a, a)])


@settings(max_examples=100)
@given(
    a=st.integers(0, 12),
    b=st.integers(0, 12),
    max_seq_length=st.integers(4, 20),
)
def test_every_length_of_short_texts(folder: Path, side: str, a: int, b: int, max_seq_length: int) -> None:
    words = "the cat sat on a mat run the dog sat , ."
    pair = (" ".join(words.split()[:a]), " ".join(words.split()[:b]))
    check(make_tokenizer(folder, max_seq_length), side, [pair])


@pytest.mark.parametrize(
    "post_processor",
    [
        None,
        processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS)),
        processors.RobertaProcessing(("[SEP]", SEP), ("[CLS]", CLS)),
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="$A", pair="$B:3 [SEP]:2 $A:1", special_tokens=[("[SEP]", SEP)]),
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing(
                    single="[CLS] $A",
                    pair="[CLS]:1 $A [SEP] [SEP] $B",
                    special_tokens=[("[SEP]", SEP), ("[CLS]", CLS)],
                ),
            ]
        ),
    ],
    ids=lambda post_processor: type(post_processor).__name__,
)
def test_what_stands_around_the_texts(folder: Path, side: str, post_processor: Any, tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = post_processor
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    as_stored(tmp_path, side)
    texts = ["cat", "the dog sat", "on a mat " * 5, "run " * 20]
    pairs = [(a, b) for a in texts for b in texts]
    for max_seq_length in (9, 10, 30):
        check(make_tokenizer(tmp_path, max_seq_length), side, pairs)


@pytest.mark.parametrize("max_seq_length", [300, 301])
def test_a_long_text_is_read_no_further_than_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_seq_length: int
) -> None:
    tiny.write_tokenizer(tmp_path)
    tokenizer = make_tokenizer(tmp_path, max_seq_length)
    pieces = tokenizer.splitter.pieces
    read: list[str] = []

    def noted(text: str) -> Iterator[str]:
        for piece in pieces(text):
            read.append(piece)
            yield piece

    monkeypatch.setattr(tokenizer.splitter, "pieces", noted)
    huge, long = "the cat sat. " * 100_000, "a dog " * PIECE
    for pair in ((huge, "cat"), (huge, long), (long, huge)):
        read.clear()
        tokenizer.tokenize_pairs([pair])
        if max_seq_length % 2:  # 298 tokens are 149 of each text, whichever is longer
            assert len(read) == 2
        else:
            assert len(read) <= 2 * len(long) / PIECE + 2
    read.clear()
    with pytest.raises(InputTooLongError, match=r"inputs\[7\]"):
        tokenizer.tokenize_pairs([(huge, huge)], start=7, refuse_long=True)
    assert len(read) == 2


def test_two_long_texts_of_bytes(tmp_path: Path) -> None:
    """The library would make a row of each 16 tokens of the one with each 16 of the other: 39 million."""
    tiny.write_byte_tokenizer(tmp_path)
    a, b = "the cat " * 12_500, "a dog. " * 15_000
    [pair] = make_tokenizer(tmp_path, 32).tokenize_pairs([(a, b)])
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert pair.input_ids == library.encode(a[:16]).ids + library.encode(b[:16]).ids
    assert pair.is_cut


def test_a_template_with_a_token_that_is_not_there(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    stored["post_processor"]["pair"].insert(2, {"SpecialToken": {"id": "[NO]", "type_id": 0}})
    tiny.write_json(tmp_path / "tokenizer.json", stored)
    as_stored(tmp_path, "right")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot put two texts into one row"):
        make_tokenizer(tmp_path, 30).tokenize_pairs([("cat", "dog")])
