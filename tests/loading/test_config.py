"""What a model folder's configuration files say, and what is refused, by name."""

import json

import pytest
import tiny

from minigte.errors import ConfigError
from minigte.loading.config import read_config


@pytest.fixture
def folder(tmp_path):
    return tiny.write_model(tmp_path / "model")


def change(path, **fields):
    content = json.loads(path.read_text()) if path.exists() else {}
    content.update(fields)
    tiny.write_json(path, {name: value for name, value in content.items() if value is not ...})


def test_a_folder_of_transformers_alone_is_assumed_to_be_mean_without_l2(tmp_path):
    config = read_config(tiny.write_model(tmp_path, bare=True))
    assert config.encoder == tiny.CONFIG
    assert config.pooling_modes == ("mean",)
    assert not config.normalize
    assert config.max_seq_length == 32
    assert config.assumed == ("mean pooling", "no L2 norm", "max_seq_length 32")
    assert config.assumes_pooling


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("mode", sorted(tiny.OLD_POOLING_KEYS))
@pytest.mark.parametrize("normalize", [True, False])
def test_sentence_transformers_files(folder, form, mode, normalize):
    tiny.write_sentence_transformers(
        folder,
        form=form,
        modes=[mode],
        normalize=normalize,
        sentence_bert={"max_seq_length": 16, "do_lower_case": True},
        prompts={"query": "query: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
    )
    config = read_config(folder)
    assert config.pooling_modes == (mode,)
    assert config.normalize is normalize
    assert (config.max_seq_length, config.do_lower_case) == (16, True)
    assert (config.prompts, config.default_prompt_name) == ({"query": "query: "}, "query")
    assert config.similarity_fn_name == "dot"
    assert config.assumed == ()


@pytest.mark.parametrize("form", ["old", "new"])
def test_several_pooling_modes_stand_side_by_side(folder, form):
    tiny.write_sentence_transformers(folder, form=form, modes=["cls", "mean"])
    config = read_config(folder)
    assert config.pooling_modes == ("cls", "mean")
    assert config.embedding_dimension == 40


@pytest.mark.parametrize(
    ("sentence_bert", "model_max_length", "expected"),
    [(None, 10**30, 32), (None, 12, 12), (8, 12, 8), (512, None, 32)],
)
def test_the_smallest_length_counts(folder, sentence_bert, model_max_length, expected):
    if sentence_bert is not None:
        change(folder / "sentence_bert_config.json", max_seq_length=sentence_bert)
    change(
        folder / "tokenizer_config.json",
        model_max_length=... if model_max_length is None else model_max_length,
    )
    assert read_config(folder).max_seq_length == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "roberta", r"unknown model_type 'roberta' \(known: bert\)"),
        ("model_type", ..., "unknown model_type None"),
        ("model_type", ["bert"], "unknown model_type"),
        ("hidden_act", "mish", r"does not implement hidden_act 'mish' \(known: gelu, "),
        (
            "position_embedding_type",
            "relative_key",
            "does not implement position_embedding_type 'relative_key'",
        ),
        ("is_decoder", True, "does not implement is_decoder"),
        ("hidden_size", ..., "has no hidden_size"),
        ("hidden_size", "20", "hidden_size must be a positive integer, not '20'"),
        ("num_hidden_layers", 0, "num_hidden_layers must be a positive integer, not 0"),
        ("vocab_size", True, "vocab_size must be a positive integer, not True"),
        ("layer_norm_eps", -1.0, "layer_norm_eps must be a number that is not negative"),
        ("layer_norm_eps", "tiny", "layer_norm_eps must be a number"),
        ("layer_norm_eps", 1e39, "layer_norm_eps must be a number that is not negative and fits float32"),
        ("num_attention_heads", 3, "hidden_size 20 is not a multiple of num_attention_heads 3"),
    ],
)
def test_config_json_is_refused_by_name(folder, field, value, message):
    change(folder / "config.json", **{field: value})
    with pytest.raises(ConfigError, match=message):
        read_config(folder)


def test_no_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json in .*: is this a model folder\?"):
        read_config(folder)


@pytest.mark.parametrize("content", ["{", "[]", "null", "\ufeff{}", "[" * 100_000])
def test_config_that_is_no_json_object(folder, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json (is not JSON|holds a JSON)"):
        read_config(folder)


@pytest.mark.parametrize("kind", ["Dense", "LayerNorm", "WeightedLayerPooling", "Router"])
def test_a_module_that_would_change_the_vectors_is_refused(folder, kind):
    tiny.write_sentence_transformers(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(
        2, {"idx": 2, "name": "2", "path": f"2_{kind}", "type": f"sentence_transformers.models.{kind}"}
    )
    tiny.write_json(folder / "modules.json", modules)
    with pytest.raises(ConfigError, match=f"does not implement the module {kind}"):
        read_config(folder)


@pytest.mark.parametrize("order", [[1, 0], [0], [0, 2], []])
def test_modules_in_another_order(folder, order):
    tiny.write_sentence_transformers(folder)
    modules = json.loads((folder / "modules.json").read_text())
    tiny.write_json(folder / "modules.json", [modules[i] for i in order])
    with pytest.raises(ConfigError, match="expected Transformer, Pooling and perhaps Normalize"):
        read_config(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_a_module_outside_the_folder(folder, path):
    tiny.write_sentence_transformers(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    tiny.write_json(folder / "modules.json", modules)
    with pytest.raises(ConfigError, match="leads out of the model folder"):
        read_config(folder)


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"type": "a"}]', "3"])
def test_modules_that_are_none(folder, content):
    (folder / "modules.json").write_text(content)
    with pytest.raises(ConfigError, match=r"modules\.json"):
        read_config(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling_mode": "attention"}, "unknown pooling mode 'attention'"),
        ({"pooling_mode": 3}, "unknown pooling mode 3"),
        ({"pooling_mode": []}, r"one or several different ones, not \(\)"),
        ({"pooling_mode": ["mean", "mean"]}, "one or several different ones"),
        ({"include_prompt": False}, "does not implement include_prompt false"),
        ({"embedding_dimension": 21}, "the embedding dimension is 21, but hidden_size is 20"),
    ],
)
def test_pooling_is_refused_by_name(folder, fields, message):
    tiny.write_sentence_transformers(folder)
    change(folder / "1_Pooling" / "config.json", **fields)
    with pytest.raises(ConfigError, match=message):
        read_config(folder)


def test_no_pooling_config(folder):
    tiny.write_sentence_transformers(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json in .*1_Pooling"):
        read_config(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": ["query: "]}, "prompts must map names to texts"),
        ({"prompts": {"query": 1}}, "prompts must map names to texts"),
        ({"default_prompt_name": "mine"}, "default_prompt_name 'mine' is not one of the prompts"),
        ({"similarity_fn_name": "hamming"}, "unknown similarity_fn_name 'hamming'"),
    ],
)
def test_config_sentence_transformers_is_refused_by_name(folder, fields, message):
    change(folder / "config_sentence_transformers.json", **fields)
    with pytest.raises(ConfigError, match=message):
        read_config(folder)


@pytest.mark.parametrize(
    ("name", "key"),
    [("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")],
)
@pytest.mark.parametrize("value", [0, -1, 0.5, "16", True, [16], float("nan")], ids=str)
def test_a_length_that_is_none(folder, name, key, value):
    change(folder / name, **{key: value})
    with pytest.raises(ConfigError, match=f"{name}: {key} must be a positive number, not"):
        read_config(folder)


@pytest.mark.parametrize("value", ["false", 1, []])
def test_do_lower_case_that_is_no_boolean(folder, value):
    change(folder / "sentence_bert_config.json", do_lower_case=value)
    with pytest.raises(ConfigError, match="do_lower_case must be true or false"):
        read_config(folder)


def test_another_task(folder):
    change(folder / "sentence_bert_config.json", transformer_task="sequence-classification")
    with pytest.raises(ConfigError, match="does not implement transformer_task 'sequence-classification'"):
        read_config(folder)
