"""A model folder's configuration files, read into frozen dataclasses; what is unsupported is refused by name.

``config.json`` is Hugging Face transformers'. ``modules.json`` and the files it leads to are
sentence-transformers': where the encoder lies, pooling, normalisation, prompts and the maximal length. A
folder without them is taken as sentence-transformers takes it, mean pooling without L2 norm over the whole
context, and ``ModelConfig.assumed`` says so. Which keys are read and which are harmless is in ``keys.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigte.errors import AssumptionWarning, ConfigError
from minigte.loading.dense_files import read_dense
from minigte.loading.keys import check_keys
from minigte.loading.tokenizer_files import read_length, read_tokenizer_config
from minigte.models import ARCHITECTURES
from minigte.models.architecture import Architecture
from minigte.models.spec import NO_LIMIT, Spec
from minigte.runtime.reading import read_json, read_object
from minigte.tokenizing.texts import check_unicode
from minigte.tokenizing.tokenizer_config import TokenizerConfig
from minigte.vectors.head import DenseConfig, Normalize
from minigte.vectors.pooling import POOLING_MODES
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS

FLOAT32_MAX = 3.4028234663852886e38

# What the Transformer module was saved with; the first file that says anything counts.
SENTENCE_BERT_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)

# Keys of these files that change what other files say -> where to say it instead.
ELSEWHERE = {
    "tokenizer_args": "tokenizer_config.json",
    "processor_kwargs": "tokenizer_config.json",
    "config_args": "config.json",
    "config_kwargs": "config.json",
    "processing_kwargs": "max_seq_length, query_length or document_length",
}

# sentence-transformers' modules: those that minigte computes, and those that change nothing when a model is
# used.
KNOWN_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")

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


CLASSIFIER = "ForSequenceClassification"  # how transformers' classes with such a head end


@dataclass(frozen=True)
class ModelConfig:
    """Everything a model folder says about turning text into vectors, but for arrays and vocabulary."""

    model_type: str  # a key of models.ARCHITECTURES
    encoder: Any  # the architecture's own Config
    max_seq_length: int  # texts are cut to this many tokens, special tokens included
    query_length: int | None = None  # queries are cut to this many instead
    document_length: int | None = None  # and documents to this many
    transformer: str = ""  # below the folder, where the encoder's configuration, weights and tokenizer lie
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    do_lower_case: bool = False  # lower-case the text before the tokenizer sees it
    pooling_modes: tuple[str, ...] = ("mean",)  # keys of pooling.POOLING_MODES
    include_prompt: bool = True  # whether the tokens of a prompt are pooled too
    head: tuple[DenseConfig | Normalize, ...] = ()  # what is done with the pooled vectors, in order
    truncate_dim: int | None = None  # keep only this many leading components of each vector
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name -> text put in front
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"  # a key of similarity.SIMILARITY_FUNCTIONS
    assumed: tuple[str, ...] = ()  # what no file of the folder said

    @property
    def architecture(self) -> Architecture:
        """What the encoder's architecture is."""
        return ARCHITECTURES[self.model_type]

    @property
    def spec(self) -> Spec:
        """The encoder, whatever its architecture."""
        return self.architecture.spec(self.encoder)

    @property
    def embedding_dimension(self) -> int:
        """The width of a text's vector, before ``truncate_dim``."""
        widths = [module.out_features for module in self.head if isinstance(module, DenseConfig)]
        return widths[-1] if widths else self.pooled_dimension

    @property
    def pooled_dimension(self) -> int:
        """The width of what pooling makes of a text."""
        return self.spec.hidden_size * len(self.pooling_modes)

    @property
    def normalize(self) -> bool:
        """Whether a text's vector has length 1, before ``truncate_dim``."""
        return isinstance(next(reversed(self.head), None), Normalize)

    @property
    def assumes_pooling(self) -> bool:
        """Whether no file said how the vectors of a text's tokens become one."""
        return any("pooling" in assumption for assumption in self.assumed)


def read_config(folder: Path) -> ModelConfig:
    """Read a model folder's configuration.

    Raises ConfigError where a file is missing, is not JSON of the right form, or asks for something
    that minigte does not implement.
    """
    fields: dict[str, Any] = {}
    assumed: list[str] = []
    modules = read_json(folder / "modules.json", ConfigError, missing=None)
    has_modules = modules is not None or (folder / "modules.json").exists()
    transformer = folder
    if has_modules:
        transformer, pooling, behind = _read_modules(folder, modules)
        if transformer != folder:
            fields["transformer"] = transformer.relative_to(folder).as_posix()
    else:
        assumed += ["mean pooling", "no L2 norm"]

    path = transformer / "config.json"
    config_json = read_transformers_config(transformer)
    architecture = find_architecture(path, config_json)
    encoder = read_encoder(path, config_json, architecture)
    spec = architecture.spec(encoder)
    if has_modules:
        path = folder / pooling / "config.json"
        modes, fields["include_prompt"] = _read_pooling(path, spec.hidden_size)
        fields["pooling_modes"] = modes
        fields["head"] = _read_head(folder, behind, spec.hidden_size * len(modes))
    else:
        _refuse_remains(folder)
        first = next(iter(config_json.get("architectures") or ()), None)
        # sentence-transformers pools the last token of such a model.
        if isinstance(first, str) and first.endswith("ForCausalLM"):
            raise ConfigError(f"{path}: minigte does not implement {first}")

    tokenizer_class = config_json.get("tokenizer_class") or architecture.tokenizer_class
    tokenizer = read_tokenizer_config(transformer, tokenizer_class, chat_template=has_modules)
    has_positions = any(row.field == "position_embeddings" for row in architecture.parameters)
    # Padding in front of a text moves its places, which changes it where each has a row of its own.
    tokenizer = dataclasses.replace(tokenizer, any_padding_side=not has_positions)
    lengths = read_sentence_bert(transformer, fields) if has_modules else {}
    # The first that is stated counts, but never more than there are positions.
    limits = (lengths.pop("max_seq_length", None), tokenizer.model_max_length)
    limit = next((limit for limit in limits if limit is not None), None)
    if limit is None:
        limit = spec.max_tokens
        assumed.append("no max_seq_length" if limit == NO_LIMIT else f"max_seq_length {limit}")
    for key, length in {"max_seq_length": limit, **lengths}.items():
        fields[key] = None if length is None else int(min(length, spec.max_tokens))

    if has_modules:
        _read_sentence_transformers(folder / "config_sentence_transformers.json", fields)
    config = ModelConfig(
        config_json["model_type"], encoder, tokenizer=tokenizer, assumed=tuple(assumed), **fields
    )
    if config.truncate_dim is not None and config.truncate_dim >= config.embedding_dimension:
        return dataclasses.replace(config, truncate_dim=None)
    return config


def is_cross_encoder(folder: Path) -> bool:
    """Whether a folder says that it scores texts, and nothing makes it an embedding model."""
    modules = read_json(folder / "modules.json", ConfigError, missing=None)
    embeds = isinstance(modules, list) and len(modules) > 1
    return not embeds and classifies(read_object(folder / "config.json", ConfigError))


def classifies(config_json: dict[str, Any]) -> bool:
    """Whether ``config.json`` is that of an encoder with a head that classifies texts, or scores pairs."""
    kinds = config_json.get("architectures")
    return isinstance(kinds, list) and any(str(kind).endswith(CLASSIFIER) for kind in kinds)


def assumption_warning(folder: Path) -> AssumptionWarning:
    """The warning that the pooling of a folder was assumed, and how to say otherwise."""
    if is_cross_encoder(folder):
        return AssumptionWarning(
            f"{folder} is a cross-encoder or another classifier: for its scores use CrossEncoder, or minigte "
            "rerank. For vectors of its encoder mean pooling and no L2 norm were assumed, as "
            "sentence-transformers does"
        )
    return AssumptionWarning(
        f"{folder} has no modules.json: mean pooling and no L2 norm were assumed, as sentence-transformers "
        f"does. "
        "To say otherwise, save the model with sentence-transformers, or write modules.json and "
        "1_Pooling/config.json (docs/model-folders.md shows them); encode(normalize_embeddings=True) gives "
        "vectors of length 1"
    )


def read_prompts(where: object, value: object) -> dict[str, str]:
    """Check that prompts map names to texts, or null for none; ``where`` names them in the error."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(prompt, str | None) for name, prompt in value.items()
    ):
        raise ConfigError(f"{where}: prompts must map names to texts")
    prompts = {name: prompt or "" for name, prompt in value.items()}
    for name, prompt in prompts.items():
        check_unicode(prompt, f"{where}: the prompt {name!r}", ConfigError)
    return prompts


def _refuse_remains(folder: Path) -> None:
    """Refuse what sentence-transformers has written, where its modules.json is missing.

    sentence-transformers reads none of it then: most likely the folder was not copied whole.
    """
    for name in ("config_sentence_transformers.json", *SENTENCE_BERT_FILES, "1_Pooling/config.json"):
        if (folder / name).exists():
            whole = "download the complete folder"
            if (folder.parent / "modules.json").exists():
                whole = f"give {folder.parent} as the model"
            raise ConfigError(
                f"{folder} has {name} of sentence-transformers, but no modules.json: {whole}, or "
                f"delete {name} for mean pooling without L2 norm"
            )


def read_transformers_config(transformer: Path) -> dict[str, Any]:
    """Read the ``config.json`` of the folder that holds an encoder."""
    adapter = transformer / "adapter_config.json"
    if adapter.exists():
        raise ConfigError(
            f"{adapter}: minigte does not apply adapters (LoRA and others): merge it into the model with "
            f"peft's "
            "merge_and_unload and save that, or delete it to use the model without it"
        )
    path = transformer / "config.json"
    config_json = read_object(path, ConfigError)
    if not path.exists():
        raise ConfigError(f"no config.json in {transformer}: is this a model folder?")
    return config_json


def find_architecture(path: Path, config_json: dict[str, Any]) -> Architecture:
    """The architecture that ``config.json`` names, where it asks for nothing that is not implemented."""
    model_type = config_json.get("model_type")
    architecture = ARCHITECTURES.get(model_type) if isinstance(model_type, str) else None
    if architecture is None:
        raise ConfigError(f"{path}: unknown model_type {model_type!r} (known: {', '.join(ARCHITECTURES)})")
    names = [field.name for field in dataclasses.fields(architecture.config)]
    known = (*names, *architecture.harmless, *architecture.aliases, *architecture.derived)
    accepted = {architecture.activation: tuple(architecture.activations), **architecture.accepted}
    try:
        stated = architecture.fields_of(config_json)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    check_keys(path, "config.json", stated, read=known, accepted=accepted)
    return architecture


def read_encoder(path: Path, config_json: dict[str, Any], architecture: Architecture) -> Any:
    """Take the architecture's own fields from ``config.json`` and check each of them."""
    fields = architecture.fields_of(config_json)
    stated = {architecture.aliases.get(key, key): value for key, value in fields.items()}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(architecture.config):
        if field.name not in stated:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{path} has no {field.name}: download it again")
            continue
        value = stated[field.name]
        if field.type == "int" and (type(value) is not int or value < 1):
            raise ConfigError(f"{path}: {field.name} must be a positive integer, not {value!r}")
        if field.type == "float" and not (type(value) in (int, float) and 0 <= value <= FLOAT32_MAX):
            raise ConfigError(
                f"{path}: {field.name} must be a number that is not negative and fits float32, not {value!r}"
            )
        if field.type == "bool" and not isinstance(value, bool):
            raise ConfigError(f"{path}: {field.name} must be true or false, not {value!r}")
        if field.name == architecture.activation:
            value = architecture.activations[value]
        values[field.name] = value
    try:
        config = architecture.config(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    for key, values_of in architecture.derived.items():
        if key in stated and stated[key] not in values_of(config):
            raise ConfigError(
                f"{path}: {key} is {stated[key]!r}, but by the other keys it must be {values_of(config)[0]!r}"
            )
    return config


def _read_modules(folder: Path, modules: Any) -> tuple[Path, str, list[tuple[str, str]]]:
    """Read ``modules.json``: Transformer's folder, Pooling's path, and kind and path of what stands behind.

    Any module but those of KNOWN_MODULES changes the vectors, so it is refused by name.
    """
    path = folder / "modules.json"
    try:
        types = [str(module["type"]) for module in modules]
        paths = [str(module["path"]) for module in modules]
        names = [module.get("name", i) for i, module in enumerate(modules)]
        unique = len(set(names)) == len(names)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not sentence-transformers' list of modules ({error}): download it again"
        ) from error
    for module in modules:
        check_keys(path, "modules.json", module)
    kinds = [kind.rpartition(".")[2] for kind in types]
    for kind, whole in zip(kinds, types, strict=True):
        if not whole.startswith("sentence_transformers.") or kind not in KNOWN_MODULES:
            shown = (
                kind if whole.startswith("sentence_transformers.") else f"{whole}, which is code of its own"
            )
            raise ConfigError(
                f"{path}: minigte does not implement the module {shown} (known: {', '.join(KNOWN_MODULES)})"
            )
    if not unique:
        raise ConfigError(f"{path}: two modules have the same name, so sentence-transformers would skip one")
    if kinds[:1] != ["Transformer"] or kinds.count("Transformer") != 1 or kinds.count("Pooling") != 1:
        if is_cross_encoder(folder):
            raise ConfigError(
                f"{folder} is a cross-encoder, which scores pairs of texts: use CrossEncoder, or minigte "
                "rerank"
            )
        raise ConfigError(
            f"{path}: expected Transformer, Pooling and optionally Dense or Normalize, found "
            f"{', '.join(kinds) or 'none'}"
        )
    pooled = kinds.index("Pooling")
    for kind in ("Dense", "Dropout"):
        if kind in kinds[:pooled]:
            raise ConfigError(f"{path}: {kind} comes before Pooling, where a text has no vector yet")
    folders = [_module_folder(folder, path, name) for name in paths]
    for kind, module_folder in zip(kinds, folders, strict=True):
        if kind in ("Normalize", "Dropout"):
            settings = module_folder / "config.json"
            check_keys(settings, kind, read_object(settings, ConfigError))
    if folders[pooled] == folder:
        raise ConfigError(f"{path}: the path {paths[pooled]!r} of Pooling is that of the model itself")
    return folders[0], paths[pooled], list(zip(kinds, paths, strict=True))[pooled + 1 :]


def _read_head(
    folder: Path, modules: Iterable[tuple[str, str]], width: int
) -> tuple[DenseConfig | Normalize, ...]:
    """The modules behind Pooling, whose vectors have this width; Dropout changes nothing."""
    head: list[DenseConfig | Normalize] = []
    for kind, path in modules:
        if kind == "Dense":
            dense = read_dense(folder, path, width)
            head.append(dense)
            width = dense.out_features
        elif kind == "Normalize" and head[-1:] != [Normalize()]:
            head.append(Normalize())
    return tuple(head)


def _module_folder(folder: Path, path: Path, name: str) -> Path:
    """The folder of a module, which must lie in the model's."""
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
        if not inside or not (folder / name).is_relative_to(folder) or ".." in Path(name).parts:
            raise ConfigError(f"{path}: the path {name!r} points outside the model folder")
        return folder / name
    except (OSError, ValueError, RuntimeError) as error:  # too long, holds a NUL, a loop of links
        raise ConfigError(f"{path}: {name!r} is not the path of a folder ({error})") from error


def read_sentence_bert(
    transformer: Path,
    fields: dict[str, Any],
    accepted: Mapping[str, tuple[object, ...]] | None = None,
) -> dict[str, float | None]:
    """Read ``sentence_bert_config.json`` or a sibling: do_lower_case into ``fields``; gives the lengths.

    ``accepted``: other values that keys may have than an embedding model's.
    """
    settings: dict[str, Any] = {}
    path = transformer / SENTENCE_BERT_FILES[0]
    for name in SENTENCE_BERT_FILES:
        path = transformer / name
        settings = read_object(path, ConfigError)
        if settings:
            break
    for key, target in ELSEWHERE.items():
        asked = settings.get(key)
        if isinstance(asked, dict):
            asked = settings[key] = {k: v for k, v in asked.items() if k != "trust_remote_code"}
        if asked:
            raise ConfigError(f"{path}: minigte does not read {key}: write {asked!r} into {target}")
    check_keys(path, "sentence_bert_config.json", settings, accepted=accepted)
    for key in ("model_args", "model_kwargs"):
        arguments = settings.get(key) or {}
        if not isinstance(arguments, dict):
            raise ConfigError(f"{path}: {key} must be an object, not {arguments!r}")
        check_keys(f"{path}: {key}", "model_args", arguments)
    do_lower_case = settings.get("do_lower_case", False)
    if not isinstance(do_lower_case, bool):
        raise ConfigError(f"{path}: do_lower_case must be true or false, not {do_lower_case!r}")
    fields["do_lower_case"] = do_lower_case
    lengths = ("max_seq_length", "query_length", "document_length")
    return {key: read_length(path, key, settings[key]) for key in lengths if settings.get(key) is not None}


def _read_sentence_transformers(path: Path, fields: dict[str, Any]) -> None:
    """Read ``config_sentence_transformers.json`` into ``fields``."""
    settings = read_object(path, ConfigError)
    check_keys(path, "config_sentence_transformers.json", settings)
    fields["prompts"] = read_prompts(path, settings.get("prompts"))
    fields["default_prompt_name"] = settings.get("default_prompt_name")
    # Any model has the prompts "query" and "document", empty where it does not say what they are.
    if fields["default_prompt_name"] not in (None, "query", "document", *fields["prompts"]):
        raise ConfigError(
            f"{path}: default_prompt_name {fields['default_prompt_name']!r} is not one of the prompts"
        )
    similarity = settings.get("similarity_fn_name") or "cosine"
    similarity = (
        "cosine" if similarity == "cos_sim" else similarity
    )  # the function's name, not the similarity's
    if not isinstance(similarity, str) or similarity not in SIMILARITY_FUNCTIONS:
        raise ConfigError(
            f"{path}: unknown similarity_fn_name {similarity!r} (known: {', '.join(SIMILARITY_FUNCTIONS)})"
        )
    fields["similarity_fn_name"] = similarity
    truncate_dim = settings.get("truncate_dim")
    if truncate_dim is not None and (type(truncate_dim) is not int or truncate_dim < 1):
        raise ConfigError(f"{path}: truncate_dim must be a positive integer, not {truncate_dim!r}")
    fields["truncate_dim"] = truncate_dim


def _read_pooling(path: Path, hidden_size: int) -> tuple[tuple[str, ...], bool]:
    """Read ``1_Pooling/config.json``, in its form before and since sentence-transformers 5.2.

    Gives the modes, and whether the tokens of a prompt are pooled too.
    """
    pooling = read_object(path, ConfigError)
    if not path.exists():
        raise ConfigError(
            f"no config.json in {path.parent}, where modules.json has Pooling: download the complete folder"
        )
    check_keys(path, "Pooling", pooling)
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
    width = pooling.get("embedding_dimension", pooling.get("word_embedding_dimension", hidden_size))
    if width != hidden_size:
        raise ConfigError(f"{path}: the embedding dimension is {width!r}, but hidden_size is {hidden_size}")
    include_prompt = pooling.get("include_prompt", True)
    if not isinstance(include_prompt, bool):
        raise ConfigError(f"{path}: include_prompt must be true or false, not {include_prompt!r}")
    if not include_prompt and "weightedmean" in modes:  # whose weights go on behind the prompt
        raise ConfigError(f"{path}: minigte does not implement include_prompt false with weightedmean")
    return modes, include_prompt
