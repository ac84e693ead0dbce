"""Which files decide a model's vectors, known before a model is loaded, and whether or not it has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigte.errors import ConfigError
from minigte.loading.config import SENTENCE_BERT_FILES
from minigte.loading.dense_files import WEIGHTS as DENSE_WEIGHTS
from minigte.loading.weights import INDEX, SAFETENSORS, STATE_DICT, STATE_DICT_INDEX
from minigte.runtime.reading import read_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def required_files(folder: Path) -> Iterator[str]:
    """The paths below a model folder whose absence could change a vector, as far as what is there tells."""
    yield "modules.json"
    transformer = ""
    if (folder / "modules.json").exists():
        yield "config_sentence_transformers.json"
        for module in _objects(_content(folder / "modules.json")):
            path = f"{module.get('path')}/" if module.get("path") else ""
            if str(module.get("type")).endswith(".Transformer"):
                transformer = path
            elif str(module.get("type")).endswith(".Pooling"):
                yield f"{path}config.json"
            elif str(module.get("type")).endswith(".Dense"):
                yield f"{path}config.json"
                if not any((folder / path / name).exists() for name in DENSE_WEIGHTS):
                    yield from (f"{path}{name}" for name in DENSE_WEIGHTS)
        siblings = [f"{transformer}{name}" for name in SENTENCE_BERT_FILES]
        found = [name for name in siblings if (folder / name).exists()]
        yield from found[:1] or siblings
    for name in ("config.json", *TOKENIZER_FILES):
        yield f"{transformer}{name}"
    if not (folder / f"{transformer}tokenizer.json").exists():
        yield f"{transformer}vocab.txt"
    listed = [f"{transformer}{name}" for name in (INDEX, STATE_DICT_INDEX)]
    index = next((name for name in listed if (folder / name).exists()), None)
    whole = [f"{transformer}{name}" for name in (SAFETENSORS, STATE_DICT)]
    if index is None:
        if not any((folder / name).exists() for name in whole):
            yield from whole
        return
    content = _content(folder / index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if isinstance(weight_map, dict):
        yield from sorted(
            {f"{transformer}{shard}" for shard in weight_map.values() if isinstance(shard, str)}
        )


def _content(path: Path) -> Any:
    try:
        return read_json(path, ConfigError, missing=None)
    except ConfigError:  # whoever loads the model says so
        return None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
