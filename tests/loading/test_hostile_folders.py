"""Spoiled model folders give a working model or one clear line: no crash, no hang, no memory, no code run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile
import pytest
import state_dicts
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigte.errors import MESSAGE_LIMIT, MinigteError

JSON_FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
FORMS = ("safetensors", "F16", "BF16", "shards", "onnx", "zip", "old")

spoil = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Folder:
    """A valid model folder whose files are spoiled one at a time."""

    def __init__(self, folder: Path, form: str) -> None:
        self.folder = hostile.write_valid(folder, form)
        self.files = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        assert hostile.check(self.folder) is None

    def check(self, name: str, content: bytes) -> str | None:
        """What becomes of the model with this file's content changed; the file is put back."""
        path = self.folder / name
        path.write_bytes(content)
        try:
            return hostile.check(self.folder)
        finally:
            path.write_bytes(self.files[name])


@pytest.fixture(scope="module", params=FORMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    if request.param == "onnx":
        pytest.importorskip("onnx", reason="the onnx extra is not installed")
    return Folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("plain"), "safetensors")


def weight_files(folder: Folder) -> list[str]:
    return [name for name in folder.files if name.startswith(("model", "pytorch_model"))]


@pytest.mark.parametrize("name", JSON_FILES)
@spoil
@given(data=st.data())
def test_json_with_spoiled_values(plain: Folder, name: str, data: st.DataObject) -> None:
    value = json.loads(plain.files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        value = data.draw(hostile.spoiled_json(value))
    plain.check(name, hostile.dump(value))


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "post_processor", "added_tokens", "model"])
@spoil
@given(data=st.data())
def test_tokenizer_with_spoiled_parts(plain: Folder, part: str, data: st.DataObject) -> None:
    """As above, but not lost in the vocabulary."""
    value = json.loads(plain.files["tokenizer.json"])
    whole = value[part]
    kept = {key: whole.pop(key) for key in ("vocab",) if key in whole}
    value[part] = data.draw(hostile.spoiled_json(whole))
    if isinstance(value[part], dict):
        value[part] |= kept
    plain.check("tokenizer.json", hostile.dump(value))


@pytest.mark.parametrize("name", JSON_FILES)
@spoil
@given(data=st.data())
def test_json_with_spoiled_bytes(plain: Folder, name: str, data: st.DataObject) -> None:
    plain.check(name, data.draw(hostile.spoiled_bytes(plain.files[name])))


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize("value", ["1", "null", "[]", "NaN", '"a"'])
def test_json_with_a_key_twice(plain: Folder, name: str, value: str) -> None:
    content = plain.files[name].decode()
    for key in [line.split('"')[1] for line in content.splitlines() if '":' in line][:20]:
        plain.check(name, content.replace("}", f', "{key}": {value}}}').encode())
        plain.check(name, content.replace("{", f'{{"{key}": {value}, ').encode())


@spoil
@given(data=st.data())
def test_weights_with_spoiled_bytes(model: Folder, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(weight_files(model)))
    model.check(name, data.draw(hostile.spoiled_bytes(model.files[name])))


@spoil
@given(data=st.data())
def test_weights_with_a_spoiled_header(model: Folder, data: st.DataObject) -> None:
    """The header of safetensors, the index of shards, the fields of an ONNX export."""
    name = data.draw(st.sampled_from(weight_files(model)))
    content = model.files[name]
    if name.endswith(".safetensors"):
        spoiled = hostile.with_header(content, lambda header: data.draw(hostile.spoiled_json(header)))
    elif name.endswith(".json"):
        spoiled = hostile.dump(data.draw(hostile.spoiled_json(json.loads(content))))
    elif name.endswith(".onnx"):
        spoiled = data.draw(spoiled_onnx(content))
    else:  # a state dict begins with what describes it
        spoiled = data.draw(hostile.spoiled_bytes(content[:4096])) + content[4096:]
    model.check(name, spoiled)


@st.composite
def spoiled_onnx(draw: st.DrawFn, content: bytes) -> bytes:
    import onnx

    export = onnx.load_from_string(content)
    graph = export.graph
    number = st.sampled_from([0, 1, -1, 20, 2**31, 2**62, 2**63 - 1, -(2**63)])
    for _ in range(draw(st.integers(1, 3))):
        tensor = draw(st.sampled_from(list(graph.initializer)))
        match draw(st.sampled_from(["dims", "type", "location", "raw", "name", "floats", "node", "drop"])):
            case "dims":
                tensor.dims[:] = draw(st.lists(number, max_size=70))
            case "type":
                tensor.data_type = draw(st.integers(-1, 30))
            case "location":
                tensor.data_location = draw(st.sampled_from([0, 1]))
                tensor.external_data.add(key="location", value="../../../etc/passwd")
            case "raw":
                tensor.raw_data = draw(st.binary(max_size=100))
            case "name":
                tensor.name = draw(st.text(max_size=20))
            case "floats":
                tensor.ClearField("raw_data")
                tensor.float_data[:] = [draw(st.floats(width=32))] * draw(st.integers(0, 2000))
            case "node":
                draw(st.sampled_from(list(graph.node))).name = draw(st.text(max_size=20))
            case "drop":
                graph.initializer.remove(tensor)
    return export.SerializeToString()


CHILD = """
import resource, sys
import hostile
from minigte import Embedder

used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
hostile.check(hostile.Path(sys.argv[1]))  # a valid folder: what a small model takes
before = used()
limit = 2 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
print(hostile.check(hostile.Path(sys.argv[2])))
print(used() - before)
"""
MB = 1 << 20
GB = 1 << 30


def run(valid: Path, folder: Path) -> tuple[str, int]:
    """Open a folder in a child with 2 GB of address space: the message, and the bytes it took."""
    process = subprocess.run(
        [sys.executable, "-c", CHILD, str(valid), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    message, used = process.stdout.splitlines()
    return message, int(used)


def change(folder: Path, name: str, **fields: Any) -> None:
    path = folder / name
    tiny.write_json(path, json.loads(path.read_text()) | fields)


def change_tokenizer(folder: Path, **parts: Any) -> None:
    change(folder, "tokenizer.json", **parts)


def claim(folder: Path, header: bytes, length: int | None = None, size: int = 0) -> None:
    """Write a safetensors file whose header claims anything, and as many bytes of holes."""
    with (folder / "model.safetensors").open("wb") as file:
        file.write((len(header) if length is None else length).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def claim_tensor(folder: Path, name: str, dtype: str) -> None:
    """A whole safetensors file with one tensor: 1 GB of holes."""
    shape = [GB // {"F32": 4, "BF16": 2}[dtype]]
    header = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, GB]}}
    claim(folder, json.dumps(header).encode(), size=GB)


def claim_onnx(folder: Path) -> None:
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").touch()
    os.truncate(folder / "model.onnx", 1 << 40)


def repeat(step: dict[str, Any], times: int) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": [step] * times}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def template(*ids: int, pieces: int = 1) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            *([{"Sequence": {"id": "A", "type_id": 0}}] * pieces),
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": list(ids), "tokens": ["[CLS]"] * len(ids)}},
    }


def word_piece(folder: Path, **fields: Any) -> dict[str, Any]:
    return json.loads((folder / "tokenizer.json").read_text())["model"] | fields


EXABYTE = 1 << 60
CHARSMAP = base64.b64encode((0).to_bytes(4, "little") + b"a" * 100_000 + b"\0").decode()
A_TO_AA = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}

RUNAWAYS = {
    "vocab_size 10**12": (
        lambda f: change(f, "config.json", vocab_size=10**12),
        r"needs about \d+ MB, but its limit of address space",
    ),
    "num_hidden_layers 10**9": (
        lambda f: change(f, "config.json", num_hidden_layers=10**9),
        r"needs about \d+ MB, but its limit of address space",
    ),
    "a vocab_size that there is memory for": (
        lambda f: change(f, "config.json", vocab_size=10**6),
        r"has shape \(\d+, 20\), config.json says \(1000000, 20\)",
    ),
    "num_hidden_layers that there is memory for": (
        lambda f: change(f, "config.json", num_hidden_layers=10**4),
        r"no tensor encoder\.layer\.1\.",
    ),
    "a limit without end": (
        lambda f: change(f, "sentence_bert_config.json", max_seq_length=float("inf")),
        "^None$",
    ),
    "layer_norm_eps beyond float32": (
        lambda f: change(f, "config.json", layer_norm_eps=1e300),
        "layer_norm_eps must be .* fits float32",
    ),
    "a config of 1 TB": (lambda f: os.truncate(f / "config.json", 1 << 40), "larger than 16 MB"),
    "modules of 1 TB": (lambda f: os.truncate(f / "modules.json", 1 << 40), "larger than 16 MB"),
    "a tokenizer of 1 TB": (lambda f: os.truncate(f / "tokenizer.json", 1 << 40), "larger than 256 MB"),
    "16 MB of brackets": (
        lambda f: (f / "config.json").write_bytes(b"[" * (16 << 20)),
        "config.json is not JSON",
    ),
    "a pooling path with a NUL": (
        lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace("1_Pooling", "a\\u0000")
        ),
        "is not the path of a folder",
    ),
    "a module's type that writes to the terminal": (
        lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace(".Pooling", ".\\u001b[31m\\nPooling")
        ),
        r"the module \\x1b\[31m\\nPooling",
    ),
    "a prompt that is no text": (
        lambda f: change(f, "config_sentence_transformers.json", prompts={"document": "\ud800"}),
        "the prompt 'document' holds a lone surrogate",
    ),
    "a header of 2**63 bytes": (lambda f: claim(f, b"{}", length=1 << 63), "not a complete safetensors file"),
    "a header of 90 MB that is not there": (
        lambda f: claim(f, b"{}", length=90 * MB),
        "not a complete safetensors file",
    ),
    "a tensor of an exabyte": (
        lambda f: claim(
            f, b'{"a": {"dtype": "F32", "shape": [%d], "data_offsets": [0, %d]}}' % (EXABYTE, 4 * EXABYTE)
        ),
        "not a complete safetensors file",
    ),
    "1 GB under a name of the model's": (
        lambda f: claim_tensor(f, "embeddings.word_embeddings.weight", "F32"),
        r"word_embeddings\.weight has shape \(268435456,\), config\.json says",
    ),
    "1 GB in bfloat16": (
        lambda f: claim_tensor(f, "embeddings.word_embeddings.weight", "BF16"),
        r"word_embeddings\.weight has shape \(536870912,\), config\.json says",
    ),
    "1 GB under an unknown name": (lambda f: claim_tensor(f, "a", "F32"), "has no tensor"),
    "1 GB under a name that is not used": (lambda f: claim_tensor(f, "pooler.a", "BF16"), "has no tensor"),
    "an ONNX export of 1 TB": (claim_onnx, "larger than the 2 GB"),
    "a tensor of 100 axes": (
        lambda f: claim(
            f,
            b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % b",".join([b"1"] * 100),
            size=4,
        ),
        r"model\.safetensors",
    ),
    "an expression that never ends": (
        lambda f: change_tokenizer(f, pre_tokenizer=split("(a+)+$")),
        r"does not run the regular expression '\(a\+\)\+\$'",
    ),
    "a normalizer that doubles 60 times": (
        lambda f: change_tokenizer(f, normalizer=repeat(A_TO_AA, 60)),
        "could make a text .* times longer",
    ),
    "a normalizer that doubles nothing": (
        lambda f: change_tokenizer(f, normalizer=repeat(A_TO_AA | {"pattern": {"String": ""}}, 20)),
        "could make a text .* times longer",
    ),
    "a normalizer with a long map": (
        lambda f: change_tokenizer(f, normalizer={"type": "Precompiled", "precompiled_charsmap": CHARSMAP}),
        r"tokenizer\.json",
    ),
    "words without a limit": (
        lambda f: change_tokenizer(f, model=word_piece(f, max_input_chars_per_word=10**9)),
        r"max_input_chars_per_word 1000000000 \(limit: 1000\)",
    ),
    "pieces of no length": (
        lambda f: change_tokenizer(f, pre_tokenizer={"type": "FixedLength", "length": 0}),
        r"tokenizer\.json fails over a text",
    ),
    "an unknown token that is not there": (
        lambda f: change_tokenizer(f, model=word_piece(f, unk_token="[NONE]")),
        r"tokenizer\.json fails over a text",
    ),
    "two post-processors that do not go together": (
        lambda f: change_tokenizer(
            f, post_processor={"type": "Sequence", "processors": [template(2), template(2)]}
        ),
        "the post_processor must use each text exactly once",
    ),
    "a special token beyond the vocabulary": (
        lambda f: change_tokenizer(f, post_processor=template(4_000_000_000)),
        "does not belong to these weights: it made .* the largest 4000000000",
    ),
    "a template that repeats the text": (
        lambda f: change_tokenizer(f, post_processor=template(2, pieces=50)),
        "the post_processor must use each text exactly once",
    ),
    "a template without the text": (
        lambda f: change_tokenizer(f, post_processor=template(2, pieces=0)),
        "the post_processor must use each text exactly once",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits and holes in files are Linux's")
@pytest.mark.parametrize("name", RUNAWAYS)
def test_runaways(plain: Folder, tmp_path: Path, name: str) -> None:
    spoil_it, expected = RUNAWAYS[name]
    folder = hostile.write_valid(tmp_path / "model", "safetensors")
    spoil_it(folder)
    message, used = run(plain.folder, folder)
    assert re.search(expected, message), message
    assert used < 64 * MB + 30 * min(17 * MB, sum(f.stat().st_blocks * 512 for f in folder.rglob("*")))


SPECIAL_FILES = {
    "a named pipe": lambda path: os.mkfifo(path),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such devices here")
@pytest.mark.parametrize("kind", SPECIAL_FILES)
@pytest.mark.parametrize("form", ["safetensors", "shards", "onnx"])
def test_what_is_no_file(tmp_path: Path, form: str, kind: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnx", reason="the onnx extra is not installed")
    folder = hostile.write_valid(tmp_path / "model", form)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        path.unlink()
        SPECIAL_FILES[kind](path)
        hostile.check(folder)
        path.rmdir() if kind == "a folder" else path.unlink()
        path.write_bytes(kept)
    assert hostile.check(folder) is None


def test_a_pooling_folder_that_is_a_link_out_of_the_model(tmp_path: Path) -> None:
    folder = hostile.write_valid(tmp_path / "model", "safetensors")
    (folder / "1_Pooling").rename(tmp_path / "elsewhere")
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    assert "points outside the model folder" in str(hostile.check(folder))


def test_files_that_are_links_as_in_the_hugging_face_cache(tmp_path: Path) -> None:
    """There each file of a snapshot is a link to a blob beside the snapshots."""
    folder = hostile.write_valid(tmp_path / "model", "safetensors")
    for i, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(tmp_path / f"blob-{i}")
        path.symlink_to(tmp_path / f"blob-{i}")
    assert hostile.check(folder) is None


@pytest.mark.parametrize(
    "name", ["a\0.safetensors", "\ud800.safetensors", "x" * 300 + ".safetensors", "..", "."]
)
def test_an_index_of_files_that_cannot_be(tmp_path: Path, name: str) -> None:
    folder = hostile.write_valid(tmp_path / "model", "shards")
    (folder / "model.safetensors.index.json").write_bytes(hostile.dump({"weight_map": {"a": name}}))
    assert hostile.check(folder) is not None


WATCH = """
import json, os, sys
import minigte
from hostile import TEXTS

seen = []
def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        seen.append(["open", os.fsdecode(args[0])])
    elif event.partition(".")[0] in ("pickle", "marshal", "exec", "subprocess", "os", "socket", "ctypes"):
        seen.append([event, repr(args)[:100]])
for again in False, True:  # the first time imports what is needed
    if again:
        sys.addaudithook(watch)
    for folder in sys.argv[1:]:
        try:
            minigte.Embedder(folder, backend="numpy").encode(TEXTS, truncation="ignore")
        except minigte.MinigteError as error:
            print(error, file=sys.stderr)
print(json.dumps(seen))
"""


class RunsCode:
    """What a pickle can do to whoever opens it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def test_no_other_pickle_is_opened_and_no_code_run(tmp_path: Path) -> None:
    """With weights beside the pickles, and without: every file that Python opens is watched.

    ``pytorch_model.bin`` is opened only where there is no safetensors, and what it asks for is not done.
    """
    poison = pickle.dumps(RunsCode(tmp_path / "canary"))
    folders = []
    for form in ("safetensors", "shards", "poison", "poison in a zip"):
        folder = hostile.write_valid(tmp_path / form, form)
        if form.startswith("poison"):
            (folder / "model.safetensors").unlink()
        for name in (
            "pytorch_model.bin",
            "model.pt",
            "model.pkl",
            "training_args.bin",
            "optimizer.pt",
            "rng.pth",
        ):
            (folder / name).write_bytes(poison)
        if form == "poison in a zip":
            state_dicts.write(folder / "pytorch_model.bin", {}, change=lambda _: poison)
        (folder / "1_Pooling" / "pytorch_model.bin").write_bytes(poison)
        (folder / "modeling_bert.py").write_text("raise SystemExit(1)")
        folders.append(folder)
    process = subprocess.run(
        [sys.executable, "-c", WATCH, *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    seen = json.loads(process.stdout)
    for form in ("poison", "poison in a zip"):
        assert f"{form}/pytorch_model.bin asks for {os.mkdir.__module__}.mkdir" in process.stderr
    opened = {Path(name).resolve() for event, name in seen if event == "open"}
    opened = {path for path in opened if path.parts[1] not in ("proc", "sys")}  # how much memory there is
    assert {folder / "config.json" for folder in folders} <= opened  # the watch works
    assert [path for path in opened if tmp_path not in path.parents] == []
    weights = {path.relative_to(tmp_path).as_posix() for path in opened if path.suffix != ".json"}
    assert {name for name in weights if not name.endswith(".safetensors")} == {
        "poison/pytorch_model.bin",
        "poison in a zip/pytorch_model.bin",
    }
    assert [event for event in seen if event[0] != "open"] == []
    assert not (tmp_path / "canary").exists()
    with pytest.raises(FileNotFoundError):  # the poison is one
        pickle.loads(pickle.dumps(RunsCode(tmp_path / "no" / "canary")))


def test_a_message_is_one_printable_line() -> None:
    assert str(MinigteError("a\nb\x1b[31m\u2028\ud800 é中")) == "a\\nb\\x1b[31m\\u2028\\ud800 é中"
    long = str(MinigteError("begin" + "x" * 10**6 + "end"))
    assert long.startswith("begin")
    assert long.endswith("end")
    assert len(long) <= MESSAGE_LIMIT + 3
