"""The files beside ``tokenizer.json`` that decide how a text is tokenized, read as transformers 5 reads them.

``tokenizer_config.json`` has the settings. Where it has no ``added_tokens_decoder``, as before transformers
4.34, tokens also come from ``special_tokens_map.json`` and ``added_tokens.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from minigte.errors import ConfigError
from minigte.loading.keys import check_keys
from minigte.runtime.reading import read_object
from minigte.tokenizing.texts import check_unicode
from minigte.tokenizing.tokenizer_config import SPECIAL_TOKENS, Token, TokenizerConfig
from minigte.tokenizing.tokenizer_file import TOKENIZER_CLASSES

LARGEST_ID = 2**32 - 1
SIDES = ("right", "left")
# Each asks transformers for more than a tokenizer.
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


def read_tokenizer_config(folder: Path, tokenizer_class: str, *, chat_template: bool) -> TokenizerConfig:
    """Read the settings of the tokenizer in ``folder``.

    ``tokenizer_class`` is transformers' class where ``tokenizer_config.json`` names none. ``chat_template``:
    whether the model may have one, which it then does not use; without sentence-transformers' files it is
    used.

    Raises ConfigError for what is malformed, and for what minigte does not implement.
    """
    for name in PROCESSOR_FILES:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name}: minigte reads only texts, and so no processor: delete it")
    path = folder / "tokenizer_config.json"
    settings = read_object(path, ConfigError)
    named = _take_named(settings)
    check_keys(path, "tokenizer_config.json", settings)
    templates = [path] if settings.get("chat_template") else []
    templates += [p for p in (folder / "chat_template.jinja", folder / "chat_template.json") if p.exists()]
    if templates and not chat_template:
        raise ConfigError(
            f"{templates[0]}: minigte does not implement a chat_template, which sentence-transformers would "
            f"use "
            "for this folder, because it has no modules.json: take it out"
        )
    stated = settings.get("tokenizer_class")
    tokenizer_class = tokenizer_class if stated is None else stated
    if not isinstance(tokenizer_class, str) or tokenizer_class.removesuffix("Fast") not in TOKENIZER_CLASSES:
        where = folder / "config.json" if stated is None else path
        raise ConfigError(
            f"{where}: minigte does not implement the tokenizer_class {tokenizer_class!r} "
            f"(known: {', '.join(TOKENIZER_CLASSES)})"
        )

    names = settings.get("model_input_names")
    if names is not None and not (isinstance(names, list) and "attention_mask" in names):
        raise ConfigError(f"{path}: model_input_names must be a list with attention_mask, not {names!r}")
    return TokenizerConfig(
        tokenizer_class=tokenizer_class.removesuffix("Fast"),
        do_lower_case=_boolean(path, settings, "do_lower_case", True),
        strip_accents=_boolean(path, settings, "strip_accents", None),
        tokenize_chinese_chars=_boolean(path, settings, "tokenize_chinese_chars", True),
        add_prefix_space=_prefix_space(settings),
        model_max_length=_model_max_length(path, settings),
        truncation_side=_side(path, settings, "truncation_side"),
        padding_side=_side(path, settings, "padding_side"),
        model_input_names=None if names is None else tuple(map(str, names)),
        extra_ids=_extra_ids(path, settings),
        **_read_tokens(path, named, settings),
    )


def read_length(path: Path, key: str, value: object) -> float:
    """Check a limit in tokens; it may be written as a float, and be infinite."""
    if type(value) not in (int, float) or not value >= 1:  # type: ignore[operator]
        raise ConfigError(f"{path}: {key} must be a positive number, not {value!r}")
    return value  # type: ignore[return-value]


def _take_named(settings: dict[str, Any]) -> dict[str, Any]:
    """Take the keys that name a special token out of a file's content; ``add_bos_token`` is true or false."""
    keys = [key for key in settings if key in SPECIAL_TOKENS or key.endswith("_token")]
    return {key: settings.pop(key) for key in keys if not isinstance(settings[key], bool)}


def _read_tokens(path: Path, named: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of TokenizerConfig that hold tokens.

    ``named`` and ``settings`` are the two parts of ``path``, tokenizer_config.json. The steps are those of
    transformers and in their order, because a token that the vocabulary lacks gets the next free id.
    """
    old, new = "additional_special_tokens", "extra_special_tokens"  # two names of one key
    lists = {key: settings[key] for key in (old, new) if key in settings}
    if old in lists and not lists.get(new):
        lists[new] = lists.pop(old)
    known = {key for key in named if key in SPECIAL_TOKENS or isinstance(named[key], dict)}
    special_tokens = {key: _token(path, key, named[key]) for key in named if key in known}
    own_names = {key: _token(path, key, named[key]) for key in named if key not in known}
    if isinstance(lists.get(new), dict):  # tokens with names that transformers does not know
        own_names |= {key: _token(path, key, token) for key, token in lists.pop(new).items()}

    decoder, added = None, {}
    if "added_tokens_decoder" in settings:
        decoder = _added_tokens_decoder(path, settings["added_tokens_decoder"])
    else:
        where = path.parent / "special_tokens_map.json"
        mapped = read_object(where, ConfigError)
        named = _take_named(mapped)
        special_tokens |= {key: _token(where, key, named[key], special=True) for key in named}
        check_keys(where, "special_tokens_map.json", mapped)
        if isinstance(mapped.get(new), list):
            before = _list(path, new, lists.get(new))
            mapped[new] = [*before, *(token for token in mapped[new] if token not in before)]
        lists |= mapped
        if isinstance(lists.get(new), dict):
            own_names |= {key: _token(where, key, token) for key, token in lists.pop(new).items()}
        special = {str(special_tokens[key]) for key in SPECIAL_TOKENS if special_tokens.get(key)}
        special |= {str(_token(where, new, token)) for token in _list(where, new, lists.get(new))}
        added = _added_tokens(path.parent / "added_tokens.json", special)
    if new not in lists and old in lists:
        lists[new] = lists.pop(old)
    extra = (_token(path, new, token) for token in _list(path, new, lists.get(new)))
    return {
        "special_tokens": {**special_tokens, **own_names},
        "extra_special_tokens": tuple(token for token in extra if token is not None)
        if new in lists
        else None,
        "added_tokens_decoder": decoder,
        "added_tokens": added,
    }


def _list(path: Path, key: str, value: object) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ConfigError(f"{path}: {key} must be a list of tokens, or an object of tokens, not {value!r}")
    return value or []


def _model_max_length(path: Path, settings: Mapping[str, Any]) -> float | None:
    for key in ("model_max_length", "max_len"):  # the older name counts where the newer is absent
        if key in settings:
            return None if settings[key] is None else read_length(path, key, settings[key])
    return None


def _extra_ids(path: Path, settings: Mapping[str, Any]) -> int:
    count = settings.get("extra_ids", TokenizerConfig.extra_ids)
    if type(count) is not int or not 0 <= count <= LARGEST_ID:
        raise ConfigError(f"{path}: extra_ids must be an integer that is not negative, not {count!r}")
    return count


def _boolean(path: Path, settings: Mapping[str, Any], key: str, default: bool | None) -> Any:
    value = settings.get(key, default)
    if not isinstance(value, bool) and not (value is default is None):
        raise ConfigError(f"{path}: {key} must be true or false, not {value!r}")
    return value


def _prefix_space(settings: Mapping[str, Any]) -> bool | None:
    return bool(settings["add_prefix_space"]) if "add_prefix_space" in settings else None


def _side(path: Path, settings: Mapping[str, Any], key: str) -> str | None:
    if key not in settings:
        return None
    side = settings[key]
    if side not in SIDES:
        raise ConfigError(f"{path}: {key} must be right or left, not {side!r}")
    return str(side)


def _token(path: Path, key: str, value: object, **flags: bool) -> Token | None:
    """One token: its text, or an object with its text and flags. ``flags`` are set whatever it says."""
    if value is None:
        return None
    if isinstance(value, str):
        check_unicode(value, f"{path}: the token of {key}", ConfigError)
        return value
    content = value.get("content") if isinstance(value, dict) else None
    known = {"content", "single_word", "lstrip", "rstrip", "normalized", "special"}
    if (
        not isinstance(value, dict)
        or not isinstance(content, str)
        or value.get("__type", "AddedToken") != "AddedToken"
        or not value.keys() <= known | {"__type"}
        or not all(isinstance(value[flag], bool) for flag in known & value.keys() - {"content"})
    ):
        raise ConfigError(
            f"{path}: {key} must be a token, a text or an object with its content, not {value!r}"
        )
    check_unicode(content, f"{path}: the token of {key}", ConfigError)
    given = {flag: value[flag] for flag in value if flag not in ("content", "__type")}
    return AddedToken(content, **{**given, **flags})


def _added_tokens_decoder(path: Path, value: object) -> dict[int, AddedToken]:
    """The tokens that were added to the vocabulary: {"30522": {"content": "<e>", ...}}."""
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: added_tokens_decoder must be an object of ids, not {value!r}")
    decoder = {}
    for text, stored in value.items():
        token = _token(path, f"added_tokens_decoder {text!r}", stored)
        if not text.isdecimal() or not isinstance(token, AddedToken):
            raise ConfigError(
                f"{path}: added_tokens_decoder must map ids to tokens, not {text!r} to {stored!r}"
            )
        decoder[int(text)] = token
    return decoder


def _added_tokens(path: Path, special: set[str]) -> dict[int, AddedToken]:
    """The tokens of ``added_tokens.json``, {"<e>": 30522}, by id."""
    added = {}
    for text, i in read_object(path, ConfigError).items():
        if type(i) is not int or not 0 <= i <= LARGEST_ID:
            raise ConfigError(f"{path} must map tokens to ids, not {text!r} to {i!r}")
        check_unicode(text, f"{path}: the token {text!r}", ConfigError)
        is_special = text in special
        added[i] = AddedToken(text, rstrip=False, lstrip=False, normalized=not is_special, special=is_special)
    return added
