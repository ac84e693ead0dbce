"""``tokenizer.json``, loaded by the ``tokenizers`` library, and refused where it could run away.

The file is a program: it may hold regular expressions, and steps that lengthen the text or repeat it, one
after the other. Those of the models we know are harmless; others could take hours, or all memory, over a
short text.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

from minigte.errors import MinigteError, TokenizerError

FILE_LIMIT = 256 << 20  # bytes; the largest vocabularies in use take 40 MB
GROWTH_LIMIT = 1000  # how many times longer normalizers may make a text, all together
WORD_LIMIT = 1000  # characters; WordPiece takes cubic time over a word, and BERT gives up at 100
# The other steps that lengthen a text, and how many times at most, over all of Unicode.
GROWTH = {"BertNormalizer": 6, "ByteLevel": 2, "Lowercase": 2, "NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11}
# Runs of blanks, in the normalizers of SentencePiece models that transformers has converted.
REGULAR_EXPRESSIONS = (" {2,}", " +", r"\s+")


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Load a ``tokenizer.json``. Raises TokenizerError where it is absent, damaged or could run away."""
    if not path.exists():
        raise TokenizerError(
            f"no tokenizer.json in {path.parent} (transformers writes one with tokenizer.save_pretrained)"
        )
    if not path.is_file():  # a named pipe would be waited for, a device never ends
        raise TokenizerError(f"{path} is not a regular file")
    if path.stat().st_size > FILE_LIMIT:
        raise TokenizerError(f"{path} is larger than {FILE_LIMIT >> 20} MB: no tokenizer file is")
    with library_errors(f"{path} is not a tokenizer file"):
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.post_processor)
        steps = [
            step for part in parts if part is not None for step in _steps(json.loads(part.__getstate__()))
        ]
    templates = [step["single"] for step in steps if step["type"] == "TemplateProcessing"]
    if any(sum("Sequence" in piece for piece in single) != 1 for single in templates) or len(templates) > 1:
        raise TokenizerError(f"{path}: the post_processor must take each text once")
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
    return tokenizer


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
        raise TokenizerError(f"{what} ({error}): get it again") from error


def _steps(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or post-processor, those of a Sequence one by one."""
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
