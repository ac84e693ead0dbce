"""Text to ``input_ids``: the ``tokenizers`` library, run from the model's own ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from minigte.config import Config
from minigte.errors import InputError, TokenizerError


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
        self.do_lower_case = config.do_lower_case
        self.tokenizer.no_padding()
        if max_seq_length <= self.num_special_tokens:
            raise TokenizerError(
                f"max_seq_length {max_seq_length} is too short: {path} adds {self.num_special_tokens} "
                "special tokens"
            )
        self.tokenizer.enable_truncation(max_seq_length)

    def tokenize(self, sentences: Sequence[str], start: int = 0) -> list[Tokenized]:
        """Turn texts into ids.

        Raises InputError for a text that is not Unicode (a lone surrogate), naming its position;
        ``start`` is the position of the first of ``sentences`` in the caller's list.
        """
        texts = [sentence.lower() for sentence in sentences] if self.do_lower_case else list(sentences)
        try:
            encodings = self.tokenizer.encode_batch_fast(texts)
        except (UnicodeEncodeError, TypeError):
            for position, text in enumerate(texts, start):
                check_unicode(text, f"sentences[{position}]")
            raise
        return [
            Tokenized(
                encoding.ids,
                len(encoding.ids)
                + sum(len(cut.ids) - self.num_special_tokens for cut in encoding.overflowing),
            )
            for encoding in encodings
        ]


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
