"""A cross-encoder's folder: transformers' model for the classification of sequences, and what is said of it.

sentence-transformers writes the activation into ``config_sentence_transformers.json`` or, before its version
6, into ``config.json``. Nothing else of its files is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigte.arrays import Float32
from minigte.errors import ConfigError
from minigte.loading.config import (
    ModelConfig,
    classifies,
    find_architecture,
    read_encoder,
    read_sentence_bert,
    read_transformers_config,
)
from minigte.loading.keys import check_keys
from minigte.loading.tokenizer_files import read_tokenizer_config
from minigte.models import ARCHITECTURES
from minigte.models.architecture import ClassificationHead
from minigte.runtime.reading import read_json, read_object
from minigte.vectors.head import ACTIVATION_FUNCTIONS, activated

ActivationFn = Callable[[Float32], Float32]

# What a model's logits may go through, by the name of torch.nn's class.
ACTIVATION_FNS: dict[str, ActivationFn] = {
    name: functools.partial(activated, name) for name in ACTIVATION_FUNCTIONS
}

# What the Transformer module of a cross-encoder was saved with.
ACCEPTED: dict[str, tuple[object, ...]] = {
    "transformer_task": ("sequence-classification",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "logits"}},),
    "module_output_name": ("scores",),
}


@dataclass(frozen=True)
class CrossEncoderConfig:
    """Everything a folder says about turning pairs of texts into scores."""

    model: ModelConfig  # the encoder and its tokenizer; pooling and prompts are not used
    classification_head: ClassificationHead
    labels: tuple[str, ...]  # their names
    activation_fn: str  # a key of ACTIVATION_FNS

    @property
    def num_labels(self) -> int:
        """How many scores a pair has."""
        return len(self.labels)


def read_cross_encoder_config(folder: Path, num_labels: int | None = None) -> CrossEncoderConfig:
    """Read a folder's configuration; ``num_labels`` counts in place of what it says.

    Raises ConfigError where a file is missing, is not JSON of the right form, or asks for something
    that minigte does not implement.
    """
    modules = read_json(folder / "modules.json", ConfigError, missing=None)
    if modules is not None:
        _check_modules(folder / "modules.json", modules)
    path = folder / "config.json"
    config_json = read_transformers_config(folder)
    architecture = find_architecture(path, config_json)
    if architecture.classification_head is None:
        known = ", ".join(name for name, each in ARCHITECTURES.items() if each.classification_head)
        raise ConfigError(
            f"{path}: minigte does not score pairs with a {architecture.name} encoder (known: {known})"
        )
    encoder = read_encoder(path, config_json, architecture)
    try:
        head = architecture.classification_head(config_json)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    spec = architecture.spec(encoder)
    tokenizer_class = config_json.get("tokenizer_class") or architecture.tokenizer_class
    tokenizer = read_tokenizer_config(folder, tokenizer_class, chat_template=modules is not None)
    fields: dict[str, Any] = {}
    lengths = read_sentence_bert(folder, fields, ACCEPTED) if modules is not None else {}
    limits = (lengths.get("max_seq_length"), tokenizer.model_max_length, spec.max_tokens)
    limit = next(limit for limit in limits if limit is not None)
    fields["max_seq_length"] = int(min(limit, spec.max_tokens))
    model = ModelConfig(config_json["model_type"], encoder, tokenizer=tokenizer, **fields)

    labels = _labels(path, config_json)
    if num_labels is not None and num_labels != len(labels):
        labels = tuple(f"LABEL_{i}" for i in range(num_labels))
    settings_path = folder / "config_sentence_transformers.json"
    settings = read_object(settings_path, ConfigError)
    if modules is not None:
        check_keys(settings_path, "CrossEncoder", settings)
    stated = settings.get("activation_fn") if modules is not None else None
    if not _is_torchs(stated):
        settings_path = path
        own = config_json.get("sentence_transformers")
        if isinstance(own, dict) and "activation_fn" in own:
            stated = own["activation_fn"]
        else:
            stated = config_json.get("sbert_ce_default_activation_function")
    return CrossEncoderConfig(model, head, labels, _activation_fn(settings_path, stated, len(labels)))


def _check_modules(path: Path, modules: Any) -> None:
    """Raise ConfigError for any module but the Transformer."""
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ConfigError(f"{path} is not sentence-transformers' list of modules: download it again")
    if any(str(module.get("type")).endswith(".Pooling") for module in modules):
        raise ConfigError(f"{path}: Pooling makes it an embedding model: use Embedder, or minigte search")
    for module in modules:
        check_keys(path, "modules.json", module)
        kind = str(module.get("type"))
        is_theirs = kind.startswith("sentence_transformers.")
        if not is_theirs or kind.rpartition(".")[2] != "Transformer" or module.get("path"):
            raise ConfigError(
                f"{path}: a cross-encoder has one module, Transformer; minigte does not implement {kind}"
            )


def _labels(path: Path, config_json: dict[str, Any]) -> tuple[str, ...]:
    """The names of the scores: one where no head is said to be there, as in sentence-transformers."""
    if not classifies(config_json):
        return ("LABEL_0",)
    names = config_json.get("id2label")
    if isinstance(names, dict) and names:
        try:
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except ValueError:
            raise ConfigError(f"{path}: id2label must map numbers to names") from None
    count = config_json.get("num_labels", config_json.get("_num_labels"))
    count = 2 if count is None else count  # transformers' default
    if type(count) is not int or count < 1:
        raise ConfigError(f"{path}: num_labels must be a positive integer, not {count!r}")
    return tuple(f"LABEL_{i}" for i in range(count))


def _is_torchs(stated: Any) -> bool:
    """Whether an activation is one of torch's; sentence-transformers runs no other that a file names."""
    return isinstance(stated, str) and stated.startswith("torch.")


def _activation_fn(path: Path, stated: Any, num_labels: int) -> str:
    """The activation by its name, or sentence-transformers' default."""
    if not _is_torchs(stated):
        return "Sigmoid" if num_labels == 1 else "Identity"
    name = stated.rpartition(".")[2]
    if name not in ACTIVATION_FNS:
        known = ", ".join(ACTIVATION_FNS)
        raise ConfigError(f"{path}: minigte does not implement the activation_fn {stated} (known: {known})")
    return name
