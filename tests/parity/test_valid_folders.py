"""Folders as people have them: sentence-transformers' vector, or a refusal that names the file.

The folders are random subsets of the files and keys that sentence-transformers 2 to 6 and transformers 4 and
5 write. ``FOLDERS=1000`` draws more of them.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import exact
import numpy as np
import numpy.typing as npt
import pytest
import tiny
import tokenizers
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import models, processors

from minigte import CheckpointError, ConfigError, Embedder, InputError, TokenizerError

Float32 = npt.NDArray[np.float32]

FOLDERS = int(os.environ.get("FOLDERS", "120"))
TEXTS = [
    "the cat sat on the mat",
    "The CAT sat, É é 中文!",
    "",
    "a <e1> dog </e1> [SEP] <new>",
    "running dogs, running cats: 42! " * 4,
]
SIZE = len(tiny.VOCABULARY)


def settings(**fields: bool) -> dict[str, bool]:
    return {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False} | fields


class Maker:
    """Writes one folder; every choice comes from the seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        self.said: list[str] = []  # what is unusual about it

    def maybe(self, what: str, probability: float = 0.15) -> bool:
        chosen = bool(self.rng.random() < probability)
        if chosen:
            self.said.append(what)
        return chosen

    def one(self, *choices: Any) -> Any:
        choice = choices[self.rng.integers(len(choices))]
        self.said.append(repr(choice))
        return choice

    def write(self) -> Path:
        config = tiny.config(vocab_size=SIZE + 4, hidden_act=self.one("gelu", "gelu", "gelu_fast", "swish"))
        keys: dict[str, Any] = {"architectures": ["BertModel"], "pad_token_id": 0}
        if self.maybe("position_embedding_type"):
            keys["position_embedding_type"] = self.one("absolute", None, "relative_key")
        if self.maybe("unknown key in config.json", 0.04):
            keys["alibi_starting_size"] = 512
        if self.maybe("id2label"):
            keys |= {"id2label": {"0": "A"}, "label2id": {"A": 0}, "torch_dtype": "float32"}
        folder = tiny.write_model(
            self.folder, config, seed=5, prefix=self.one("", "bert."), unused=self.maybe("pooler"), **keys
        )
        self.change("config.json", lambda c: c.pop("layer_norm_eps") if self.maybe("no eps") else None)
        if self.maybe("fewer layers"):
            self.change("config.json", lambda c: c.update(num_hidden_layers=1))
        self.write_tokenizer()
        self.write_modules()
        return folder

    def change(self, name: str, change: Any) -> None:
        path = self.folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        change(content)
        tiny.write_json(path, content)

    def write_tokenizer(self) -> None:
        folder = self.folder
        tiny.write_tokenizer(folder, lowercase=self.one(True, False))
        stored = json.loads((folder / "tokenizer.json").read_text())
        if self.maybe("no post_processor"):
            stored["post_processor"] = None
        if self.maybe("truncation in tokenizer.json"):
            side = self.one("Right", "Left")
            stored["truncation"] = {
                "direction": side,
                "max_length": 9,
                "strategy": "LongestFirst",
                "stride": 0,
            }
        if self.maybe("NFKC"):
            stored["normalizer"] = {
                "type": "Sequence",
                "normalizers": [{"type": "NFKC"}, stored["normalizer"]],
            }
        tiny.write_json(folder / "tokenizer.json", stored)
        special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        tiny_config: dict[str, Any] = {f"{t.strip('[]').lower()}_token": t for t in special}
        name = self.one(
            "BertTokenizer", "BertTokenizerFast", None, "PreTrainedTokenizerFast", "DistilBertTokenizer"
        )
        if name is not None:
            tiny_config["tokenizer_class"] = name
        for key, values in {
            "do_lower_case": (True, False),
            "strip_accents": (None, True, False),
            "tokenize_chinese_chars": (True, False),
            "truncation_side": ("right", "left"),
            "model_max_length": (8, 32, 10**30),
            "clean_up_tokenization_spaces": (True,),
            "do_basic_tokenize": (True, False),
            "additional_special_tokens": (["<e1>", "</e1>"], []),
            "extra_special_tokens": (["<new>"], {"new_token": "<new>"}),
            "extra_token": ("<e1>",),
            "model_input_names": (["input_ids", "attention_mask"],),
            "padding_side": ("right", "left"),
            "split_special_tokens": (False, True),
            "unheard_of": (1,),
        }.items():
            if self.maybe(key, 0.12 if key != "unheard_of" else 0.03):
                tiny_config[key] = self.one(*values)
        if self.maybe("added_tokens_decoder", 0.3):
            decoder = {str(i): {"content": t, "special": True, **settings()} for i, t in enumerate(special)}
            if self.maybe("<e1> in it", 0.5):
                flags = settings(normalized=self.one(True, False))
                decoder[str(SIZE)] = {"content": "<e1>", "special": False, **flags}
            tiny_config["added_tokens_decoder"] = decoder
        if self.maybe("no tokenizer_config.json", 0.08):
            (folder / "tokenizer_config.json").unlink()
        else:
            tiny.write_json(folder / "tokenizer_config.json", tiny_config)
        if self.maybe("special_tokens_map.json", 0.3):
            mapped: dict[str, Any] = {"cls_token": "[CLS]", "mask_token": {"content": "[MASK]", **settings()}}
            if self.maybe("additional_special_tokens in it", 0.4):
                mapped["additional_special_tokens"] = ["<e1>", "</e1>"]
            tiny.write_json(folder / "special_tokens_map.json", mapped)
        if self.maybe("added_tokens.json"):
            tiny.write_json(folder / "added_tokens.json", {"<e1>": SIZE, "</e1>": SIZE + 1})
        if self.maybe("vocab.txt alone", 0.08):
            (folder / "vocab.txt").write_text("\n".join(tiny.VOCABULARY) + "\n")
            (folder / "tokenizer.json").unlink()

    def write_modules(self) -> None:
        folder, form = self.folder, self.one("old", "new")
        modes = self.one(["mean"], ["cls"], ["max"], ["cls", "mean"], ["weightedmean"])
        if self.maybe("no modules.json", 0.08):
            for name in ("modules.json", "1_Pooling/config.json", "2_Normalize/config.json"):
                (folder / name).unlink()
            return
        (folder / "2_Normalize" / "config.json").unlink()
        (folder / "1_Pooling" / "config.json").unlink()
        sentence_bert: dict[str, Any] = {}
        for key, values in {
            "max_seq_length": (6, 20, None),
            "do_lower_case": (True, False),
            "query_length": (5,),
            "document_length": (7,),
            "transformer_task": ("feature-extraction",),
            "processing_kwargs": ({}, {"text": {"max_length": 5}}),
            "config_args": ({}, {"hidden_act": "relu"}),
            "tokenizer_args": ({}, {"do_lower_case": False}),
            "model_args": ({}, {"attn_implementation": "eager"}),
            "unpad_inputs": (False,),
        }.items():
            if self.maybe(key, 0.3 if key == "max_seq_length" else 0.12):
                sentence_bert[key] = self.one(*values)
        sentence_transformers: dict[str, Any] = {}
        for key, values in {
            "prompts": ({"query": "the ", "mine": "a "}, {"query": None}),
            "truncate_dim": (7, 100, None),
            "similarity_fn_name": ("cosine", "cos_sim", None, "dot"),
            "model_type": ("SentenceTransformer", "SparseEncoder"),
            "__version__": ({"sentence_transformers": "2.2.2"},),
            "default_prompt_name": (None, "query"),
        }.items():
            if self.maybe(key, 0.2 if key != "model_type" else 0.08):
                sentence_transformers[key] = self.one(*values)
        tiny.write_sentence_transformers(
            folder,
            form=form,
            modes=modes,
            normalize=self.one(True, False),
            sentence_bert=sentence_bert or None,
            **sentence_transformers,
        )
        if sentence_bert and self.maybe("sentence_distilbert_config.json"):
            (folder / "sentence_bert_config.json").rename(folder / "sentence_distilbert_config.json")
        modules = json.loads((folder / "modules.json").read_text())
        package = "sentence_transformers.models"
        if self.maybe("another module", 0.2):
            kind = self.one("Normalize", "Dropout", "LayerNorm")
            modules.append({"idx": 3, "name": "3", "path": f"3_{kind}", "type": f"{package}.{kind}"})
            (folder / f"3_{kind}").mkdir()
            if kind == "Normalize" and self.maybe("module_input_name", 0.3):
                tiny.write_json(folder / f"3_{kind}/config.json", {"module_input_name": "token_embeddings"})
            elif kind == "Dropout":
                tiny.write_json(folder / f"3_{kind}/config.json", {"dropout": 0.2})
        if self.maybe("Normalize first", 0.06):
            modules.insert(1, {"idx": 9, "name": "9", "path": "9_N", "type": f"{package}.Normalize"})
        if self.maybe("0_Transformer"):
            (folder / "0_Transformer").mkdir()
            for path in list(folder.iterdir()):
                if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
                    path.rename(folder / "0_Transformer" / path.name)
            modules[0]["path"] = "0_Transformer"
        tiny.write_json(folder / "modules.json", modules)


def vectors(model: Any) -> list[Float32]:
    options = {"truncation": "ignore"} if isinstance(model, Embedder) else {}
    methods = (model.encode, model.encode_query, model.encode_document)
    return [method(TEXTS, **options) for method in methods]


refused: list[str] = []


@pytest.mark.parametrize("seed", range(FOLDERS))
def test_the_same_vectors_or_a_refusal(tmp_path: Path, seed: int) -> None:
    maker = Maker(tmp_path / "model", seed)
    folder = maker.write()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            embedder = Embedder(folder, backend="numpy")
            got = vectors(embedder)
        except (ConfigError, TokenizerError, CheckpointError) as error:
            refused.append(str(error))
            assert str(folder) in refused[-1]
            return
        except InputError as error:  # an empty text, where the tokenizer adds no special tokens
            if "has no tokens" not in str(error):
                raise
            return
        model = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
        ).eval()
        want = vectors(model)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape, maker.said
        assert exact.difference(ours, theirs) <= exact.VECTOR_BOUND, maker.said
    assert embedder.embedding_dimension == got[0].shape[1]


def test_most_folders_load() -> None:
    assert len(refused) < FOLDERS * 0.7, sorted(refused)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"additional_special_tokens": ["<new>"]},
        {"add_prefix_space": False},
        {"truncation_side": "left", "model_max_length": 6},
    ],
    ids=str,
)
def test_a_bert_with_the_tokenizer_of_xlm_roberta(tmp_path: Path, fields: dict[str, Any]) -> None:
    """multilingual-e5-small and others: transformers takes the vocabulary alone from this tokenizer.json."""
    pieces = ("▁the", "▁cat", "▁", "c", "a", "t", "s", "▁dog", "e", "h", "<e1>")
    vocabulary = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(piece, -1 - i / 3) for i, piece in enumerate(pieces)] + [("<mask>", 0.0)]
    folder = tiny.write_model(tmp_path, tiny.config(vocab_size=len(vocabulary) + 1))
    stored = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=3))
    stored.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    stored.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "XLMRobertaTokenizer", **fields}
    tiny.write_json(folder / "tokenizer_config.json", settings)
    texts = ["the cat <mask> sat <e1> dog", "", "  theses cats é  dog", "<new> cat"]
    model = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    ).eval()
    got = Embedder(folder, backend="numpy").encode(texts, truncation="ignore")
    assert exact.difference(got, model.encode(texts)) <= exact.VECTOR_BOUND
