"""Every form in which a model folder may hold its weights and its configuration gives the same model."""

from __future__ import annotations

from pathlib import Path

import exact
import numpy as np
import pytest
import tiny

from minigte.loading.config import ModelConfig, read_config
from minigte.loading.weights import load_weights
from minigte.vectors.head import Normalize
from minigte.vectors.pooling import POOLING_MODES


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("unused", [False, True], ids=["", "pooler and position_ids"])
@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("dtype", tiny.STORED)
def test_weights(tmp_path: Path, dtype: str, prefix: str, unused: bool, shards: int) -> None:
    folder = tiny.write_model(tmp_path, dtype=dtype, prefix=prefix, unused=unused, shards=shards)
    got = exact.named(tiny.CONFIG, load_weights(folder, read_config(folder)))
    for name, array in tiny.tensors().items():
        assert got[name].dtype == np.float32
        assert got[name].flags.c_contiguous
        assert not got[name].flags.writeable
        np.testing.assert_array_equal(got.pop(name), tiny.STORED[dtype](array), err_msg=name)
    assert not got


def test_a_folder_of_config_weights_and_tokenizer_alone(tmp_path: Path) -> None:
    config = read_config(tiny.write_model(tmp_path, bare=True))
    assumed = ("mean pooling", "no L2 norm", "max_seq_length 32")
    assert config == ModelConfig("bert", tiny.CONFIG, 32, tokenizer=config.tokenizer, assumed=assumed)


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("modes", [*((mode,) for mode in POOLING_MODES), ("cls", "max", "lasttoken")])
def test_modules(tmp_path: Path, modes: tuple[str, ...], normalize: bool, form: str) -> None:
    folder = tiny.write_sentence_transformers(
        tiny.write_model(tmp_path),
        form=form,
        modes=modes,
        normalize=normalize,
        sentence_bert={"max_seq_length": 17, "do_lower_case": True},
        prompts={"query": "q: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
    )
    config = read_config(folder)
    assert config == ModelConfig(
        "bert",
        tiny.CONFIG,
        tokenizer=config.tokenizer,
        max_seq_length=17,
        do_lower_case=True,
        pooling_modes=modes,
        head=(Normalize(),) * normalize,
        prompts={"query": "q: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
    )
