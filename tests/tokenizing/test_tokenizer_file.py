"""The tokenizer is built as transformers 5 builds it: the ids of these folders are transformers' own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny

from minigte import ConfigError, Embedder, TokenizerError
from minigte.loading.config import read_config

TEXT = "The CAT é 中文 <e1> dogs"
ID = {token: i for i, token in enumerate(tiny.VOCABULARY)}  # two tokens are there twice
UNK, THE, CAT, DOG, S, E_ACUTE, ZHONG = map(ID.get, ("[UNK]", "the", "cat", "dog", "##s", "é", "中"))
NEW = len(ID)  # the first free id


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    tiny.write_json(path, {key: value for key, value in {**content, **fields}.items() if value is not ...})


def write(folder: Path, **fields: Any) -> Path:
    """A folder whose tokenizer_class is BertTokenizer, with room for a few more tokens."""
    tiny.write_model(folder, tiny.config(vocab_size=len(tiny.VOCABULARY) + 1))
    change(folder / "tokenizer_config.json", **{"tokenizer_class": "BertTokenizer", **fields})
    return folder


def ids(folder: Path, text: str) -> list[int]:
    """The ids without those of [CLS] and [SEP]."""
    return list(Embedder(folder, backend="numpy").tokenize(text)["input_ids"][1:-1])


@pytest.mark.parametrize(
    ("fields", "text", "want"),
    [
        ({}, "The CAT", [THE, CAT]),
        ({"do_lower_case": False}, "The CAT the", [UNK, UNK, THE]),
        ({}, "é", [ID["e"]]),  # accents go with the case
        ({"strip_accents": False}, "é", [E_ACUTE]),
        ({"do_lower_case": False}, "é", [E_ACUTE]),
        ({}, "中中", [ZHONG, ZHONG]),
        ({"tokenize_chinese_chars": False}, "中中", [UNK]),
        ({"additional_special_tokens": ["<e1>"]}, "the <e1> cat", [THE, NEW, CAT]),
        ({"extra_special_tokens": {"new_token": "<e1>"}}, "the <e1>", [THE, NEW]),
        ({"e_token": "<e1>", "extra_special_tokens": ["<e2>"]}, "<e2> <e1>", [NEW + 1, NEW]),
        ({"tokenizer_class": None}, "The CAT", [THE, CAT]),
    ],
)
def test_tokenizer_config_counts(
    tmp_path: Path, fields: Mapping[str, Any], text: str, want: list[int]
) -> None:
    assert ids(write(tmp_path, **fields), text) == want


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_normalizer_of_tokenizer_json_does_not_count_for_a_bert_tokenizer(
    tmp_path: Path, lowercase: bool
) -> None:
    folder = write(tmp_path)
    change(folder / "tokenizer.json", normalizer={"type": "Lowercase"} if lowercase else None)
    change(folder / "tokenizer.json", post_processor=None)
    assert ids(folder, "The CATs") == [THE, CAT, S]


def test_the_normalizer_of_tokenizer_json_counts_for_a_tokenizer_of_no_model(tmp_path: Path) -> None:
    folder = write(tmp_path, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)
    change(folder / "tokenizer.json", normalizer=None)
    assert ids(folder, "The cat") == [UNK, CAT]


def test_added_tokens_of_older_files(tmp_path: Path) -> None:
    folder = write(tmp_path)
    tiny.write_json(folder / "added_tokens.json", {"<e1>": NEW, "</e1>": NEW + 1})
    tiny.write_json(folder / "special_tokens_map.json", {"additional_special_tokens": ["<e2>"]})
    assert ids(folder, "<E1>the </e1> <e2>") == [NEW, THE, NEW + 1, NEW + 2]


def test_added_tokens_decoder_takes_the_place_of_other_files(tmp_path: Path) -> None:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    decoder = {str(NEW): {"content": "<e1>", **flags}}
    folder = write(tmp_path, added_tokens_decoder=decoder)
    tiny.write_json(folder / "added_tokens.json", {"<e2>": NEW})
    assert ids(folder, "<e1> the") == [NEW, THE]


def test_vocab_txt_alone(tmp_path: Path) -> None:
    folder = write(tmp_path)
    want = ids(folder, TEXT)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(tiny.VOCABULARY) + "\n", encoding="utf-8")
    assert ids(folder, TEXT) == want


def test_the_end_of_a_long_text_may_count(tmp_path: Path) -> None:
    folder = write(tmp_path, truncation_side="left", model_max_length=5)
    assert ids(folder, "the the the cat dogs") == [CAT, DOG, S]
    long = "the " * 100_000 + "cat dogs"
    assert ids(folder, long) == [CAT, DOG, S]
    change(folder / "tokenizer_config.json", truncation_side=...)
    assert ids(folder, long) == [THE, THE, THE]
    truncation = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    change(folder / "tokenizer.json", truncation=truncation)
    assert ids(folder, long) == [CAT, DOG, S]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokenizer_class": "LukeTokenizer"}, r"tokenizer_config\.json: .* tokenizer_class 'LukeTokenizer'"),
        ({"extra_ids": -1}, r"tokenizer_config\.json: extra_ids must be an integer that is not negative"),
        ({"split_special_tokens": True}, r"tokenizer_config\.json: .* split_special_tokens true"),
        ({"unheard_of": 1}, r"tokenizer_config\.json: .* the key 'unheard_of'.* take it out"),
        ({"truncation_side": "middle"}, r"tokenizer_config\.json: truncation_side must be right or left"),
        ({"do_lower_case": 1}, r"tokenizer_config\.json: do_lower_case must be true or false"),
        ({"auto_map": {"AutoTokenizer": ["x.Y", None]}}, r"tokenizer_config\.json: .* auto_map"),
        ({"model_input_names": ["input_ids"]}, r"tokenizer_config\.json: model_input_names"),
        ({"added_tokens_decoder": {"a": "<e1>"}}, r"tokenizer_config\.json: added_tokens_decoder"),
        ({"cls_token": 3}, r"tokenizer_config\.json: cls_token must be a token"),
    ],
)
def test_what_is_refused_by_name(tmp_path: Path, fields: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(write(tmp_path, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"padding_side": "left"}, r"padding_side left .* set padding_side right in tokenizer_config\.json"),
        ({"cls_token": None}, "no cls_token"),
        ({"extra_special_tokens": [f"<{i}>" for i in range(9)]}, "the largest id is"),
    ],
)
def test_what_the_tokenizer_cannot_be(tmp_path: Path, fields: Mapping[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        Embedder(write(tmp_path, **fields), backend="numpy")


def test_a_model_that_is_not_word_piece(tmp_path: Path) -> None:
    folder = write(tmp_path)
    change(folder / "tokenizer.json", model={"type": "BPE", "vocab": {"a": 0}, "merges": []})
    with pytest.raises(TokenizerError, match=r"tokenizer\.json holds a BPE model, but .* is BertTokenizer"):
        Embedder(folder, backend="numpy")


def test_a_text_in_another_segment(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        tokenizer_class="PreTrainedTokenizerFast",
        model_input_names=["token_type_ids", "attention_mask"],
    )
    stored = json.loads((folder / "tokenizer.json").read_text())
    stored["post_processor"]["single"][1]["Sequence"]["type_id"] = 1
    tiny.write_json(folder / "tokenizer.json", stored)
    with pytest.raises(
        TokenizerError, match=r"tokenizer\.json: the post_processor puts a text into another segment"
    ):
        Embedder(folder, backend="numpy")


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"]
)
def test_git_lfs_pointers(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 66446128\n")
    with pytest.raises(Exception, match=rf"{name} is a git-lfs pointer, .* 'git lfs pull'"):
        Embedder(folder, backend="numpy")
