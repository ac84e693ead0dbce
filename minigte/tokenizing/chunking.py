"""Long texts cut into chunks of so many tokens, where sentences end, each with the end of the last one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from minigte.errors import InputError
from minigte.tokenizing.tokenizer import Tokenizer

# Behind a full stop and its quotation marks or brackets, and at an empty line; a chunk may end there.
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|[。！？]|\n\s*\n\s*")
WORD_END = re.compile(r"\s+")


def cut(text: str, tokenizer: Tokenizer, size: int, overlap: int = 0) -> Iterator[str]:
    """Yield the chunks of a text, each of at most ``size`` tokens with its special tokens.

    A chunk ends where a sentence ends; a sentence of more than ``size`` tokens is cut between words, and a
    word of more between characters. Each but the first begins with as many whole sentences of the one before
    as have at most ``overlap`` tokens together. Nothing of the text is left out but blanks at a chunk's ends.

    Raises InputError where ``size`` has no room, or ``overlap`` is not smaller.
    """
    room = size - tokenizer.num_special_tokens
    if room < 1:
        raise InputError(
            f"chunks of {size} tokens leave no room besides the special tokens: make them larger"
        )
    if not 0 <= overlap < room:
        raise InputError(f"the overlap must be from 0 to {room - 1} tokens, not {overlap}")
    if not text.strip():
        yield text
        return
    parts = list(_parts(text, tokenizer, room))
    counts = [tokens for _, _, tokens in parts]
    first = 0
    while first < len(parts):
        last, total = first, 0
        while last < len(parts) and (last == first or total + counts[last] <= room):
            total += counts[last]
            last += 1
        # Tokens of parts need not add up exactly, except with a tokenizer of words.
        while last - first > 1 and _count(text[parts[first][0] : parts[last - 1][1]], tokenizer) > room:
            last -= 1
        chunk = text[parts[first][0] : parts[last - 1][1]].strip()
        if chunk:
            yield chunk
        if last == len(parts):
            break
        following, again = last, 0
        while following - 1 > first and again + counts[following - 1] <= overlap:
            following -= 1
            again += counts[following]
        while again + counts[last] > room:  # what comes next must fit behind it
            again -= counts[following]
            following += 1
        first = following


def _parts(text: str, tokenizer: Tokenizer, room: int) -> Iterator[tuple[int, int, int]]:
    """Sentences, or pieces of long ones: from where to where in the text, and how many tokens."""
    sentences = list(_spans(SENTENCE_END, text, 0, len(text)))
    counts = tokenizer.count([text[start:stop] for start, stop in sentences])
    for (start, stop), count in zip(sentences, counts, strict=True):
        tokens = count - tokenizer.num_special_tokens
        if tokens <= room:
            yield start, stop, tokens
            continue
        for word, end in _spans(WORD_END, text, start, stop):
            yield from _pieces(text, word, end, tokenizer, room)


def _pieces(
    text: str, start: int, stop: int, tokenizer: Tokenizer, room: int
) -> Iterator[tuple[int, int, int]]:
    """A word, in halves of halves where it has too many tokens."""
    tokens = _count(text[start:stop], tokenizer)
    if tokens <= room or stop - start == 1:
        yield start, stop, tokens
        return
    middle = (start + stop) // 2
    yield from _pieces(text, start, middle, tokenizer, room)
    yield from _pieces(text, middle, stop, tokenizer, room)


def _spans(end: re.Pattern[str], text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """What lies between the ends, each with the end behind it."""
    for match in end.finditer(text, start, stop):
        yield start, match.end()
        start = match.end()
    if start < stop:
        yield start, stop


def _count(text: str, tokenizer: Tokenizer) -> int:
    """How many tokens, without the special ones."""
    return tokenizer.count([text])[0] - tokenizer.num_special_tokens
