"""A model folder's configuration files, read into frozen dataclasses; what is unsupported is refused by name.

``config.json`` is Hugging Face transformers'. ``modules.json`` and the files it leads to are
sentence-transformers': pooling, normalisation, prompts and the maximal length. A folder without them
is taken as mean pooling and L2 norm over the whole context, and ``ModelConfig.assumed`` says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigte.errors import ConfigError
from minigte.models import ARCHITECTURES, bert
from minigte.tokenizing.texts import check_unicode
from minigte.vectors.pooling import POOLING_MODES

JSON_LIMIT = 16 << 20  # bytes; parsed, a configuration file takes up to 25 times its size
FLOAT32_MAX = 3.4028234663852886e38

SIMILARITY_FN_NAMES = ("cosine", "dot", "euclidean", "manhattan")

# The keys of 1_Pooling/config.json before sentence-transformers 5.2, each true or false, in the order
# in which several are put side by side.
OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything a model folder says about turning text into vectors, but for the arrays and the tokens."""

    model_type: str  # a key of models.ARCHITECTURES
    encoder: bert.Config
    max_seq_length: int  # texts are cut to this many tokens, special tokens included
    do_lower_case: bool = False  # lower-case the text before the tokenizer sees it
    pooling_modes: tuple[str, ...] = ("mean",)  # keys of pooling.POOLING_MODES
    normalize: bool = True  # scale each vector to length 1
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name -> text put in front
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"  # one of SIMILARITY_FN_NAMES
    assumed: tuple[str, ...] = ()  # what no file of the folder said

    @property
    def embedding_dimension(self) -> int:
        """The width of a text's vector."""
        return self.encoder.hidden_size * len(self.pooling_modes)


def read_config(folder: Path) -> ModelConfig:
    """Read a model folder's configuration.

    Raises ConfigError where a file is missing, is not JSON of the right form, or asks for something
    that minigte does not implement.
    """
    config_json = read_json(folder / "config.json", required=True)
    encoder = _read_encoder(folder / "config.json", config_json)
    fields: dict[str, Any] = {}
    assumed: list[str] = []

    if (folder / "modules.json").exists():
        pooling_folder, fields["normalize"] = _read_modules(folder)
        fields["pooling_modes"] = _read_pooling(pooling_folder / "config.json", encoder.hidden_size)
    else:
        assumed += ["mean pooling", "L2 norm"]

    sentence_bert = read_json(folder / "sentence_bert_config.json")
    task = sentence_bert.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ConfigError(
            f"{folder / 'sentence_bert_config.json'}: transformer_task {task!r} is not an embedding model"
        )
    tokenizer_config = read_json(folder / "tokenizer_config.json")
    # The first that is stated counts, but a tokenizer without a limit of its own says 10**30.
    limits = [
        _read_length(folder / name, key, content.get(key))
        for name, key, content in (
            ("sentence_bert_config.json", "max_seq_length", sentence_bert),
            ("tokenizer_config.json", "model_max_length", tokenizer_config),
        )
        if content.get(key) is not None
    ]
    if not limits:
        assumed.append(f"max_seq_length {encoder.max_position_embeddings}")
    fields["max_seq_length"] = int(min([*limits[:1], encoder.max_position_embeddings]))
    fields["do_lower_case"] = sentence_bert.get("do_lower_case", False)
    if not isinstance(fields["do_lower_case"], bool):
        raise ConfigError(
            f"{folder / 'sentence_bert_config.json'}: do_lower_case must be true or false, "
            f"not {fields['do_lower_case']!r}"
        )

    path = folder / "config_sentence_transformers.json"
    sentence_transformers = read_json(path)
    fields["prompts"] = read_prompts(path, sentence_transformers.get("prompts"))
    fields["default_prompt_name"] = sentence_transformers.get("default_prompt_name")
    if fields["default_prompt_name"] not in (None, *fields["prompts"]):
        raise ConfigError(
            f"{path}: default_prompt_name {fields['default_prompt_name']!r} is not one of the prompts"
        )
    fields["similarity_fn_name"] = sentence_transformers.get("similarity_fn_name") or "cosine"
    if fields["similarity_fn_name"] not in SIMILARITY_FN_NAMES:
        raise ConfigError(
            f"{path}: unknown similarity_fn_name {fields['similarity_fn_name']!r} "
            f"(known: {', '.join(SIMILARITY_FN_NAMES)})"
        )
    return ModelConfig(config_json["model_type"], encoder, assumed=tuple(assumed), **fields)


def read_json(path: Path, *, required: bool = False) -> dict[str, Any]:
    """Read a JSON object; {} where the file is absent and not required. Raises ConfigError."""
    try:
        value = _parse_json(path)
    except FileNotFoundError:
        if required:
            raise ConfigError(f"no {path.name} in {path.parent}: is this a model folder?") from None
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a JSON {type(value).__name__}, not an object: get the file again")
    return value


def _parse_json(path: Path) -> Any:
    """Read a JSON file. Raises FileNotFoundError where it is absent, ConfigError for all else."""
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for, a device never ends
            raise ConfigError(f"{path} is not a regular file")
        with path.open("rb") as file:
            content = file.read(JSON_LIMIT + 1)
        if len(content) > JSON_LIMIT:
            raise ConfigError(f"{path} is larger than {JSON_LIMIT >> 20} MB: no configuration file is")
        return json.loads(content.decode())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}): get the file again") from error


def read_prompts(where: object, value: object) -> dict[str, str]:
    """Check that prompts are a mapping of names to texts; ``where`` names them in the error."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(prompt, str) for name, prompt in value.items()
    ):
        raise ConfigError(f"{where}: prompts must map names to texts")
    for name, prompt in value.items():
        check_unicode(prompt, f"{where}: the prompt {name!r}", ConfigError)
    return dict(value)


def _read_length(path: Path, key: str, value: object) -> float:
    """Check a limit in tokens; it may be written as a float, and be infinite."""
    if type(value) not in (int, float) or not value >= 1:  # type: ignore[operator]
        raise ConfigError(f"{path}: {key} must be a positive number, not {value!r}")
    return value  # type: ignore[return-value]


def _read_encoder(path: Path, config_json: dict[str, Any]) -> bert.Config:
    """Take the architecture's own fields from ``config.json`` and check each of them."""
    model_type = config_json.get("model_type")
    architecture = ARCHITECTURES.get(model_type) if isinstance(model_type, str) else None
    if architecture is None:
        raise ConfigError(f"{path}: unknown model_type {model_type!r} (known: {', '.join(ARCHITECTURES)})")
    refused = architecture.unsupported(config_json)
    if refused is not None:
        raise ConfigError(f"{path}: minigte does not implement {refused}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(architecture.Config):
        if field.name not in config_json:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{path} has no {field.name}")
            continue
        value = config_json[field.name]
        if field.type == "int" and (type(value) is not int or value < 1):
            raise ConfigError(f"{path}: {field.name} must be a positive integer, not {value!r}")
        if field.type == "float" and not (type(value) in (int, float) and 0 <= value <= FLOAT32_MAX):
            raise ConfigError(
                f"{path}: {field.name} must be a number that is not negative and fits float32, not {value!r}"
            )
        values[field.name] = value
    encoder = architecture.Config(**values)
    if encoder.hidden_size % encoder.num_attention_heads:
        raise ConfigError(
            f"{path}: hidden_size {encoder.hidden_size} is not a multiple of "
            f"num_attention_heads {encoder.num_attention_heads}"
        )
    return encoder


def _read_modules(folder: Path) -> tuple[Path, bool]:
    """Read ``modules.json``: the pooling module's folder, and whether a Normalize module follows it.

    Only Transformer, Pooling and then perhaps Normalize can be honoured; any other module changes the
    vectors, so it is refused by name.
    """
    path = folder / "modules.json"
    modules = _parse_json(path)
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        paths = [str(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} is not sentence-transformers' list of modules ({error}): get it again"
        ) from error
    for kind in kinds:
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ConfigError(
                f"{path}: minigte does not implement the module {kind} "
                "(known: Transformer, Pooling, Normalize)"
            )
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ConfigError(
            f"{path}: expected Transformer, Pooling and perhaps Normalize, found {', '.join(kinds)}"
        )
    if paths[0] != "":
        raise ConfigError(f"{path}: the Transformer lies in {paths[0]!r}: give that folder as the model")
    try:
        pooling_folder = (folder / paths[1]).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, holds a NUL, a loop of links
        raise ConfigError(f"{path}: {paths[1]!r} is not the path of a folder ({error})") from error
    if folder.resolve() not in pooling_folder.parents:
        raise ConfigError(f"{path}: the path {paths[1]!r} leads out of the model folder")
    return pooling_folder, kinds[-1] == "Normalize"


def _read_pooling(path: Path, hidden_size: int) -> tuple[str, ...]:
    """Read ``1_Pooling/config.json``, in its form before and since sentence-transformers 5.2."""
    pooling = read_json(path, required=True)
    if "pooling_mode" in pooling:
        mode = pooling["pooling_mode"]
        modes = (mode,) if isinstance(mode, str) else tuple(mode) if isinstance(mode, list) else (mode,)
    else:
        modes = tuple(mode for key, mode in OLD_POOLING_KEYS.items() if pooling.get(key)) or ("mean",)
    for mode in modes:
        if not isinstance(mode, str) or mode not in POOLING_MODES:
            raise ConfigError(f"{path}: unknown pooling mode {mode!r} (known: {', '.join(POOLING_MODES)})")
    if not modes or len(set(modes)) != len(modes):
        raise ConfigError(f"{path}: the pooling modes must be one or several different ones, not {modes!r}")
    if not pooling.get("include_prompt", True):
        raise ConfigError(f"{path}: minigte does not implement include_prompt false")
    width = pooling.get("embedding_dimension", pooling.get("word_embedding_dimension", hidden_size))
    if width != hidden_size:
        raise ConfigError(f"{path}: the embedding dimension is {width!r}, but hidden_size is {hidden_size}")
    return modes
