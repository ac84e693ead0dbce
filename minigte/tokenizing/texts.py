"""What a caller may give as texts; anything else is refused before it is read as one."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Iterable, Iterator, Mapping

from minigte.errors import InputError, MinigteError


def check_unicode(text: str, where: str, error_class: type[MinigteError] = InputError) -> None:
    """Raise an error where the text holds a lone surrogate, half of a character that has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise error_class(
            f"{where} holds a lone surrogate ({text[error.start]!a} at character {error.start}), which is "
            "not text: read the source with errors='replace', or clean it with "
            "text.encode('utf-8', 'replace').decode()"
        ) from None


def chunks(sentences: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut an iterable into lists of at most ``size``.

    Raises InputError, at the call, for anything but an iterable of texts.
    """
    if isinstance(sentences, str):  # an iterable of str too, its letters
        raise InputError("sentences must be an iterable of str, not one str: put it in a list")
    if isinstance(sentences, (set, frozenset)):
        raise InputError("sentences must have an order, and a set has none: give a list, such as sorted(...)")
    dimensions = len(getattr(sentences, "shape", (0,)))
    if dimensions != 1:  # of a table iter gives the columns, or their names
        raise InputError(
            f"sentences must have one dimension, and this {type(sentences).__name__} has {dimensions}: "
            "give one column of it"
        )
    if isinstance(sentences, (bytes, bytearray, Mapping)) or not isinstance(sentences, Iterable):
        raise InputError(f"sentences must be a str or an iterable of str, not {type(sentences).__name__}")
    return _chunks(sentences, size)


def _chunks(sentences: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(sentences)
    while chunk := list(itertools.islice(iterator, size)):
        if hasattr(chunk[0], "as_py"):  # of an Arrow array iter gives scalars of its own
            chunk = [scalar.as_py() if hasattr(scalar, "as_py") else scalar for scalar in chunk]
        yield chunk


def as_list(sentences: str | Iterable[str]) -> list[str]:
    """One text, or an iterable of them, as a list. Raises InputError as ``chunks`` does."""
    if isinstance(sentences, str):
        return [sentences]
    return list(itertools.chain.from_iterable(chunks(sentences, 1024)))


def check_text(sentence: object, where: str) -> None:
    """Raise InputError for what is no text; of what is missing in a table say so."""
    if isinstance(sentence, str):
        check_unicode(sentence, where)
        return
    found = f"{where} is {type(sentence).__name__}, not str"
    is_nan = isinstance(sentence, float) and sentence != sentence
    if sentence is None or is_nan or type(sentence).__name__ in ("NAType", "NaTType"):
        raise InputError(f"{found}: it is missing; leave such rows out, or fill them with ''")
    raise InputError(f"{found}: {reprlib.repr(sentence)}")
