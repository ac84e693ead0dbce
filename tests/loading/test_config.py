"""What a model folder's configuration files say, and what is refused, by name."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tiny

from minigte import AssumptionWarning, Embedder
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
        ("model_type", "xlnet", "unknown model_type 'xlnet' .known: bert, .*mpnet"),
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


@pytest.mark.parametrize("kind", ["LayerNorm", "LSTM", "WeightedLayerPooling", "Router"])
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
    with pytest.raises(ConfigError, match="expected Transformer, Pooling and optionally Dense or Normalize"):
        read_config(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_a_module_outside_the_folder(folder, path):
    tiny.write_sentence_transformers(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    tiny.write_json(folder / "modules.json", modules)
    with pytest.raises(ConfigError, match="points outside the model folder"):
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
        ({"include_prompt": None}, "include_prompt must be true or false, not None"),
        (
            {"include_prompt": False, "pooling_mode": ["mean", "weightedmean"]},
            "does not implement include_prompt false with weightedmean",
        ),
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


@pytest.mark.parametrize(
    ("name", "key", "value", "way_out"),
    [
        ("config.json", "alibi_starting_size", 512, "take it out"),
        ("config.json", "auto_map", {"AutoModel": "modeling.Model"}, r"known: null, \{\}"),
        ("config.json", "quantization_config", {"bits": 4}, "known: null"),
        ("config.json", "add_cross_attention", True, "known: false"),
        ("config_sentence_transformers.json", "model_type", "SparseEncoder", "known: SentenceTransformer"),
        ("config_sentence_transformers.json", "unheard_of", 1, "take it out"),
        ("config_sentence_transformers.json", "truncate_dim", 0, "positive integer"),
        ("sentence_bert_config.json", "processing_kwargs", {"text": {"max_length": 8}}, "max_seq_length"),
        (
            "sentence_bert_config.json",
            "tokenizer_args",
            {"do_lower_case": False},
            r"into tokenizer_config\.json",
        ),
        ("sentence_bert_config.json", "config_args", {"num_hidden_layers": 1}, r"into config\.json"),
        ("sentence_bert_config.json", "model_args", {"variant": "fp16"}, "take it out"),
        ("sentence_bert_config.json", "query_expansion", {"strategy": "min"}, "known: null"),
        ("sentence_bert_config.json", "query_length", 0, "positive number"),
        ("sentence_bert_config.json", "unheard_of", 1, "take it out"),
        ("sentence_roberta_config.json", "unheard_of", 1, "take it out"),
        ("1_Pooling/config.json", "unheard_of", 1, "take it out"),
        ("2_Normalize/config.json", "module_input_name", "token_embeddings", "known: sentence_embedding"),
        ("tokenizer_config.json", "unheard_of", 1, "take it out"),
        ("special_tokens_map.json", "do_lower_case", False, "take it out"),
    ],
)
def test_a_key_that_could_change_a_vector_is_refused(folder, name, key, value, way_out):
    change(folder / name, **{key: value})
    with pytest.raises(ConfigError, match=rf"(?s){name.replace('.', '[.]')}.*{way_out}") as raised:
        read_config(folder)
    assert key in str(raised.value) or str(value) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("config.json", {"position_embedding_type": None, "id2label": {"0": "A"}, "torch_dtype": "float16"}),
        ("config.json", {"max_length": 20, "num_beams": 1, "transformers.js_config": {"dtype": "q8"}}),
        ("config_sentence_transformers.json", {"__version__": {"sentence_transformers": "9"}}),
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": "sdpa"}, "tokenizer_args": {}}),
        ("sentence_bert_config.json", {"config_args": {"trust_remote_code": True}, "unpad_inputs": None}),
        ("tokenizer_config.json", {"chat_template": "x", "never_split": None, "add_bos_token": True}),
        ("2_Normalize/config.json", {"module_input_name": "sentence_embedding"}),
    ],
)
def test_a_key_that_changes_nothing_is_passed_over(folder, name, fields):
    before = read_config(folder)
    change(folder / name, **fields)
    assert dataclasses.replace(read_config(folder), tokenizer=before.tokenizer) == before


def test_lengths_and_truncate_dim(folder):
    change(folder / "sentence_distilbert_config.json", max_seq_length=9, query_length=5, document_length=99)
    change(folder / "config_sentence_transformers.json", truncate_dim=7)
    config = read_config(folder)
    assert (config.max_seq_length, config.query_length, config.document_length) == (9, 5, 32)
    assert config.truncate_dim == 7
    change(folder / "config_sentence_transformers.json", truncate_dim=20)
    assert read_config(folder).truncate_dim is None


def test_prompts_that_are_null_and_cos_sim(folder):
    path = folder / "config_sentence_transformers.json"
    change(path, prompts={"query": None}, default_prompt_name="document", similarity_fn_name="cos_sim")
    config = read_config(folder)
    assert config.prompts == {"query": ""}
    assert config.similarity_fn_name == "cosine"
    change(path, similarity_fn_name="dot_score")
    with pytest.raises(ConfigError, match="unknown similarity_fn_name 'dot_score'"):
        read_config(folder)


def modules(folder, *kinds):
    package = "sentence_transformers.models"
    whole = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
    for i, kind in enumerate(kinds, 1):
        path = "1_Pooling" if kind == "Pooling" else f"{i}_{kind}"
        kind = kind if "." in kind else f"{package}.{kind}"
        whole.append({"idx": i, "name": str(i), "path": path, "type": kind})
    tiny.write_json(folder / "modules.json", whole)


@pytest.mark.parametrize(
    ("kinds", "normalize"),
    [
        (["Pooling", "Dropout"], False),
        (["Pooling", "Normalize", "Normalize"], True),
        (["Pooling", "Dropout", "Normalize"], True),
        (["Normalize", "Pooling"], False),  # there is no vector yet that could be normalized
    ],
)
def test_modules_that_change_nothing(folder, kinds, normalize):
    modules(folder, *kinds)
    assert read_config(folder).normalize is normalize


@pytest.mark.parametrize("kinds", [["Dropout", "Pooling"], ["Pooling", "Pooling"], ["Normalize"]])
def test_modules_that_cannot_be(folder, kinds):
    modules(folder, *kinds)
    with pytest.raises(ConfigError, match=r"modules\.json"):
        read_config(folder)


def test_a_module_of_a_models_own_code(folder):
    modules(folder, "Pooling", "custom_st.Normalize")
    with pytest.raises(
        ConfigError, match=r"does not implement the module custom_st\.Normalize, which is code"
    ):
        read_config(folder)


@pytest.mark.parametrize("kind", ["StaticEmbedding", "Router", "BoW", "CLIPModel", "WordEmbeddings"])
def test_a_folder_without_an_encoder_is_refused_by_its_module(tmp_path, kind):
    package = "sentence_transformers.models"
    tiny.write_json(
        tmp_path / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": f"{package}.{kind}"}]
    )
    with pytest.raises(ConfigError, match=rf"modules\.json: minigte does not implement the module {kind}"):
        read_config(tmp_path)


def test_an_encoder_in_a_folder_of_its_own(folder):
    before = read_config(folder)
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    stated = json.loads((folder / "modules.json").read_text())
    stated[0]["path"] = "0_Transformer"
    tiny.write_json(folder / "modules.json", stated)
    assert read_config(folder) == dataclasses.replace(before, transformer="0_Transformer")
    want = Embedder(tiny.write_model(folder.parent / "flat"), backend="numpy").encode("the cat")
    np.testing.assert_array_equal(Embedder(folder, backend="numpy").encode("the cat"), want)
    change(folder / "0_Transformer" / "sentence_bert_config.json", max_seq_length=9)
    with pytest.raises(ConfigError, match=rf"no modules\.json: give {re.escape(str(folder))} as the model"):
        read_config(folder / "0_Transformer")


def test_an_adapter_is_refused(folder):
    tiny.write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(ConfigError, match=r"adapter_config\.json: .* merge_and_unload"):
        read_config(folder)


def test_remains_of_sentence_transformers_without_modules(tmp_path):
    folder = tiny.write_model(tmp_path, bare=True)
    change(folder / "sentence_bert_config.json", max_seq_length=9)
    with pytest.raises(
        ConfigError, match=r"sentence_bert_config\.json .* no modules\.json: download the complete folder"
    ):
        read_config(folder)


def test_what_was_assumed_is_said_once(tmp_path):
    folder = tiny.write_model(tmp_path, bare=True)
    with pytest.warns(
        AssumptionWarning, match=r"no modules\.json: mean pooling and no L2 norm .* otherwise"
    ) as seen:
        embedder = Embedder(folder, backend="numpy")
    assert len(seen) == 1
    assert np.linalg.norm(embedder.encode("the cat")) > 1.5


def test_queries_and_documents_are_cut_to_lengths_of_their_own(folder):
    change(folder / "sentence_bert_config.json", query_length=4, document_length=5)
    embedder = Embedder(folder, backend="numpy")
    text, options = "the cat sat on the mat", {"truncation": "ignore"}
    for encode, cut in (
        (embedder.encode, text),
        (embedder.encode_query, "the cat"),
        (embedder.encode_document, "the cat sat"),
    ):
        np.testing.assert_array_equal(encode(text, **options), embedder.encode(cut))


def test_truncate_dim_of_the_folder(folder):
    change(folder / "config_sentence_transformers.json", truncate_dim=7)
    embedder = Embedder(folder, backend="numpy")
    assert embedder.encode("the cat").shape == (embedder.embedding_dimension,) == (7,)
    assert embedder.encode("the cat", truncate_dim=9).shape == (9,)
