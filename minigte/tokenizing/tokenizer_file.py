"""A model's tokenizer, built by the ``tokenizers`` library as transformers 5 builds it.

Of ``tokenizer.json`` the tokenizer of a model, such as BertTokenizer, takes the vocabulary alone: how text is
normalized and split, and which special tokens stand around it, ``tokenizer_config.json`` says. The whole file
counts for a tokenizer_class that is of no model.

The file is a program: it may hold regular expressions, and steps that lengthen the text or repeat it, one
after the other. Those of the models we know are harmless; others could take hours, or all memory, over a
short text, and are refused.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from minigte.errors import MinigteError, TokenizerError
from minigte.runtime.reading import check_file
from minigte.tokenizing.tokenizer_config import SPECIAL_TOKENS, WORD_PIECE_CLASSES, Token, TokenizerConfig

FILE_LIMIT = 256 << 20  # bytes; the largest vocabularies in use take 40 MB
GROWTH_LIMIT = 1000  # how many times longer normalizers may make a text, all together
WORD_LIMIT = 1000  # characters; WordPiece takes cubic time over a word, and models give up at 100
# The other steps that lengthen a text, and how many times at most, over all of Unicode.
GROWTH = {"BertNormalizer": 6, "ByteLevel": 2, "Lowercase": 2, "NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11}
# Runs of blanks, in the normalizers of SentencePiece models that transformers has converted.
# And what the tokenizer of BigScience cuts texts into.
REGULAR_EXPRESSIONS = (" {2,}", " +", r"\s+", r" ?[^(\s|[.,!?…。，、।۔،])]+")

Tokens = dict[str, Token | None]  # by name, as in TokenizerConfig.special_tokens


class TokenizerFile(NamedTuple):
    """A tokenizer, and what it was read from."""

    path: Path  # tokenizer.json, or vocab.txt for a BertTokenizer without one
    tokenizer: tokenizers.Tokenizer
    truncation_side: str  # which end of a long text is cut off, "right" or "left"


def read_tokenizer(folder: Path, config: TokenizerConfig) -> TokenizerFile:
    """Build a folder's tokenizer.

    Raises TokenizerError where the file is absent, damaged or could run away, does not fit
    ``config.tokenizer_class``, or asks for what minigte does not implement.
    """
    path = folder / "tokenizer.json"
    with_vocab = not path.exists() and config.tokenizer_class in (*WORD_PIECE_CLASSES, "MPNetTokenizer")
    if with_vocab and (folder / "vocab.txt").exists():
        path = folder / "vocab.txt"
    check_file(path, TokenizerError, limit=FILE_LIMIT)
    if not path.exists():
        raise TokenizerError(
            f"no tokenizer.json{' or vocab.txt' if with_vocab else ''} in {path.parent} "
            "(transformers writes one with tokenizer.save_pretrained)"
        )
    with library_errors(f"{path} is not a tokenizer file"):
        if path.suffix == ".txt":
            stored = tokenizers.Tokenizer(models.WordPiece.from_file(str(path)))
        else:
            stored = tokenizers.Tokenizer.from_file(str(path))
        sides = stored.truncation, stored.padding  # of _as_stored these are changed later
        tokenizer = TOKENIZER_CLASSES[config.tokenizer_class](path, stored, config)
        _check_steps(path, tokenizer)
        segments = (
            tokenizer.encode("a").type_ids if "token_type_ids" in (config.model_input_names or ()) else []
        )
    if any(segments):
        raise TokenizerError(
            f"{path}: the post_processor puts a text into another segment than 0: {segments}"
        )
    truncation_side, padding_side = (
        stated or (side or {}).get("direction", "right")
        for stated, side in zip((config.truncation_side, config.padding_side), sides, strict=True)
    )
    if padding_side == "left" and not config.any_padding_side:
        raise TokenizerError(
            f"{path}: with padding_side left a text's vector would depend on the longest text of its batch: "
            "set padding_side right in tokenizer_config.json"
        )
    return TokenizerFile(path, tokenizer, truncation_side)


def _word_piece(path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig) -> tokenizers.Tokenizer:
    """transformers' BertTokenizer: its own way, the file's vocabulary."""
    defaults = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    special_tokens: Tokens = {**defaults, **config.special_tokens}
    cls, sep = (_required(path, special_tokens, f"{name}_token") for name in ("cls", "sep"))
    tokenizer = _words(path, stored, config, special_tokens)
    _add_tokens(tokenizer, stored, config, special_tokens)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[_with_id(tokenizer, token) for token in (cls, sep)],
    )
    return tokenizer


def _word_piece_between_s(
    path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig
) -> tokenizers.Tokenizer:
    """transformers' MPNetTokenizer."""
    special_tokens: Tokens = {**S_TOKENS, "unk_token": "[UNK]", **config.special_tokens}
    for name, token in special_tokens.items():
        if isinstance(token, str) and name in SPECIAL_TOKENS:
            special_tokens[name] = AddedToken(token, lstrip=name == "mask_token", rstrip=False)
    cls, sep = (_required(path, special_tokens, f"{name}_token") for name in ("cls", "sep"))
    tokenizer = _words(path, stored, config, special_tokens)
    _add_tokens(tokenizer, stored, config, special_tokens)
    tokenizer.post_processor = processors.RobertaProcessing(
        _with_id(tokenizer, sep), _with_id(tokenizer, cls), True, False
    )
    return tokenizer


def _words(
    path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig, special_tokens: Tokens
) -> tokenizers.Tokenizer:
    """WordPiece over words, without special tokens."""
    _check_model(path, stored, config, models.WordPiece)
    tokenizer = tokenizers.Tokenizer(stored.model)  # shares the vocabulary, which is what takes the time
    tokenizer.model.unk_token = _required(path, special_tokens, "unk_token")
    tokenizer.model.continuing_subword_prefix = "##"
    tokenizer.model.max_input_chars_per_word = 100
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.tokenize_chinese_chars,
        strip_accents=config.strip_accents,
        lowercase=config.do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _bytes(path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig) -> tokenizers.Tokenizer:
    """transformers' RobertaTokenizer, BPE over bytes."""
    _check_model(path, stored, config, models.BPE)
    special_tokens: Tokens = {**S_TOKENS, **config.special_tokens}
    cls, sep = (_required(path, special_tokens, f"{name}_token") for name in ("cls", "sep"))
    tokenizer = tokenizers.Tokenizer(stored.model)
    tokenizer.model.dropout = tokenizer.model.unk_token = None
    tokenizer.model.continuing_subword_prefix = tokenizer.model.end_of_word_suffix = ""
    tokenizer.model.fuse_unk = tokenizer.model.byte_fallback = tokenizer.model.ignore_merges = False
    prefix_space = bool(config.add_prefix_space)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    _add_tokens(tokenizer, stored, config, special_tokens)
    tokenizer.post_processor = processors.RobertaProcessing(
        _with_id(tokenizer, sep), _with_id(tokenizer, cls), True, prefix_space
    )
    return tokenizer


def _unigram_to_eos(
    path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig
) -> tokenizers.Tokenizer:
    """transformers' T5Tokenizer."""
    special_tokens: Tokens = {name: S_TOKENS[name] for name in ("eos_token", "unk_token", "pad_token")}
    special_tokens |= config.special_tokens
    eos = _required(path, special_tokens, "eos_token")
    tokenizer = _pieces(path, stored, config, 2, "always")
    if config.extra_special_tokens is None:
        extra = tuple(f"<extra_id_{i}>" for i in range(config.extra_ids))
        config = dataclasses.replace(config, extra_special_tokens=extra)
    _add_tokens(tokenizer, stored, config, special_tokens)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", eos], special_tokens=[_with_id(tokenizer, eos)]
    )
    return tokenizer


def _pieces(
    path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig, unknown: int, prepend_scheme: str
) -> tokenizers.Tokenizer:
    """Unigram over words with a "▁" in front, without special tokens; ``unknown``: the id that <unk> has.

    The pieces' scores are read by Python, as transformers reads them. The library's own reading of a number
    can be off by its last bit, and that bit decides between two ways to cut a text that score the same.
    """
    _check_model(path, stored, config, models.Unigram)
    vocab = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    pieces = [(piece, score) for piece, score in vocab]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unknown, byte_fallback=False))
    state = None if stored.normalizer is None else json.loads(stored.normalizer.__getstate__())
    precompiled = [step for step in _steps(state) if step["type"] == "Precompiled"]
    if precompiled:  # the first alone
        charsmap = base64.b64decode(precompiled[0]["precompiled_charsmap"])
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", prepend_scheme)]
    )
    return tokenizer


def _unigram(path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig) -> tokenizers.Tokenizer:
    """transformers' XLMRobertaTokenizer."""
    special_tokens: Tokens = {**S_TOKENS, **config.special_tokens}
    bos, eos = (_required(path, special_tokens, f"{name}_token") for name in ("bos", "eos"))
    prepend_scheme = "never" if config.add_prefix_space is False else "always"
    tokenizer = _pieces(path, stored, config, 3, prepend_scheme)
    _add_tokens(tokenizer, stored, config, special_tokens)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],
        special_tokens=[_with_id(tokenizer, token) for token in (bos, eos)],
    )
    return tokenizer


def _as_stored(path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig) -> tokenizers.Tokenizer:
    """transformers' TokenizersBackend: ``tokenizer.json`` as it is (tokenization_utils_tokenizers.py)."""
    special_tokens: Tokens = dict(config.special_tokens)
    if stored.padding is not None:
        special_tokens.setdefault("pad_token", stored.padding["pad_token"])
    _add_tokens(stored, stored, config, special_tokens)
    return stored


# The special tokens of models that begin a text with <s>.
S_TOKENS: Tokens = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}

# transformers' classes, without "Fast" at their end, and what builds the tokenizer of each.
TOKENIZER_CLASSES: Mapping[
    str, Callable[[Path, tokenizers.Tokenizer, TokenizerConfig], tokenizers.Tokenizer]
] = {
    **dict.fromkeys(WORD_PIECE_CLASSES, _word_piece),
    "MPNetTokenizer": _word_piece_between_s,
    "BloomTokenizer": _as_stored,
    "PreTrainedTokenizer": _as_stored,
    "TokenizersBackend": _as_stored,
    "RobertaTokenizer": _bytes,
    "T5Tokenizer": _unigram_to_eos,
    "XLMRobertaTokenizer": _unigram,
}


def _check_model(
    path: Path, stored: tokenizers.Tokenizer, config: TokenizerConfig, kind: type[models.Model]
) -> None:
    if not isinstance(stored.model, kind):
        raise TokenizerError(
            f"{path} holds a {type(stored.model).__name__} model, but its tokenizer_class is "
            f"{config.tokenizer_class}"
        )


def _required(path: Path, special_tokens: Tokens, name: str) -> str:
    token = special_tokens[name]
    if token is None:
        raise TokenizerError(
            f"{path.parent}: the tokenizer's files say that it has no {name}, which it needs"
        )
    return str(token)


def _with_id(tokenizer: tokenizers.Tokenizer, token: str) -> tuple[str, int]:
    """A token that was added, and its id."""
    number = tokenizer.token_to_id(token)
    assert number is not None
    return token, number


def _add_tokens(
    tokenizer: tokenizers.Tokenizer,
    stored: tokenizers.Tokenizer,
    config: TokenizerConfig,
    special_tokens: Tokens,
) -> None:
    """Add the tokens that are found in a text before it is split, each of which becomes one id.

    A token that the vocabulary lacks gets the next free id, so that their order counts: those that were
    added to the vocabulary by id, then special tokens by name, then the others (TokenizersBackend.__init__).
    """
    decoder = config.added_tokens_decoder
    if decoder is None:
        decoder = {**config.added_tokens, **stored.get_added_tokens_decoder()}
    order = [*SPECIAL_TOKENS, *(name for name in special_tokens if name not in SPECIAL_TOKENS)]
    named = [token for name in order if (token := special_tokens.get(name)) is not None]
    present = tokenizer.get_added_tokens_decoder().values()
    shown = {repr(token) for token in present}
    tokens: list[Token] = [token for _, token in sorted(decoder.items()) if repr(token) not in shown]
    texts = {str(token) for token in (*present, *tokens)}
    for token in (*named, *(config.extra_special_tokens or ())):
        if str(token) not in texts and token not in tokens:
            tokens.append(token)
    names = {str(token) for token in named}
    added = []
    for token in tokens:
        if isinstance(token, str):
            token = AddedToken(token, special=True)
        elif not token.special and str(token) in names:
            token.special = True
        added.append(token)
    tokenizer.add_tokens(added)


def _check_steps(path: Path, tokenizer: tokenizers.Tokenizer) -> None:
    """Raise TokenizerError for a step that could take hours, or all memory, over a short text."""
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.post_processor)
    states = (json.loads(part.__getstate__()) for part in parts if part is not None)
    steps = [step for state in states for step in _steps(state)]
    templates = [step for step in steps if step["type"] == "TemplateProcessing"]
    for name, texts in (("single", 1), ("pair", 2)):
        taken = [[piece for piece in template[name] if "Sequence" in piece] for template in templates]
        if any(len(pieces) != texts for pieces in taken) or len(templates) > 1:
            raise TokenizerError(f"{path}: the post_processor must use each text exactly once")
    growth = 1
    for step in steps:
        pattern = step.get("pattern")
        if isinstance(pattern, dict) and "Regex" in pattern and pattern["Regex"] not in REGULAR_EXPRESSIONS:
            raise TokenizerError(f"{path}: minigte does not run the regular expression {pattern['Regex']!r}")
        growth = min(growth * max(1, _growth(step)), 1 << 64)  # a number that a message can show
    if growth > GROWTH_LIMIT:
        raise TokenizerError(f"{path} could make a text {growth} times longer (limit: {GROWTH_LIMIT})")
    longest = getattr(tokenizer.model, "max_input_chars_per_word", 0)
    if longest > WORD_LIMIT:
        raise TokenizerError(f"{path}: max_input_chars_per_word {longest} (limit: {WORD_LIMIT})")


@contextlib.contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn what the library raises over a bad file into a TokenizerError that says ``what`` is wrong.

    It raises plain Exceptions; and where its Rust code panics a PanicException, which is not one.
    """
    try:
        yield
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"
        if isinstance(error, (MinigteError, MemoryError)) or not (panic or isinstance(error, Exception)):
            raise
        raise TokenizerError(f"{what} ({error}): download it again") from error


def lowercase_first(normalizer: Any) -> Any:
    """The normalizer behind a Lowercase, unless it is or has one, as sentence-transformers has it."""
    if normalizer is None:
        return normalizers.Lowercase()
    state = json.loads(normalizer.__getstate__())
    steps = state["normalizers"] if state["type"] == "Sequence" else [state]
    if any(step["type"] == "Lowercase" for step in steps):
        return normalizer
    return normalizers.Sequence([normalizers.Lowercase(), normalizer])


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or post-processor, those of a Sequence one by one."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    (nested,) = (steps for key, steps in part.items() if key != "type")  # each kind has its own key
    for step in nested:
        yield from _steps(step)


def _growth(step: dict[str, Any]) -> int:
    """At most how many times longer, in bytes, one step makes a text; blanks and prefixes of one apart."""
    kind = step["type"]
    if kind == "Replace":
        pattern = len(step["pattern"].get("String", " ").encode())  # each expression needs a blank at least
        content = len(step["content"].encode())
        return max(1, -(-content // pattern)) if pattern else 1 + content  # nothing stands before everything
    if kind == "Prepend":
        return 1 + len(step["prepend"].encode())
    if kind == "Precompiled":
        charsmap = base64.b64decode(step["precompiled_charsmap"])
        trie_size = int.from_bytes(charsmap[:4], "little")
        return max(map(len, charsmap[4 + trie_size :].split(b"\0")))  # what characters are replaced by
    return GROWTH.get(kind, 1)
