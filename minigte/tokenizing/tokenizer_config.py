"""What a model folder says about its tokenizer beside ``tokenizer.json``, as transformers understands it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import AddedToken

# The special tokens that have a name, in the order in which transformers adds them.
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# transformers' classes of tokenizers that cut words into pieces, and are one class by several names.
WORD_PIECE_CLASSES = (
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
)

Token = str | AddedToken  # transformers knows both; a str becomes a special token


@dataclass(frozen=True)
class TokenizerConfig:
    """The content of ``tokenizer_config.json``, ``special_tokens_map.json`` and ``added_tokens.json``.

    The fields have the keys' names. What is None was not stated.
    """

    tokenizer_class: str = "BertTokenizer"  # a key of tokenizer_file.TOKENIZER_CLASSES
    do_lower_case: bool = True
    strip_accents: bool | None = None  # None: as do_lower_case
    tokenize_chinese_chars: bool = True
    add_prefix_space: bool | None = None  # None: as the class has it
    model_max_length: float | None = None  # tokens; a tokenizer without a limit of its own says 10**30
    truncation_side: str | None = None  # which end of a long text is cut off, "right" or "left"
    padding_side: str | None = None
    any_padding_side: bool = False  # whether a vector is the same on whichever side texts are padded
    model_input_names: tuple[str, ...] | None = None  # what the model is given
    special_tokens: Mapping[str, Token | None] = dataclasses.field(default_factory=dict)  # name -> token
    extra_special_tokens: tuple[Token, ...] | None = None
    extra_ids: int = 100  # where these are None a T5Tokenizer has <extra_id_0>, ... <extra_id_99> instead
    added_tokens_decoder: Mapping[int, AddedToken] | None = None  # in place of tokenizer.json's added tokens
    added_tokens: Mapping[int, AddedToken] = dataclasses.field(
        default_factory=dict
    )  # added_tokens.json, by id

    @property
    def tells_texts_apart(self) -> bool:
        """Whether the model is given token types, as by transformers' classes for word pieces."""
        if self.model_input_names is None:
            return self.tokenizer_class in WORD_PIECE_CLASSES
        return "token_type_ids" in self.model_input_names
