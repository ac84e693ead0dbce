"""What the answers to page 1 must be."""

from __future__ import annotations

from collections.abc import Callable

from expect import model, same

from minigte.tokenizing.packing import pack


def count_the_tokens(answer: Callable[[], int]) -> None:
    """The tokenizer counts too."""
    embedder, _ = model()
    same(answer(), embedder.count_tokens("Beijing is the capital of China."))


def wordpiece(answer: Callable[[str, set[str]], list[str]]) -> None:
    """Words of a tiny vocabulary, then gte-small's own."""
    vocabulary = {"un", "unb", "##able", "##a", "##ble", "##b", "able"}
    for word, pieces in {
        "unable": ["un", "##able"],
        "unbable": ["unb", "##able"],
        "able": ["able"],
        "unab": ["un", "##a", "##b"],
        "bun": ["[UNK]"],
        "unx": ["[UNK]"],
        "u": ["[UNK]"],
    }.items():
        same(answer(word, vocabulary), pieces)
    tokenizer = model()[0].tokenizer.tokenizer
    for word in ("embeddings", "unbelievably", "capital", "transformers", "aaaaaa", "ü😀"):
        same(
            answer(word, set(tokenizer.get_vocab())), tokenizer.encode(word, add_special_tokens=False).tokens
        )


def lay_end_to_end(answer: Callable[[list[list[int]]], tuple[list[int], list[int]]]) -> None:
    """As ``pack`` does, for texts that are in its order already."""
    for texts in ([[101, 7211, 102]], [[101, 5, 6, 102], [101, 7, 102], [101, 102], [101, 102]], []):
        batch = next(pack(texts, max_texts=9, max_tokens=99), None)
        input_ids, offsets = answer(texts)
        same(list(input_ids), batch.input_ids.tolist() if batch else [])
        same(list(offsets), batch.offsets.tolist() if batch else [0])


def share_of_padding(answer: Callable[[list[int]], float]) -> None:
    """The question and its answer; texts of equal length; one long text among short ones."""
    same(answer([9, 3]), 6 / 18)
    same(answer([5, 5, 5]), 0)
    same(answer([512, 8, 8, 8]), 1 - 536 / 2048)
