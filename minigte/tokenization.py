"""Text to ``input_ids``: the ``tokenizers`` library, run from the model's own ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from minigte.config import Config
from minigte.errors import InputError, InputTooLongError, TokenizerError, TruncationWarning


@dataclass(frozen=True)
class Tokenized:
    """One text's tokens."""

    input_ids: list[int]  # (T,), special tokens included, cut to max_seq_length
    num_tokens: int  # how many there were before the cut


class Tokenizer:
    """A model's tokenizer, with the padding and truncation that its file may ask for switched off."""

    def __init__(self, folder: Path, config: Config, max_seq_length: int) -> None:
        """Read ``tokenizer.json``, and cut to ``max_seq_length`` tokens.

        Raises TokenizerError where the file is absent, damaged or another model's.
        """
        path = folder / "tokenizer.json"
        if not path.exists():
            raise TokenizerError(
                f"no tokenizer.json in {folder} (transformers writes one with tokenizer.save_pretrained)"
            )
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # what the library raises for a bad file is a plain Exception
            raise TokenizerError(f"{path} is not a tokenizer file ({error}): get it again") from error
        vocab = self.tokenizer.get_vocab(with_added_tokens=True)
        largest = max(vocab.values(), default=-1)
        if not vocab or largest >= config.encoder.vocab_size:
            raise TokenizerError(
                f"{path} does not belong to these weights: its largest id is {largest}, "
                f"the vocabulary has {config.encoder.vocab_size} rows"
            )
        self.num_special_tokens = self.tokenizer.num_special_tokens_to_add(False)
        if self.num_special_tokens == 0:
            raise TokenizerError(
                f"{path} adds no special tokens, so an empty text would have no tokens at all"
            )
        if config.do_lower_case:  # of the text between special tokens, which stay what they are
            steps = [tokenizers.normalizers.Lowercase(), self.tokenizer.normalizer]
            self.tokenizer.normalizer = tokenizers.normalizers.Sequence([s for s in steps if s is not None])
        self.tokenizer.no_padding()
        if max_seq_length <= self.num_special_tokens:
            raise TokenizerError(
                f"max_seq_length {max_seq_length} is too short: {path} adds {self.num_special_tokens} "
                "special tokens"
            )
        self.tokenizer.enable_truncation(max_seq_length)

    def tokenize(
        self, sentences: Sequence[str], *, prefix: str = "", start: int = 0, refuse_long: bool = False
    ) -> list[Tokenized]:
        """Turn texts, each with ``prefix`` in front, into ids.

        Raises InputError, which names the position, for anything that is not a text; ``start`` is the
        position of the first of ``sentences`` in the caller's list. ``refuse_long``: raise
        InputTooLongError for a text of more than ``max_seq_length`` tokens in place of cutting it.
        """
        for position, sentence in enumerate(sentences, start):
            if not isinstance(sentence, str):
                raise InputError(
                    f"sentences[{position}] is {type(sentence).__name__}, not str: {sentence!r:.60}"
                )
        texts = [prefix + sentence for sentence in sentences]
        try:
            encodings = self.tokenizer.encode_batch_fast(texts)
        except (UnicodeEncodeError, TypeError):
            for position, text in enumerate(texts, start):
                check_unicode(text, f"sentences[{position}]")
            raise
        tokenized = [Tokenized(encoding.ids, self._count(encoding)) for encoding in encodings]
        if refuse_long:
            for position, tokens in enumerate(tokenized, start):
                if tokens.num_tokens > len(tokens.input_ids):
                    raise InputTooLongError(
                        f"sentences[{position}] has {tokens.num_tokens} tokens, the model reads "
                        f"{len(tokens.input_ids)}: split the text, or pass truncation='ignore'"
                    )
        return tokenized

    def tokens(self, input_ids: Sequence[int]) -> list[str]:
        """The vocabulary's spelling of each id, such as "[CLS]" or "##ing"."""
        return [str(self.tokenizer.id_to_token(i)) for i in input_ids]

    def _count(self, encoding: tokenizers.Encoding) -> int:
        """The tokens of a text before it was cut; each piece cut off has special tokens of its own."""
        return len(encoding.ids) + sum(len(cut.ids) - self.num_special_tokens for cut in encoding.overflowing)


def cut_warning(cut: int, seen: int, max_seq_length: int) -> TruncationWarning:
    """The warning that ``cut`` of ``seen`` texts were too long."""
    return TruncationWarning(
        f"{cut} of {seen} texts have more than {max_seq_length} tokens and were cut there "
        "(truncation='error' refuses them, 'ignore' cuts them silently)"
    )


def check_unicode(text: str, where: str) -> None:
    """Raise InputError where the text holds a lone surrogate, half of a character that has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} holds a lone surrogate ({text[error.start]!a} at character {error.start}), which is "
            "not text: read the source with errors='replace', or clean it with "
            "text.encode('utf-8', 'replace').decode()"
        ) from None
