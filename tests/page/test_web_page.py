"""``minigte page``: what its scripts compute, in Node, beside what the package computes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
import tiny
from architectures import CASES
from click.testing import CliRunner
from nasty import LONE_SURROGATES, NASTY
from places import ROOT
from scripts import run

from minigte import Embedder, UnsupportedError
from minigte.cli.main import cli
from minigte.engine.level import levels_of
from minigte.engine.processor import machine
from minigte.explain.page import VIEWS
from minigte.loading.config import read_config
from minigte.loading.weights import load_weights
from minigte.page.site import PAGE, SITE, WORKER
from minigte.page.word_piece import word_piece
from minigte.reference import TEXTBOOKS
from minigte.vectors.pooling import normalize, pool

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="no node here: apt-get install nodejs"),
]


def node(task: str, **values: Any) -> Any:
    """What a task of run.mjs answers."""
    done = subprocess.run(
        ["node", str(HERE / "run.mjs"), str(SITE), task],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(tiny.write_model(tmp_path_factory.mktemp("tiny")), backend="numpy")


# --- The tokenizer ---------------------------------------------------------------------------------------


def test_nasty_texts_have_the_ids_of_the_tokenizers_library(embedder: Embedder) -> None:
    texts = [*NASTY.values(), "word " * 20_000, "é" * 100_000]
    found = node("tokenize", settings=word_piece(embedder.tokenizer), texts=texts)
    for text, of in zip(texts, found, strict=True):
        [wanted] = embedder.tokenizer.tokenize([text])
        assert of["ids"] == wanted.input_ids, text[:80]
        assert of["isCut"] == wanted.is_cut, text[:80]


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_is_normalized_and_split_as_there(lowercase: bool, tmp_path: Path) -> None:
    embedder = Embedder(tiny.write_model(tmp_path), backend="numpy")
    library = embedder.tokenizer.tokenizer
    settings = word_piece(embedder.tokenizer)
    if not lowercase:
        from tokenizers.normalizers import BertNormalizer

        library.normalizer = BertNormalizer(lowercase=False)
        settings |= {"lowercase": False, "stripAccents": False}
    points = [point for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    rng = random.Random(5)
    marks = [chr(point) for point in (*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x302A, 0x3030))]
    mixed = ["".join(rng.choices(["a", "E", "ё", " ", "が", *marks], k=12)) for _ in range(3000)]
    texts = [*(f"a{chr(point)}b" for point in points), *mixed]
    found = node("words", settings=settings, texts=texts)
    for text, words in zip(texts, found, strict=True):
        normal = library.normalizer.normalize_str(text)
        wanted = [word for word, _ in library.pre_tokenizer.pre_tokenize_str(normal)]
        assert words.split("\n") == wanted, ascii(text)


def test_the_table_of_characters_is_that_of_the_library(tmp_path: Path) -> None:
    run("tools/make_unicode", short=f"make_unicode.SITE = pathlib.Path({str(tmp_path)!r})")
    assert (tmp_path / "unicode.js").read_bytes() == (SITE / "unicode.js").read_bytes()


def test_a_lone_surrogate_is_refused_with_its_place(tiny_embedder: Embedder) -> None:
    for message in node("refuse", settings=word_piece(tiny_embedder.tokenizer), texts=LONE_SURROGATES):
        assert "lone surrogate" in message
        assert "toWellFormed" in message


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    tiny.write_model(tmp_path, tiny.config(vocab_size=300))
    tiny.write_byte_tokenizer(tmp_path)
    with pytest.raises(UnsupportedError, match=r"tokenizer.json.* is BPE, not WordPiece"):
        word_piece(Embedder(tmp_path, backend="numpy").tokenizer)


# --- What is computed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["cls", "lasttoken", "max", "mean"])
@pytest.mark.skipif(machine() != "x86_64", reason="NumPy adds in another order on other processors")
def test_pooling_has_the_bits_of_numpy(mode: str) -> None:
    rng = np.random.default_rng(0)
    for tokens, width in ((1, 5), (2, 12), (7, 20), (9, 384), (40, 77), (130, 40), (300, 16), (512, 384)):
        hidden = rng.normal(size=(tokens, width)).astype(np.float32)
        wanted = pool(hidden, np.array([0, tokens]), (mode,))
        values = {"hidden": hidden.ravel().tolist(), "width": width, "mode": mode}
        assert node("pool", **values, normalized=False) == wanted[0].tolist()
        assert node("pool", **values, normalized=True) == normalize(wanted)[0].tolist()


def test_the_hash_is_sha_256() -> None:
    lengths = [0, 1, 55, 56, 63, 64, 65, 1000, 200_000]
    for length, found in zip(lengths, node("sha256", lengths=lengths), strict=True):
        wanted = hashlib.sha256(bytes(i * 7 % 251 for i in range(length))).hexdigest()
        assert found == [wanted, wanted]


BASELINE = """
import sys, numpy, json
from minigte import Embedder
model, dtype, out = sys.argv[1:]
embedder = Embedder(model, dtype=dtype, backend="jit", threads=1)
assert embedder.backend.instructions.startswith("sse2")
numpy.save(out, embedder.encode(json.load(sys.stdin)))
"""
TEXTS = ["what is the capital of China?", "Beijing", "", "word " * 700, "Grüße 👍 [SEP] 中文", "a" * 3000]


def baseline(model: Path, dtype: str, folder: Path) -> np.ndarray:
    """The vectors of TEXTS on x86-64 without extensions."""
    if machine() != "x86_64":
        pytest.skip(f"no sse2 on {machine()}")
    assert next(iter(levels_of("x86_64"))) == "sse2"
    environment = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", BASELINE, str(model), dtype, str(folder / "wanted.npy")]
    subprocess.run(command, env=environment, input=json.dumps(TEXTS), text=True, check=True)
    return np.load(folder / "wanted.npy")


def make(*arguments: str | Path) -> None:
    result = CliRunner().invoke(cli, ["page", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.usefixtures("web_kernels")
def test_vectors_have_the_bits_of_the_baseline(gte_small: Path, dtype: str, tmp_path: Path) -> None:
    make(gte_small, "--dtype", dtype, "-o", tmp_path / "page")
    embedder = Embedder(gte_small, backend="numpy")
    tokens = [text.input_ids for text in embedder.tokenizer.tokenize(TEXTS)]
    wanted = baseline(gte_small, dtype, tmp_path)
    for batched in (True, False):
        found = node("embed", folder=str(tmp_path / "page"), tokens=tokens, batched=batched)
        assert np.array_equal(np.array(found, np.float32), wanted)


TEXT = "the cat sat on the mat"


def steps(model: Path, folder: Path, text: str, dtype: str, *offs: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page computes of a text step by step, with these heads and layers off."""
    make(model, "--dtype", dtype, "-o", folder / "page")
    [tokenized] = Embedder(model, backend="numpy").tokenizer.tokenize([text])
    return list(
        node("layers", folder=str(folder / "page"), ids=list(map(int, tokenized.input_ids)), offs=offs)
    )


def heads_of(rows: list[float], shape: tuple[int, ...], head_size: int) -> np.ndarray:
    """Rows as the page has them, (T, H K padded), as (H, T, K)."""
    heads, tokens, _ = shape
    padded = np.array(rows, np.float32).reshape(tokens, heads, -1).swapaxes(0, 1)
    assert not padded[:, :, head_size:].any()
    return padded[:, :, :head_size]


@pytest.mark.usefixtures("web_kernels")
def test_layers_are_those_of_explain(tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model")
    [found] = steps(model, tmp_path, TEXT, "float32", {})
    trace = Embedder(model, backend="numpy").explain(TEXT)
    states = np.array(found["states"], np.float32).reshape(trace.hidden_states.shape)
    np.testing.assert_allclose(states, trace.hidden_states, rtol=0, atol=1e-5)
    head_size = trace.config.spec.head_size
    for layer, of in zip(trace.layers, found["attention"], strict=True):
        wanted = layer.attention.self
        shape = wanted.probs.shape
        np.testing.assert_allclose(np.reshape(of["probabilities"], shape), wanted.probs, rtol=0, atol=1e-5)
        np.testing.assert_allclose(of["score"], 2 * [wanted.scores[-1, 0, 1]], rtol=0, atol=1e-5)
        for name in ("query", "key", "value", "context"):
            heads = heads_of(of[name], shape, head_size).swapaxes(0, 1)
            np.testing.assert_allclose(
                heads.reshape(wanted[name].shape), wanted[name], rtol=0, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.usefixtures("web_kernels")
def test_layers_one_by_one_have_the_bits_of_the_whole_pass(
    gte_small: Path, dtype: str, tmp_path: Path
) -> None:
    [found] = steps(gte_small, tmp_path, "what is the capital of China?", dtype, {})
    assert found["vector"] == found["whole"]
    trace = Embedder(gte_small, backend="numpy").explain("what is the capital of China?")
    shape = trace.attentions.shape[1:]
    for of, wanted in zip(found["attention"], trace.attentions, strict=True):
        probs = np.reshape(of["probabilities"], shape)
        # What the page makes of queries and keys is what the kernels gathered with.
        value, context = (heads_of(of[name], shape, 32) for name in ("value", "context"))
        np.testing.assert_allclose(probs @ value, context, rtol=0, atol=2e-5)
        if dtype == "float32":
            np.testing.assert_allclose(probs, wanted, rtol=0, atol=1e-4)
        else:
            assert np.abs(probs - wanted).mean() < 0.01


@pytest.mark.usefixtures("web_kernels")
def test_heads_and_layers_that_are_off(tmp_path: Path) -> None:
    """As the reference computes it without them; and afterwards the model has the same bits as before."""
    model = tiny.write_model(tmp_path / "model")
    off = {"layers": [0], "heads": [[1, 2], [1, 0]]}
    before, head, both, after = steps(
        model, tmp_path, TEXT, "float32", {}, {"heads": [[0, 1]]}, off, {"layers": [], "heads": []}
    )
    assert after == before
    assert [before["attention"][0] is None, both["attention"][0] is None] == [False, True]
    assert head["whole"] == both["whole"] == before["vector"]

    embedder = Embedder(model, backend="numpy")
    config, size = embedder.config, embedder.config.spec.head_size
    weights = load_weights(model, config)
    ids = np.array(embedder.tokenizer.tokenize([TEXT])[0].input_ids, np.int32)
    forward = TEXTBOOKS[config.architecture.name].forward

    def without(layer: Any, *heads: int) -> Any:
        kept = np.ones(layer.value_bias.shape, np.float32)
        for number in heads:
            kept[number * size : (number + 1) * size] = 0
        return replace(
            layer, value_weight=layer.value_weight * kept[:, None], value_bias=layer.value_bias * kept
        )

    first, second = weights.layers
    for found, layers in ((head, (without(first, 1), second)), (both, (without(second, 2, 0),))):
        encoder = replace(config.encoder, num_hidden_layers=len(layers))
        wanted = forward(encoder, replace(weights, layers=layers), ids, np.array([0, len(ids)]))
        last = np.array(found["states"][-1], np.float32).reshape(wanted.shape)
        np.testing.assert_allclose(last, wanted, rtol=0, atol=1e-5)


def blocks(model: Path, folder: Path, text: str, dtype: str, token: int) -> Any:
    """What the page computes of one token, block by block."""
    make(model, "--dtype", dtype, "-o", folder / "page")
    [tokenized] = Embedder(model, backend="numpy").tokenizer.tokenize([text])
    ids = list(map(int, tokenized.input_ids))
    return node("blocks", folder=str(folder / "page"), ids=ids, token=token)


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "gelu_10", "relu", "silu"])
@pytest.mark.usefixtures("web_kernels")
def test_blocks_are_those_of_explain(act: str, tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model", tiny.config(hidden_act=act))
    found = blocks(model, tmp_path, TEXT, "float32", 4)
    trace = Embedder(model, backend="numpy").explain(TEXT)
    for layer, of in zip(trace.layers, found["blocks"], strict=True):
        for name, wanted in (
            ("attended", layer.attention.output.dense),
            ("first", layer.attention.output.LayerNorm),
            ("input", layer.attention.output.LayerNorm),
            ("before", layer.intermediate.dense),
            ("after", layer.intermediate.intermediate_act_fn),
            ("activated", layer.intermediate.intermediate_act_fn),
            ("fed", layer.output.dense),
            ("second", layer.output.LayerNorm),
        ):
            np.testing.assert_allclose(of[name], wanted[4], rtol=0, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(found["sums"], trace.hidden_states[:, 4], rtol=0, atol=2e-5)
    np.testing.assert_allclose(np.sum(found["shares"], axis=1), 1, rtol=0, atol=1e-9)
    weights = load_weights(model, read_config(model)).layers[1]
    width, wide = trace.config.spec.hidden_size, trace.config.spec.intermediate_size
    assert found["neuron"]["input"][:width] == weights.intermediate_weight[3].tolist()
    assert found["neuron"]["bias"] == weights.intermediate_bias[3]
    assert found["neuron"]["output"][:width] == weights.output_weight[:, 3].tolist()
    assert found["number"]["input"][:wide] == weights.output_weight[5].tolist()
    assert found["number"]["bias"] == weights.output_bias[5]
    lengths = np.linalg.norm(weights.output_weight, axis=0)
    np.testing.assert_allclose(found["lengths"][:wide], lengths, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.usefixtures("web_kernels")
def test_blocks_lead_to_the_states_of_the_kernels(gte_small: Path, dtype: str, tmp_path: Path) -> None:
    """Also in int8: what a product reads is rounded as the kernels round it."""
    found = blocks(gte_small, tmp_path, "what is the capital of China?", dtype, 4)
    for of, state in zip(found["blocks"], found["states"][1:], strict=True):
        np.testing.assert_allclose(of["second"], state, rtol=0, atol=2e-3 if dtype == "int8" else 2e-5)


@pytest.mark.parametrize("name", ["t5", "mpnet"])
def test_models_that_attend_otherwise_are_refused(name: str, tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "model", CASES[name].config)
    message = error(tmp_path / "model", "-o", tmp_path / "page")
    assert "cannot show how" in message
    assert "thenlper/gte-small" in message


def test_a_browser_without_web_assembly() -> None:
    assert "WebAssembly is missing" in node("without_web_assembly")


# --- What is written -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("web_kernels")
def test_two_pages_are_the_same(tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model")
    for name in ("one", "two", "one.html", "two.html"):
        make(model, "-o", tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    made = "disk.js", "index.html", "kernels.wasm", "model.json", "package.json", "style.css", "weights.bin"
    assert files == sorted({*WORKER, *PAGE, *made})
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_joined_modules_have_every_name_once() -> None:
    for names in (WORKER, PAGE):
        text = "".join(
            (VIEWS if name == VIEWS.name else SITE / name).read_text(encoding="utf-8") for name in names
        )
        found = re.findall(
            r"^(?:export )?(?:async )?(?:const|let|class|function\*?) (\w+)", text, re.MULTILINE
        )
        assert len(found) == len(set(found)), sorted(name for name in found if found.count(name) > 1)


def test_passages_stand_behind_their_headings() -> None:
    text = "first\nline\r\n\r\n# A *title*\nbelow it\n\n\n## Next ##\n\nOne. " + "Two words. " * 200
    found = node("passages", text=text)
    assert found[:2] == ["first\nline", "A *title*\nbelow it"]
    assert all(passage.startswith("Next\n") and len(passage) < 1100 for passage in found[2:])
    assert "".join(p.removeprefix("Next\n").replace(" ", "") for p in found[2:]) == "One." + "Twowords." * 200
    assert node("passages", text=" \n\n# only a heading\n") == []


def error(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, ["page", *map(str, arguments)])
    assert result.exit_code != 0
    return str(result.exception) if result.exit_code == 1 else result.output


def test_no_output(tmp_path: Path) -> None:
    assert "--output" in error(tmp_path)


def test_kernels_that_were_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minigte.engine import web

    monkeypatch.setattr(web, "folder", lambda: tmp_path)
    message = error(tiny.write_model(tmp_path / "model"), "-o", tmp_path / "page")
    assert "kernels-web-wasm32.wasm was not built" in message
    assert "minigte.engine.build --platform web-wasm32" in message
    assert not (tmp_path / "page").exists()


@pytest.mark.usefixtures("web_kernels")
def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model")
    (tmp_path / "file").touch()
    assert f"cannot write {tmp_path / 'file'}" in error(model, "-o", tmp_path / "file")


@pytest.mark.usefixtures("web_kernels", "model_by_name")
def test_docs_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/page.md: its commands print what it shows, and what they make has the sizes it tells."""
    page = ROOT / "docs" / "page.md"
    monkeypatch.chdir(tmp_path)
    [shown] = [text for language, text in pages.blocks(page) if language == "console"]
    for command, printed in re.findall(r"^\$ minigte page (.*)\n(.*)\n", shown, re.MULTILINE):
        result = CliRunner().invoke(cli, ["page", *command.split()], catch_exceptions=False)
        assert result.output == f"{printed}\n"
    fetched = sum(path.stat().st_size for path in (tmp_path / "gte-small-page").iterdir())
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert f"The browser fetches {fetched / 1e6:.0f} MB" in text
    assert f"holds everything, {(tmp_path / 'gte-small.html').stat().st_size / 1e6:.0f} MB of it" in text
    plan = json.loads((tmp_path / "gte-small-page" / "model.json").read_text(encoding="utf-8"))
    assert f"for gte-small {plan['size'] / 1e6:.0f} MB for the model" in text
