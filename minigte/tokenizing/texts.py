"""What a caller may give as texts; anything else is refused before it is read as one."""

from __future__ import annotations

import itertools
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
    """Cut an iterable into lists of at most ``size``. Raises InputError for what is no iterable of texts."""
    if isinstance(sentences, str):  # an iterable of str too, its letters
        raise InputError("sentences must be an iterable of str, not one str: put it in a list")
    if isinstance(sentences, (bytes, bytearray, Mapping)) or not isinstance(sentences, Iterable):
        raise InputError(f"sentences must be a str or an iterable of str, not {type(sentences).__name__}")
    dimensions = getattr(sentences, "ndim", 1)
    if dimensions != 1:  # of a DataFrame iter gives the columns' names
        raise InputError(
            f"sentences must have one dimension, and this {type(sentences).__name__} has {dimensions}: "
            "give one column of it"
        )
    iterator = iter(sentences)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def as_list(sentences: str | Iterable[str]) -> list[str]:
    """One text, or an iterable of them, as a list. Raises InputError as ``chunks`` does."""
    if isinstance(sentences, str):
        return [sentences]
    return list(itertools.chain.from_iterable(chunks(sentences, 1024)))
