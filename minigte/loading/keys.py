"""Every key that transformers and sentence-transformers write, and what becomes of it.

This is the one table. A key is read; or it is accepted at the values that minigte implements; or no value
of it changes a vector. Any other key might, so it is refused by name. Which keys of ``config.json`` are read,
and at which values others are accepted, an architecture's own module says (``models/``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from minigte.errors import ConfigError

NOTHING: tuple[object, ...] = (None, {}, [])  # what a key holds that asks for nothing


@dataclass(frozen=True)
class Keys:
    """The keys of one kind of file."""

    read: frozenset[str] = frozenset()
    accepted: Mapping[str, tuple[object, ...]] | None = None  # key -> the values that minigte implements
    harmless: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYS: dict[str, Keys] = {
    "modules.json": Keys(
        read=_words("idx name path type"),
        harmless=_words("kwargs"),  # names of arguments that encode hands on to the module
    ),
    "sentence_bert_config.json": Keys(
        read=_words("max_seq_length do_lower_case query_length document_length model_args model_kwargs"),
        accepted={
            "transformer_task": ("feature-extraction",),
            "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
            "module_output_name": ("token_embeddings", None),
            "processing_kwargs": NOTHING,
            "query_expansion": (None,),
            "tokenizer_name_or_path": (None,),
            "tokenizer_args": NOTHING,
            "processor_kwargs": NOTHING,
            "config_args": NOTHING,
            "config_kwargs": NOTHING,
        },
        harmless=_words("unpad_inputs backend"),
    ),
    # sentence_bert_config.json: {"model_args": {...}}, what the encoder is loaded with
    "model_args": Keys(
        harmless=_words(
            "add_pooling_layer attn_implementation device_map dtype low_cpu_mem_usage torch_dtype "
            "trust_remote_code"
        ),
    ),
    "config_sentence_transformers.json": Keys(
        read=_words("prompts default_prompt_name similarity_fn_name truncate_dim"),
        accepted={"model_type": ("SentenceTransformer",)},
        harmless=_words("__version__ requirements"),
    ),
    # config_sentence_transformers.json of a cross-encoder
    "CrossEncoder": Keys(
        read=_words("activation_fn"),
        accepted={
            "model_type": ("CrossEncoder",),
            "prompts": NOTHING,
            "default_prompt_name": (None,),
            "keep_in_fp32_modules": NOTHING,
        },
        harmless=_words("__version__ requirements similarity_fn_name truncate_dim"),
    ),
    "Pooling": Keys(
        read=_words(
            "embedding_dimension word_embedding_dimension pooling_mode pooling_mode_cls_token "
            "pooling_mode_lasttoken pooling_mode_max_tokens pooling_mode_mean_sqrt_len_tokens "
            "pooling_mode_mean_tokens pooling_mode_weightedmean_tokens include_prompt"
        ),
    ),
    "Dense": Keys(
        read=_words("in_features out_features bias activation_function"),
        accepted={
            "module_input_name": ("sentence_embedding",),
            "module_output_name": ("sentence_embedding", None),
            "use_residual": (False,),
        },
    ),
    "Normalize": Keys(
        accepted={
            "module_input_name": ("sentence_embedding",),
            "module_output_name": ("sentence_embedding", None),
        },
    ),
    "Dropout": Keys(harmless=_words("dropout")),
    "config.json": Keys(
        read=_words("model_type tokenizer_class"),
        accepted={
            "is_encoder_decoder": (False, None),
            "auto_map": NOTHING,
            "processor_class": (None,),
            "pruned_heads": NOTHING,
            "quantization_config": (None,),
        },
        harmless=_words(
            # where it comes from, and how it is stored and computed
            "_attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures "
            "attn_implementation chunk_size_feed_forward dtype name_or_path output_attentions "
            "output_hidden_states return_dict torch_dtype torchscript transformers.js_config "
            "transformers_version use_bfloat16 use_cache xla_device "
            "language name "  # of deepset's models
            # training
            "attention_probs_dropout_prob gradient_checkpointing hidden_dropout_prob initializer_range "
            # the heads of other tasks, and the ids of tokens, which the tokenizer's own files decide
            "_num_labels bos_token_id classifier_dropout cls_token_id cross_attention_hidden_size "
            "decoder_start_token_id directionality eos_token_id finetuning_task id2label label2id "
            "mask_token_id num_labels output_past pad_token_id pooler_fc_size pooler_num_attention_heads "
            "pooler_num_fc_layers pooler_size_per_head pooler_type problem_type sentence_transformers "
            "sbert_ce_default_activation_function sep_token_id summary_activation summary_first_dropout "
            "summary_last_dropout summary_mode "
            "summary_proj_to_labels summary_type summary_use_proj task_specific_params tf_legacy_loss "
            "tie_encoder_decoder tie_word_embeddings unk_token_id "
            # the generation of text
            "bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping "
            "encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id "
            "forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups "
            "num_beams num_return_sequences output_scores prefix remove_invalid_values repetition_penalty "
            "return_dict_in_generate suppress_tokens temperature top_k top_p typical_p"
        ),
    ),
    # Keys that end in _token name special tokens, and are read too.
    "tokenizer_config.json": Keys(
        read=_words(
            "tokenizer_class do_lower_case strip_accents tokenize_chinese_chars model_max_length max_len "
            "truncation_side padding_side model_input_names add_prefix_space added_tokens_decoder "
            "additional_special_tokens extra_ids extra_special_tokens chat_template"
        ),
        accepted={
            "auto_map": NOTHING,
            "clean_text": (True,),
            "fast_tokenizer_files": NOTHING,
            "init_inputs": NOTHING,
            "model_specific_special_tokens": NOTHING,
            "processor_class": (None,),
            "sp_model_kwargs": NOTHING,
            "split_special_tokens": (False,),
        },
        harmless=_words(
            "add_bos_token add_eos_token added_tokens_file backend chat_control_tokens "
            "clean_up_tokenization_spaces "
            "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output do_basic_tokenize "
            "errors "
            "files_loaded from_slow is_local legacy local_files_only max_length name_or_path never_split "
            "pad_to_multiple_of pad_token_type_id padding response_schema response_template "
            "special_tokens_map_file stride tokenizer_file trim_offsets truncation truncation_strategy "
            "use_default_system_prompt use_fast verbose vocab_file vocab_size wordpieces_prefix"
        ),
    ),
    "special_tokens_map.json": Keys(read=_words("additional_special_tokens extra_special_tokens")),
}


def check_keys(
    where: object,
    kind: str,
    content: Mapping[str, Any],
    read: Iterable[str] = (),
    accepted: Mapping[str, tuple[object, ...]] | None = None,
) -> None:
    """Refuse a key that is neither read nor harmless, or holds what minigte does not implement.

    ``where`` names the file in the error; ``kind`` is a key of KEYS; ``read`` and ``accepted`` are added to
    what stands there. Raises ConfigError.
    """
    keys = KEYS[kind]
    known = keys.read | keys.harmless | frozenset(read)
    values = {**(keys.accepted or {}), **(accepted or {})}
    for key, value in content.items():
        if key in values:
            if not any(value == one for one in values[key]):
                shown = ", ".join(one if isinstance(one, str) else _shown(one) for one in values[key])
                raise ConfigError(
                    f"{where}: minigte does not implement {key} {_shown(value)} (known: {shown})"
                )
        elif key not in known:
            raise ConfigError(
                f"{where}: minigte does not know the key {key!r}, which may change vectors: "
                "take it out if it does not"
            )


def _shown(value: object) -> str:
    """As JSON writes what is no text."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
