"""Text to ids against transformers' tokenizer, run beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty import LONE_SURROGATES, NASTY
from tokenizers import models, pre_tokenizers, trainers

from minigte import Embedder, InputError
from minigte.loading.tokenizer_files import read_tokenizer_config
from minigte.tokenizing.tokenizer import Tokenizer
from minigte.tokenizing.tokenizer_file import read_tokenizer


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


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def trained(kind: str) -> tokenizers.Tokenizer:
    """A small vocabulary of this kind, from the nasty texts."""
    special = ["<pad>", "</s>", "<unk>"] if kind == "Unigram of T5" else SPECIAL
    options: dict[str, Any] = {"vocab_size": 600, "special_tokens": special, "show_progress": False}
    if kind == "BPE":
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer: Any = trainers.BpeTrainer(**options, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        tokenizer = tokenizers.Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(**options, unk_token="<unk>")
    texts = [text for text in NASTY.values() if len(text) < 10_000 and "\U0010ffff" not in text]
    tokenizer.train_from_iterator(texts, trainer)  # so that one character at least is unknown
    return tokenizer


def write_tokenizer(folder: Path, name: str, **fields: Any) -> None:
    """What a model's folder has of its tokenizer, but saved with another normalizer and no post-processor."""
    if name in ("BertTokenizer", "MPNetTokenizer"):
        tiny.write_tokenizer(folder)
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", "<mask>"])
    else:
        kinds = {"Roberta": "BPE", "XLMRobe": "Unigram", "T5Token": "Unigram of T5"}
        tokenizer = trained(kinds[name[:7]])
    tokenizer.save(str(folder / "tokenizer.json"))
    tiny.write_json(folder / "tokenizer_config.json", {"tokenizer_class": name, **fields})


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("MPNetTokenizer", {}),
        ("MPNetTokenizer", {"do_lower_case": False, "strip_accents": True}),
        ("MPNetTokenizer", {"mask_token": {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}}),
        ("RobertaTokenizer", {}),
        ("RobertaTokenizerFast", {"add_prefix_space": True}),
        ("RobertaTokenizer", {"add_prefix_space": False, "cls_token": "</s>"}),
        ("XLMRobertaTokenizer", {}),
        ("XLMRobertaTokenizerFast", {"add_prefix_space": False}),
        ("T5Tokenizer", {}),
        (
            "T5TokenizerFast",
            {"extra_ids": 3, "additional_special_tokens": [f"<extra_id_{i}>" for i in range(3)]},
        ),
        ("T5Tokenizer", {"extra_ids": 0}),
        ("T5Tokenizer", {"extra_ids": 2, "extra_special_tokens": []}),
        ("T5Tokenizer", {"eos_token": {"content": "</s>", "lstrip": True, "__type": "AddedToken"}}),
    ],
)
def test_tokenizers_of_other_models(tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    """As transformers rebuilds each from its vocabulary and its settings."""
    write_tokenizer(tmp_path, name, **fields)
    kind = getattr(transformers, name.removesuffix("Fast"))
    theirs = kind.from_pretrained(tmp_path)
    config = read_tokenizer_config(tmp_path, "BertTokenizer", chat_template=True)
    ours = read_tokenizer(tmp_path, config).tokenizer
    ours.no_truncation()
    ours.no_padding()
    for text in [*NASTY.values(), "a <mask> b</s> c <pad>d", " two  blanks ", "<extra_id_0> a<extra_id_1>b"]:
        assert ours.encode(text).ids == theirs(text, verbose=False)["input_ids"], text[:80]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [7, 20, 21])
@pytest.mark.parametrize(
    "name", ["BertTokenizer", "MPNetTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer"]
)
def test_pairs(tmp_path: Path, name: str, max_length: int, side: str) -> None:
    """Whole and cut, of tokenizers that transformers has saved."""
    write_tokenizer(tmp_path, name)
    theirs = getattr(transformers, name).from_pretrained(tmp_path, truncation_side=side)
    theirs.save_pretrained(tmp_path / "saved")
    config = read_tokenizer_config(tmp_path / "saved", "BertTokenizer", chat_template=True)
    ours = Tokenizer(tmp_path / "saved", config, vocab_size=1000, max_seq_length=max_length, for_pairs=True)
    texts = [
        "the cat",
        "",
        "a dog sat on the mat, " * 3,
        "é 中 </s> [SEP]",
        *(" a" * n for n in range(4, 20)),
    ]
    pairs = [(a, b) for a in texts for b in texts]
    want = theirs(pairs, truncation=True, max_length=max_length, return_token_type_ids=True)
    for i, got in enumerate(ours.tokenize_pairs(pairs)):
        assert got.input_ids == want["input_ids"][i], pairs[i]
        assert got.token_type_ids == want["token_type_ids"][i], pairs[i]


@pytest.mark.parametrize("name", ["XLMRobertaTokenizer", "T5Tokenizer"])
def test_scores_to_the_last_bit(tmp_path: Path, name: str) -> None:
    """The last bit of a score decides between ways to cut a text that would score the same."""
    special = ["<pad>", "</s>", "<unk>"] if name == "T5Tokenizer" else SPECIAL
    # As a trainer wrote them; tokenizers 0.22 reads the first and the third one bit off.
    scores = {"▁a": -3.7261412802004292, "a": -3.610862564732434, "aa": -3.8684396410763364 * 2}
    model = models.Unigram([*((token, 0.0) for token in special), ("▁", -2.0), *scores.items()], 2)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tiny.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": name})
    theirs = getattr(transformers, name).from_pretrained(tmp_path).backend_tokenizer
    config = read_tokenizer_config(tmp_path, "BertTokenizer", chat_template=True)
    ours = read_tokenizer(tmp_path, config).tokenizer
    written = dict(json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    assert {piece: written[piece] for piece in scores} == scores
    assert json.loads(ours.model.__getstate__()) == json.loads(theirs.model.__getstate__())
