"""How a long text is cut into pieces that have its tokens.

A tokenizer of words splits a text before it looks at any of them: at whitespace, and around each
punctuation mark. So a text may be cut on either side of such a character, as long as that cuts no special
token in two, and the pieces' tokens in a row are the text's. The ``input_ids`` of 100 MB then need only the
first piece or two, and to count its tokens takes no more memory than a few pieces do.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

PIECE = 8192  # characters; 512 tokens of English are about 2,300
BREAKS = frozenset(" \t\n\r" + string.punctuation)  # a word never goes on over one of these
SPECIAL = re.compile(rf"[{re.escape(string.punctuation)}]\S*")  # begins with a break and holds no blank


class Splitter:
    """Cuts texts for one tokenizer; those of a tokenizer that is not one of words stay whole."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Look whether the tokenizer is one of words; its normalizer is still that of the file."""
        self.tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().values()
        self.special = [token.content for token in added]
        self.words = (
            isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
            and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            and isinstance(tokenizer.model, models.WordPiece)
            and not any(token.normalized or token.single_word for token in added)
            and all(map(SPECIAL.fullmatch, self.special))
        )

    def pieces(self, text: str, size: int = PIECE) -> Iterator[str]:
        """Yield at least one piece; a blank may be put between any two of them.

        A piece has about ``size`` characters, and more only where special tokens leave no place to cut.
        """
        start, word = 0, ""  # ``word`` is the beginning of a word that goes on at ``start``
        while self.words and len(text) - start > size:
            stop = start + size
            if BREAKS.isdisjoint(text[start:stop]):
                done, word = self._unbroken(word + text[start:stop])
                if done:
                    yield done
                start = stop
                continue
            while stop > start and not self._is_between_words(text, stop):
                stop -= 1
            if stop == start:
                break
            yield word + text[start:stop]
            start, word = stop, ""
        yield word + text[start:]

    def _is_between_words(self, text: str, i: int) -> bool:
        """Whether a cut in front of ``text[i]`` parts neither a word nor a special token."""
        return not BREAKS.isdisjoint(text[i - 1 : i + 1]) and not any(
            token in text[max(0, i - len(token) + 1) : i + len(token) - 1] for token in self.special
        )

    def _unbroken(self, text: str) -> tuple[str, str]:
        """Split text without a break: its words but the last, and what must be kept of the last.

        Both are normalized, and that changes nothing when they are again, with more text behind them.
        WordPiece takes each word of more than ``max_input_chars_per_word`` characters for [UNK], so of an
        endless word one character more than that is enough.
        """
        normalized = self.tokenizer.normalizer.normalize_str(text)
        words = self.tokenizer.pre_tokenizer.pre_tokenize_str(normalized)
        if not words or words[-1][1][1] < len(normalized) or words[-1][0] in BREAKS:  # the last has ended
            return " ".join(word for word, _ in words), ""
        limit = self.tokenizer.model.max_input_chars_per_word + 1
        return " ".join(word for word, _ in words[:-1]), words[-1][0][:limit]
