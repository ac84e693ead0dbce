"""What the routes need of a model's tokens beyond embedding: counts, cuts on the left, /tokenize, /decode."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tokenizers

from minigte.embedder import Embedder
from minigte.errors import InputError
from minigte.tokenizing.texts import check_unicode
from minigte.tokenizing.tokenizer import Tokenized

COUNTED = 200_000  # characters; who sends more in one text is told that it is more than these have
# Of OpenAI's file of byte pairs, by which its clients turn texts into ids for each of its embedding models.
CL100K_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


class Token(NamedTuple):
    """One token of a text, as text-embeddings-inference describes it; the places are of bytes."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokens:
    """Reads texts with a model's tokenizer, without cutting them."""

    def __init__(self, embedder: Embedder) -> None:
        self._tokenizer = embedder.tokenizer
        self._whole = tokenizers.Tokenizer.from_str(embedder.tokenizer.tokenizer.to_str())
        self._whole.no_truncation()
        self.max_seq_length = embedder.max_seq_length
        self.vocab_size = embedder.tokenizer.vocab_size
        bare = self._whole.encode("a", add_special_tokens=False).ids
        whole = self._whole.encode("a").ids
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        self.prefix, self.suffix = whole[:start], whole[start + len(bare) :]

    def are_own(self, input_ids: Sequence[int]) -> bool:
        """Whether ids are what this tokenizer makes of a text: its special tokens around, its vocabulary."""
        ids, prefix, suffix = list(input_ids), self.prefix, self.suffix
        return (
            len(ids) >= len(prefix) + len(suffix)
            and ids[: len(prefix)] == prefix
            and ids[len(ids) - len(suffix) :] == suffix
            and 0 <= min(ids) <= max(ids) < self.vocab_size
        )

    def count(self, text: str) -> str:
        """How many tokens a text has, in words."""
        (count,) = self._tokenizer.count([text[:COUNTED]])
        return f"more than {count}" if len(text) > COUNTED else str(count)

    def cut(self, ids: list[int], *, from_the_left: bool) -> list[int]:
        """As many of this model's ids as it reads, with its special tokens around."""
        limit = self.max_seq_length
        if from_the_left:
            return [*self.prefix, *ids[len(ids) - (limit - len(self.prefix)) :]]
        return [*ids[: limit - len(self.suffix)], *self.suffix]

    def end_of(self, text: str) -> Tokenized:
        """The ids of a text's last tokens, as many as the model reads."""
        room = self.max_seq_length - len(self.prefix) - len(self.suffix)
        last: deque[int] = deque(maxlen=room)
        count = 0
        check_unicode(text, "the text")
        for piece in self._tokenizer.splitter.pieces(text):
            ids = self._whole.encode(piece, add_special_tokens=False).ids
            last.extend(ids)
            count += len(ids)
        return Tokenized([*self.prefix, *last, *self.suffix], count > room)

    def describe(self, text: str, *, add_special_tokens: bool) -> list[Token]:
        """Every token of a text, with the bytes it stands for."""
        check_unicode(text, "the text")
        encoding = self._whole.encode(text, add_special_tokens=add_special_tokens)
        places = [0]  # of each character's first byte
        for character in text:
            places.append(places[-1] + len(character.encode()))
        tokens = []
        for id_, spelling, (start, stop), special in zip(
            encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True
        ):
            if special:
                tokens.append(Token(id_, spelling, True, None, None))
            else:
                tokens.append(Token(id_, text[start:stop], False, places[start], places[stop]))
        return tokens

    def text_of(self, input_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """A text that has these ids. Raises InputError for an id that the vocabulary does not have."""
        if input_ids and not 0 <= min(input_ids) <= max(input_ids) < self.vocab_size:
            raise InputError(f"ids must lie between 0 and {self.vocab_size - 1}, the vocabulary")
        return str(self._whole.decode(list(input_ids), skip_special_tokens=skip_special_tokens))


class Cl100k:
    """The texts behind the token ids that OpenAI's own tokenizer makes; it can only be read backwards."""

    def __init__(self, path: Path) -> None:
        """Read ``cl100k_base.tiktoken``: on each line some bytes in base64, and their id."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != CL100K_SHA256:
            raise InputError(f"{path} is not cl100k_base.tiktoken as OpenAI publishes it: download it again")
        self._bytes: dict[int, bytes] = {}
        for line in content.split(b"\n"):
            if line:
                spelling, id_ = line.split()
                self._bytes[int(id_)] = base64.b64decode(spelling)

    def text_of(self, input_ids: Sequence[int]) -> str:
        """The text. Raises InputError where the ids are not those of a text."""
        try:
            return b"".join(self._bytes[id_] for id_ in input_ids).decode()
        except KeyError as error:
            raise InputError(f"cl100k_base has no token {error.args[0]}") from None
        except UnicodeDecodeError:
            raise InputError("these ids of cl100k_base begin or end within a character") from None
