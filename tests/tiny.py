"""Seeded tiny models, in memory and as folders in every form that minigte reads; BERT where not said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from minigte.models import ARCHITECTURES, bert
from minigte.models.architecture import Architecture
from minigte.models.weights import FLOAT32, LayerWeights, Weights

Float32 = npt.NDArray[np.float32]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "cat", "dog", "sat", "on", "mat", "run", "query", "passage", "##s", "##ning", "é", "中")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'-"
VOCABULARY = (*SPECIAL_TOKENS, *WORDS, *LETTERS, *("##" + letter for letter in LETTERS))

CONFIG = bert.Config(
    vocab_size=len(VOCABULARY),
    hidden_size=20,
    num_hidden_layers=2,
    num_attention_heads=5,
    intermediate_size=28,
    max_position_embeddings=32,
)

OLD_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def config(**fields: Any) -> bert.Config:
    """The tiny model's config, with these fields changed."""
    return dataclasses.replace(CONFIG, **fields)


def architecture(config: Any) -> Architecture:
    """The architecture whose config this is."""
    return next(a for a in ARCHITECTURES.values() if a.config is type(config))


def tensors(config: Any = CONFIG, seed: int = 0) -> dict[str, Float32]:
    """Every array of a model, by its name in a checkpoint, filled from the seed.

    Nothing is 0 or 1 as in an untrained model, so that an array which is forgotten, or put in another's
    place, shows. The values come from ``Generator.random`` alone, whose stream NumPy keeps, so that
    golden files need not carry them.
    """
    rng = np.random.default_rng(seed)
    filled: dict[str, Float32] = {}
    spec = architecture(config).spec(config)
    for tensor in architecture(config).tensors(config):
        if tensor.name in filled:  # several are kept in one
            continue
        values = 2 * rng.random(tensor.stored_shape, np.float32) - 1  # from -1 to 1
        if tensor.field.endswith("norm_weight"):
            values /= 2
            values += 1
        elif tensor.field.endswith("bias"):
            values /= 4
        elif tensor.layer is not None:
            values *= np.float32((3 / tensor.shape[-1]) ** 0.5)  # so that the products keep the order of 1
            if tensor.field == "query_weight" and spec.attention_scale == 1:  # is in the weights
                values *= np.float32(spec.head_size**-0.5)
        filled[tensor.name] = values
    return filled


def weights(config: Any = CONFIG, seed: int = 0) -> Weights:
    """The same arrays as the model that ``minigte`` computes with."""
    arrays = tensors(config, seed)
    fields: dict[int | None, dict[str, Float32]] = {}
    for tensor in architecture(config).tensors(config):
        fields.setdefault(tensor.layer, {})[tensor.field] = tensor.take(arrays[tensor.name])
    own = fields.pop(None)
    layers = tuple(LayerWeights(**layer) for layer in fields.values())
    return Weights(**own, layers=layers, stored_as=FLOAT32)


def write_model(
    folder: Path,
    config: Any = CONFIG,
    *,
    seed: int = 0,
    dtype: str = "F32",
    prefix: str = "",
    unused: bool = False,
    shards: int = 1,
    bare: bool = False,
    **config_json: Any,
) -> Path:
    """Write a model folder that ends in mean pooling and L2 norm; give it back.

    ``bare``: of transformers alone, without sentence-transformers' files.

    ``dtype``: F32, F16 or BF16. ``prefix``: put before every tensor's name. ``unused``: add the tensors
    of a checkpoint that an embedding does not need. ``shards``: more than one writes an index too.
    ``config_json``: further keys of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "config.json", {"model_type": architecture(config).name, **vars(config), **config_json}
    )
    arrays: dict[str, npt.NDArray[Any]] = dict(tensors(config, seed))
    if unused:
        width = config.hidden_size
        arrays["embeddings.position_ids"] = np.arange(config.max_position_embeddings)[None]
        arrays["pooler.dense.weight"] = np.ones((width, width), np.float32)
        arrays["pooler.dense.bias"] = np.ones(width, np.float32)
    named = {prefix + name: array for name, array in arrays.items()}
    if shards == 1:
        write_safetensors(folder / "model.safetensors", named, dtype)
    else:
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        weight_map = {tensor: names[i % shards] for i, tensor in enumerate(named)}
        for shard in names:
            write_safetensors(folder / shard, {t: named[t] for t in named if weight_map[t] == shard}, dtype)
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    write_tokenizer(folder)
    return folder if bare else write_sentence_transformers(folder)


def head_tensors(
    config: Any = CONFIG, num_labels: int = 1, seed: int = 0, **config_json: Any
) -> dict[str, Float32]:
    """Every array of a cross-encoder's head, by its name in a checkpoint, filled from the seed."""
    rng = np.random.default_rng([seed, 1])
    of = architecture(config).classification_head
    assert of is not None
    head = of({**vars(config), **config_json})
    return {
        tensor.name: (2 * rng.random(tensor.shape, np.float32) - 1)
        for tensor in head.tensors(config, num_labels)
    }


def write_cross_encoder(
    folder: Path,
    config: Any = CONFIG,
    *,
    num_labels: int = 1,
    seed: int = 0,
    modules: bool = False,
    **config_json: Any,
) -> Path:
    """Write a cross-encoder's folder as transformers does; give it back.

    ``modules``: with the files that sentence-transformers 6 adds.
    """
    labels = {str(i): f"LABEL_{i}" for i in range(num_labels)}
    kinds = [f"{architecture(config).name}ForSequenceClassification"]
    if architecture(config).name == "modernbert":  # transformers' default is beyond these vocabularies
        config_json = {"pad_token_id": 0, **config_json}
    write_model(folder, config, seed=seed, bare=True, id2label=labels, architectures=kinds, **config_json)
    prefix = architecture(config).prefixes[0]
    encoder = {prefix + name: array for name, array in tensors(config, seed).items()}
    head = head_tensors(config, num_labels, seed, **config_json)
    head = {prefix * name.startswith("pooler.") + name: array for name, array in head.items()}
    write_safetensors(folder / "model.safetensors", {**encoder, **head})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    names = ["input_ids", "attention_mask"]
    if getattr(config, "type_vocab_size", 0) > 1:
        names.insert(1, "token_type_ids")
    write_json(folder / "tokenizer_config.json", {**settings, "model_input_names": names})
    if modules:
        kind = "sentence_transformers.base.modules.transformer.Transformer"
        write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind}])
        settings = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
        write_json(folder / "config_sentence_transformers.json", settings)
        task = {"transformer_task": "sequence-classification", "module_output_name": "scores"}
        write_json(folder / "sentence_bert_config.json", task)
    return folder


# What float32 arrays are once they have been stored as ``dtype``.
STORED: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "F32": lambda a: a,
    "F16": lambda a: a.astype(np.float16).astype(np.float32),
    "BF16": lambda a: (a.view(np.uint32) & 0xFFFF0000).view(np.float32),
}


def write_safetensors(path: Path, arrays: Mapping[str, npt.NDArray[Any]], dtype: str = "F32") -> None:
    """Write arrays as safetensors: the length of a JSON header in 8 bytes, the header, the values.

    float32 arrays are stored as ``dtype``: F32, F16 or BF16, the upper half of a float32.
    """
    header, data = {}, b""
    for name, array in arrays.items():
        if array.dtype != np.float32:
            kind, stored = "I64", array.astype(np.int64)
        elif dtype == "BF16":
            kind, stored = dtype, (array.view(np.uint32) >> 16).astype(np.uint16)
        else:
            kind, stored = dtype, array.astype({"F32": np.float32, "F16": np.float16}[dtype])
        begin = len(data)
        data += stored.tobytes()
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_onnx(path: Path, arrays: Mapping[str, npt.NDArray[Any]], **options: Any) -> None:
    """Write arrays as PyTorch exports them: linear weights anonymous and transposed, known by their node.

    ``options`` go to ``onnx.save``.
    """
    import onnx
    import onnx.numpy_helper

    nodes, initializers = [], [onnx.numpy_helper.from_array(np.float32(0.5), "scalar")]
    for i, (name, array) in enumerate(arrays.items()):
        stored = name
        if array.ndim == 2 and "embeddings" not in name:
            stored, array = f"onnx::MatMul_{i}", array.T
            module = "/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.")
            nodes.append(onnx.helper.make_node("MatMul", ["x", stored], [f"y{i}"], name=f"{module}/MatMul"))
        initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), stored))
    graph = onnx.helper.make_graph(nodes, "bert", [], [], initializers)
    onnx.save(onnx.helper.make_model(graph), path, **options)


def write_tokenizer(folder: Path, *, lowercase: bool = True, model_max_length: int | None = None) -> None:
    """Write ``tokenizer.json`` (BERT's WordPiece over VOCABULARY) and ``tokenizer_config.json``."""
    vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS}
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names, **limit}
    )


def write_byte_tokenizer(folder: Path) -> None:
    """Write a tokenizer of bytes that adds no special tokens, as BLOOM's."""
    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    pattern = tokenizers.Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"tokenizer_class": "BloomTokenizerFast", "pad_token": "!", "unk_token": "?"}
    write_json(folder / "tokenizer_config.json", tokens)


def write_sentence_transformers(
    folder: Path,
    *,
    form: str = "new",
    modes: Sequence[str] = ("mean",),
    normalize: bool = True,
    sentence_bert: Mapping[str, Any] | None = None,
    **sentence_transformers: Any,
) -> Path:
    """Write sentence-transformers' files into a model folder, in their form before ("old") or since 5.2
    ("new").

    ``sentence_bert``: the content of sentence_bert_config.json. ``sentence_transformers``: that of
    config_sentence_transformers.json, such as ``prompts``.
    """
    sizes = json.loads((folder / "config.json").read_text())
    width = next(sizes[name] for name in ("hidden_size", "dim", "d_model") if name in sizes)
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * normalize
    packages = {
        "old": dict.fromkeys(kinds, "sentence_transformers.models"),
        "new": {
            "Transformer": "sentence_transformers.base.modules.transformer",
            "Pooling": "sentence_transformers.sentence_transformer.modules.pooling",
            "Normalize": "sentence_transformers.sentence_transformer.modules.normalize",
        },
    }[form]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{packages[kind]}.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    pooling: dict[str, Any]
    if form == "old":
        pooling = {"word_embedding_dimension": width}
        pooling |= {key: mode in modes for mode, key in OLD_POOLING_KEYS.items()}
    else:
        mode = modes[0] if len(modes) == 1 else list(modes)
        pooling = {"embedding_dimension": width, "pooling_mode": mode, "include_prompt": True}
    write_json(folder / "modules.json", modules)
    for kind, module in zip(kinds[1:], modules[1:], strict=True):
        (folder / str(module["path"])).mkdir(exist_ok=True)
        write_json(folder / str(module["path"]) / "config.json", pooling if kind == "Pooling" else {})
    if sentence_bert is not None:
        write_json(folder / "sentence_bert_config.json", sentence_bert)
    if sentence_transformers:
        write_json(folder / "config_sentence_transformers.json", sentence_transformers)
    return folder


def write_dense(folder: Path, *modules: dict[str, Any]) -> Path:
    """A tiny model with Dense modules between Pooling and Normalize, whose configs differ in these keys."""
    write_model(folder, seed=5)
    listed = json.loads((folder / "modules.json").read_text())
    rng, width = np.random.default_rng(3), 20
    for i, config in enumerate(modules, 2):
        whole = {
            "in_features": width,
            "out_features": 7,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
            **config,
        }
        arrays = {"linear.weight": rng.standard_normal((whole["out_features"], width), np.float32)}
        if whole["bias"]:
            arrays["linear.bias"] = rng.standard_normal(whole["out_features"], np.float32)
        path = folder / f"{i}_Dense"
        path.mkdir()
        write_json(path / "config.json", {key: value for key, value in whole.items() if value is not ...})
        write_safetensors(path / "model.safetensors", arrays)
        kind = "sentence_transformers.models.Dense"
        listed.insert(i, {"idx": i, "name": f"d{i}", "path": path.name, "type": kind})
        width = whole["out_features"]
    write_json(folder / "modules.json", listed)
    return folder


def write_json(path: Path, content: object) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
