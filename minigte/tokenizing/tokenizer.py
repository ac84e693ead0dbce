"""Text to ``input_ids``: the ``tokenizers`` library, run from the model's own files."""

from __future__ import annotations

import functools
import reprlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tokenizers

from minigte.errors import InputError, InputTooLongError, TokenizerError, TruncationWarning, UnsupportedError
from minigte.tokenizing.pairs import PairTemplate, longest_first, num_tokens, read_template
from minigte.tokenizing.splitting import PIECE, Splitter
from minigte.tokenizing.texts import check_text, check_unicode
from minigte.tokenizing.tokenizer_config import TokenizerConfig
from minigte.tokenizing.tokenizer_file import library_errors, lowercase_first, read_tokenizer

GROUP = 1 << 20  # characters given to the library at once; it takes some 100 bytes for each


@dataclass(frozen=True)
class Tokenized:
    """One text's tokens."""

    input_ids: list[int]  # (T,), special tokens included, cut to max_seq_length
    is_cut: bool  # whether there were more


@dataclass(frozen=True)
class TokenizedPair:
    """The tokens of two texts in one row."""

    input_ids: list[int]  # (T,), special tokens included, cut to max_seq_length
    token_type_ids: list[int]  # (T,) which of the two a token belongs to, where the tokenizer says
    is_cut: bool  # whether there were more


class Tokenizer:
    """A model's tokenizer, with the padding and truncation that its file may ask for switched off.

    It never changes. What transformers' tokenizers obey when it is assigned, such as ``truncation_side``,
    would change nothing here, so that assigning it raises UnsupportedError.
    """

    def __init__(
        self,
        folder: Path,
        config: TokenizerConfig,
        *,
        vocab_size: int,
        max_seq_length: int,
        do_lower_case: bool = False,
        for_pairs: bool = False,
        length_name: str = "max_seq_length",
    ) -> None:
        """Read the tokenizer in ``folder``, whose other files say what is in ``config``.

        ``vocab_size``: how many ids the model knows. ``max_seq_length``: texts are cut to this many tokens,
        special tokens included. ``do_lower_case``: lower-case texts before the tokenizer sees them, as
        sentence-transformers' key of this name asks for. ``for_pairs``: texts come in pairs, which are cut
        to this many together. ``length_name``: what the caller calls ``max_seq_length``, for errors.

        Raises TokenizerError where the file is absent, damaged or another model's.
        """
        self.path, self.tokenizer, self.truncation_side = read_tokenizer(folder, config)
        self.vocab_size = vocab_size
        self.max_seq_length = max_seq_length
        vocab = self.tokenizer.get_vocab(with_added_tokens=True)
        largest = max(vocab.values(), default=-1)
        if not vocab or largest >= vocab_size:
            raise TokenizerError(
                f"{self.path} and the tokens of the files beside it do not belong to these weights: the "
                f"largest "
                f"id is {largest}, the vocabulary has {vocab_size} rows"
            )
        self.num_special_tokens = self.tokenizer.num_special_tokens_to_add(False)
        special = self.tokenizer.num_special_tokens_to_add(for_pairs)
        if max_seq_length <= special:
            raise TokenizerError(
                f"{length_name} {max_seq_length} is too short: {self.path} adds {special} special tokens to "
                f"each {'pair' if for_pairs else 'text'}"
            )
        self.splitter = Splitter(self.tokenizer)
        if do_lower_case:  # of the text between special tokens, which stay what they are
            self.tokenizer.normalizer = lowercase_first(self.tokenizer.normalizer)
        self.tokenizer.no_padding()
        with library_errors(f"{self.path} cannot cut texts to {max_seq_length} tokens"):
            self.tokenizer.enable_truncation(max_seq_length, direction=self.truncation_side)
        self.is_complete = True

    def __setattr__(self, name: str, value: object) -> None:
        if "is_complete" in vars(self):
            raise UnsupportedError(
                f"{name!r} of a Tokenizer cannot be assigned: for fewer tokens assign the Embedder's "
                "max_seq_length, for anything else change the model's tokenizer.json"
            )
        super().__setattr__(name, value)

    def tokenize(
        self, sentences: Sequence[str], *, prefix: str = "", start: int = 0, refuse_long: bool = False
    ) -> list[Tokenized]:
        """Turn texts, each with ``prefix`` in front, into ids. Of a long text only its beginning is read.

        Raises InputError, which names the position, for anything that is not a text; ``start`` is the
        position of the first of ``sentences`` in the caller's list. ``refuse_long``: raise
        InputTooLongError for a text of more than ``max_seq_length`` tokens in place of cutting it.
        """
        texts = _read(sentences, prefix, start)
        tokenized = []
        for i, (encoding, _) in enumerate(self._beginnings(texts)):
            if encoding.overflowing and refuse_long:
                (length,) = self.count([texts[i]])
                raise InputTooLongError(
                    f"sentences[{start + i}] has {length} tokens, the model reads "
                    f"{self.max_seq_length}: split the text, or choose 'ignore' as truncation"
                )
            if not encoding.ids and self.num_special_tokens == 0:
                raise InputError(
                    f"sentences[{start + i}] has no tokens, and this model adds none: leave it out, or "
                    "put a text in its place"
                )
            tokenized.append(Tokenized(self._checked(encoding.ids), bool(encoding.overflowing)))
        return tokenized

    def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, start: int = 0, refuse_long: bool = False
    ) -> list[TokenizedPair]:
        """Turn pairs of texts into ids. Of too long a pair the longer text is cut first, as in transformers.

        The tokenizer must have been made ``for_pairs``. Raises InputError, which names the position, for
        anything that is not a text; ``start`` is the position of the first of ``pairs`` in the caller's list.
        ``refuse_long``: raise InputTooLongError for a pair of more than ``max_seq_length`` tokens in place of
        cutting it.
        """
        room = self.max_seq_length - self.tokenizer.num_special_tokens_to_add(True)
        template = self._pair_template
        for position, pair in enumerate(pairs, start):
            for i, text in enumerate(pair):
                check_text(text, f"inputs[{position}][{i}]")
        tokenized: list[TokenizedPair] = []
        texts = self._beginnings([text for pair in pairs for text in pair], add_special_tokens=False)
        for (a, more_of_a), (b, more_of_b) in zip(texts, texts, strict=True):
            lengths = [num_tokens(a), num_tokens(b)]
            is_cut = sum(lengths) > room
            if is_cut and refuse_long:
                raise InputTooLongError(
                    f"inputs[{start + len(tokenized)}] has more than the {self.max_seq_length} tokens "
                    "that the model reads: split the text, or pass truncation='ignore'"
                )
            if is_cut and room % 2:  # the longer text gets the odd token
                self._count_on(lengths, (more_of_a, more_of_b))
            kept = longest_first(lengths, room)
            if self.truncation_side == "left":
                ids = [of.ids[len(of) - n :] for of, n in zip((a, b), kept, strict=True)]
            else:
                ids = [of.ids[:n] for of, n in zip((a, b), kept, strict=True)]
            input_ids, token_type_ids = template.join(ids)
            tokenized.append(TokenizedPair(self._checked(input_ids), token_type_ids, is_cut))
        return tokenized

    def _beginnings(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> Iterator[tuple[tokenizers.Encoding, Iterator[str]]]:
        """Encode each text as far as it is read: yield the encoding, and the pieces of the text behind it.

        An encoding that does not overflow is that of the whole text.
        """
        if self.truncation_side == "left":  # the end of a text counts
            pieces = [iter([text]) for text in texts]
        else:
            pieces = [self.splitter.pieces(text) for text in texts]
        heads = [next(of) for of in pieces]
        for i, encoding in enumerate(self._encode(heads, add_special_tokens=add_special_tokens)):
            while not encoding.overflowing and (more := list(islice(pieces[i], 1 + len(heads[i]) // PIECE))):
                heads[i] = " ".join([heads[i], *more])
                (encoding,) = self._encode(heads[i : i + 1], add_special_tokens=add_special_tokens)
            yield encoding, pieces[i]

    @functools.cached_property
    def _pair_template(self) -> PairTemplate:
        with library_errors(f"{self.path} cannot put two texts into one row"):
            return read_template(self.tokenizer)

    def _count_on(self, lengths: list[int], more: Sequence[Iterator[str]]) -> None:
        """Count on in whichever of two texts has fewer tokens so far, until it ends: then it is the shorter.

        ``lengths``: their numbers of tokens without those of ``more``, to which those read here are added.
        However long the longer text is, it is read little further than the shorter one.
        """
        while (piece := next(more[shorter := lengths[0] > lengths[1]], None)) is not None:
            (encoding,) = self._encode([piece], add_special_tokens=False)
            lengths[shorter] += num_tokens(encoding)

    def tokens(self, input_ids: Sequence[int]) -> list[str]:
        """The vocabulary's spelling of each id, such as "[CLS]" or "##ing"."""
        return [str(self.tokenizer.id_to_token(i)) for i in input_ids]

    def prompt_length(self, prompt: str) -> int:
        """How many tokens a prompt has in front of a text, with what stands before it, such as [CLS].

        As sentence-transformers counts them: the prompt's own tokens, whatever they become before a text.
        """
        if not prompt:
            return 0
        (encoding,) = self._encode([prompt])
        return len(encoding.ids) - encoding.special_tokens_mask[-1]

    def count(self, sentences: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens included, before any cut. Raises InputError."""
        counts = [self.num_special_tokens] * len(sentences)
        owners: deque[int] = deque()

        def read_pieces() -> Iterator[str]:
            for i, text in enumerate(_read(sentences)):
                for piece in self.splitter.pieces(text):
                    owners.append(i)
                    yield piece

        for encoding in self._encode(read_pieces(), add_special_tokens=False):
            counts[owners.popleft()] += num_tokens(encoding)
        return counts

    def _encode(
        self, texts: Iterable[str], *, add_special_tokens: bool = True
    ) -> Iterator[tokenizers.Encoding]:
        """Run the library over texts, at most about GROUP characters at a time."""
        texts = iter(texts)
        while group := list(_take(texts, GROUP)):
            with library_errors(f"{self.path} fails over a text"):
                encodings = self.tokenizer.encode_batch_fast(group, add_special_tokens=add_special_tokens)
            yield from encodings

    def _checked(self, input_ids: list[int]) -> list[int]:
        """Refuse ids for which the model has no row: special tokens may be given any id in the file."""
        if not 0 < len(input_ids) <= self.max_seq_length or max(input_ids) >= self.vocab_size:
            raise TokenizerError(
                f"{self.path} does not belong to these weights: it made {len(input_ids)} tokens of at most "
                f"{self.max_seq_length}, the largest {max(input_ids, default=-1)} of {self.vocab_size}"
            )
        return input_ids


def _read(sentences: Sequence[str], prefix: str = "", start: int = 0) -> list[str]:
    """The texts, each with ``prefix`` in front; InputError for anything that is not a text."""
    if not isinstance(prefix, str):
        raise InputError(f"the prompt is {type(prefix).__name__}, not str: {reprlib.repr(prefix)}")
    check_unicode(prefix, "the prompt")
    for position, sentence in enumerate(sentences, start):
        check_text(sentence, f"sentences[{position}]")
    return [prefix + sentence for sentence in sentences]


def _take(texts: Iterator[str], characters: int) -> Iterator[str]:
    """The next texts, until they have this many characters together."""
    while characters > 0 and (text := next(texts, None)) is not None:
        characters -= len(text)
        yield text


def cut_warning(cut: int, seen: int, max_seq_length: int, what: str = "texts") -> TruncationWarning:
    """The warning that ``cut`` of ``seen`` texts, or pairs, were too long."""
    return TruncationWarning(
        f"{cut} of {seen} {what} have more than {max_seq_length} tokens and were cut there",
        "truncation='error' refuses them, 'ignore' cuts them silently",
    )
