"""A long text cut into pieces has the tokens of the whole, whatever is in it; and hostile texts as such."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty import NASTY
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from minigte import Embedder, InputError, InputTooLongError
from minigte.tokenizing.splitting import Splitter

WORD_LIMIT = 4  # of WordPiece here, so that words are too long for it soon
SPECIAL = ["[CLS]", "[SEP]", "<s>", "]]", "##"]
# What the normalizer removes, splits, takes apart, or turns into punctuation; what is no break for Python.
CHARACTERS = (
    "aaabcéİßK中國。、😀‍́̈̂≮≯;`\0\x7f\u00ad\u200b\ufeff\u3000\xa0\u2028 \t\n[]<>#=s!_CLSEP\u1109\u1165가"
)


def make_tokenizer(*special: AddedToken, **normalizer: bool | None) -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tiny.VOCABULARY + tuple("=<>;`[]#!。、")))}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=WORD_LIMIT)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens(list(special))
    return tokenizer


def ids(tokenizer: Tokenizer, *pieces: str) -> list[int]:
    return list(chain.from_iterable(tokenizer.encode(piece).ids for piece in pieces))


@settings(max_examples=300)
@given(
    text=st.lists(
        st.one_of(st.text(CHARACTERS, max_size=12), st.sampled_from(SPECIAL), st.text(max_size=5))
    ).map("".join),
    size=st.integers(1, 20),
    normalizer=st.fixed_dictionaries(
        {
            "clean_text": st.booleans(),
            "handle_chinese_chars": st.booleans(),
            "strip_accents": st.sampled_from([None, True, False]),
            "lowercase": st.booleans(),
        }
    ),
    lower_first=st.booleans(),
)
def test_the_pieces_have_the_tokens_of_the_text(text, size, normalizer, lower_first):
    tokenizer = make_tokenizer(**normalizer)
    splitter = Splitter(tokenizer)
    assert splitter.words
    if lower_first:  # as do_lower_case of sentence_bert_config.json
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), tokenizer.normalizer])
    pieces = list(splitter.pieces(text, size))
    assert ids(tokenizer, *pieces) == ids(tokenizer, " ".join(pieces)) == ids(tokenizer, text)


@pytest.mark.parametrize("name", NASTY)
def test_nasty_texts_in_pieces(name):
    tokenizer = make_tokenizer()
    for size in (1, 7, 100):
        pieces = list(Splitter(tokenizer).pieces(NASTY[name], size))
        assert ids(tokenizer, *pieces) == ids(tokenizer, NASTY[name])


@pytest.mark.parametrize("unit", ["a", "é", "中", "😀", "\u0301", "\0", "[", "ab ", "。", "[SEP]", "a\u0301"])
def test_a_piece_is_no_larger_than_it_must_be(unit):
    tokenizer = make_tokenizer()
    pieces = list(Splitter(tokenizer).pieces(unit * 20_000, 100))
    assert max(map(len, pieces)) <= 3 * 100  # each ideograph gets a blank on either side
    assert ids(tokenizer, *pieces) == ids(tokenizer, unit * 20_000)


@pytest.mark.parametrize(
    "special",
    [
        AddedToken("end", normalized=False),  # could begin in the middle of a word
        AddedToken("<a b>", normalized=False),  # holds a blank
        AddedToken("<n>", normalized=True),  # is looked for after the normalizer
        AddedToken("<w>", single_word=True, normalized=False),  # looks at its neighbours
    ],
    ids=lambda token: token.content,
)
def test_a_tokenizer_that_does_not_work_by_words_gets_the_whole_text(special):
    splitter = Splitter(make_tokenizer(special))
    assert list(splitter.pieces("two words " * 100, 10)) == ["two words " * 100]


def test_another_kind_of_tokenizer_gets_the_whole_text():
    tokenizer = make_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert not Splitter(tokenizer).words


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory):
    return Embedder(tiny.write_model(tmp_path_factory.mktemp("model")), backend="numpy")


@pytest.mark.parametrize("word", ["the cat sat, ", "x" * 100, "中", "[MASK]", "a", "😀", "\0", "é\u0301"])
def test_a_long_text_is_cut_where_the_whole_is(tiny_embedder, word):
    """Against the library over the whole text."""
    text = word * (100_000 // len(word)) + " the dog"
    whole = Tokenizer.from_file(str(tiny_embedder.source.folder / "tokenizer.json"))
    whole.no_padding()
    whole.no_truncation()
    expected = whole.encode(text).ids
    assert tiny_embedder.count_tokens(text) == len(expected)
    kept = expected if len(expected) <= 32 else [*expected[:31], expected[-1]]
    assert tiny_embedder.tokenize(text)["input_ids"] == kept
    if len(expected) > 32:
        with pytest.raises(InputTooLongError, match=rf"sentences\[1\] has {len(expected)} tokens"):
            tiny_embedder.encode(["a", text], truncation="error")


def test_a_lone_surrogate_far_behind_the_cut_is_refused(tiny_embedder):
    text = "the cat " * 100_000 + "\udcff"
    for read in (tiny_embedder.encode, tiny_embedder.tokenize, tiny_embedder.count_tokens):
        with pytest.raises(InputError, match=r"sentences\[0\] .*lone surrogate .* at character 800000"):
            read(text)


@pytest.mark.parametrize("sentences", [b"bytes", bytearray(b"bytes"), 3, None, {"a": "b"}])
def test_what_is_no_text(tiny_embedder, sentences):
    for read in (tiny_embedder.encode, tiny_embedder.tokenize, tiny_embedder.count_tokens):
        with pytest.raises(InputError, match="sentences must be a str or an iterable of str, not"):
            read(sentences)


@pytest.mark.parametrize("sentence", [b"bytes" * 1000, 3, None, ["a"]])
def test_what_is_no_text_in_a_list(tiny_embedder, sentence):
    for read in (tiny_embedder.encode, tiny_embedder.tokenize, tiny_embedder.count_tokens):
        with pytest.raises(InputError, match=r"^sentences\[1\] is \w+, not str: .{1,80}$"):
            read(["a", sentence])


@pytest.mark.parametrize("prompt", [b"query: ", "\ud800"])
def test_a_prompt_that_is_no_text(tiny_embedder, prompt):
    with pytest.raises(InputError, match="the prompt"):
        tiny_embedder.encode("a", prompt=prompt)


@pytest.mark.slow
def test_a_million_empty_texts(tiny_embedder):
    alone = tiny_embedder.encode("")
    seen = 0
    for vectors in tiny_embedder.encode_stream("" for _ in range(1_000_000)):
        np.testing.assert_allclose(vectors, np.broadcast_to(alone, vectors.shape), rtol=0, atol=1e-6)
        seen += len(vectors)
    assert seen == 1_000_000


HUGE = """
import resource, sys
from minigte import Embedder

embedder = Embedder(sys.argv[1], backend="numpy")
text = eval(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
embedder.encode(text, truncation="ignore")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(text.encode()))
"""


@pytest.mark.parametrize("text", ["'the cat sat. ' * 8_000_000", "'中' * 33_000_000", "'[' * 100_000_000"])
def test_100_mb_in_one_string(tmp_path: Path, text: str) -> None:
    """To embed it takes no more memory than three copies of the text; the library would take 40 to 400."""
    model = tiny.write_model(tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", HUGE, str(model), text],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert float(process.stdout) < 3
