"""Hostile model folders: valid tiny ones, ways to spoil their files, and what must hold for each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import state_dicts
import tiny
from hypothesis import strategies as st

from minigte import Embedder, InputError, MinigteError

os.environ["RUST_BACKTRACE"] = "0"  # panics of the tokenizers library are expected, and short on stderr

TEXTS = ["", "the cat sat on the mat", "[CLS] 中é\u0301 😀 \0" + "x" * 200, "a, b! " * 2000]

HOSTILE_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**32 - 1, 2**63, 2**64, 10**12, 10**400, -(10**12)),
    *(0.5, -0.0, 1e-320, 1e30, 3.5e38, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "a", "\0", "\ud800", "\r\n\x1b[31m", "x" * 5000, "..", "../../../etc/passwd", "/etc/passwd"),
    *("bert", "gelu", "relu", "dot", "mean", "lasttoken", "Pooling", "[UNK]", "(a+)+$", "F16", "BF16", "F64"),
    *([], {}, [[]], {"": {}}, [1, 2], [None], ["a", "a"], {"a": "b"}),
]


def nested(depth: int, kind: str) -> Any:
    """Lists or objects within each other."""
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


hostile_values = st.one_of(
    st.sampled_from(HOSTILE_VALUES),
    st.builds(nested, st.integers(1, 200), st.sampled_from(["list", "object"])),
    st.text(max_size=20),
    st.integers(),
    st.floats(),
)


@st.composite
def spoiled_json(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced, left out, added, or moved to another place."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {k: v for k, v in value.items() if k != key}
        return draw(
            st.one_of(
                st.builds(lambda v: value | {key: v}, spoiled_json(value[key])),
                st.just(rest),
                st.builds(lambda k, v: rest | {k: v}, st.text(max_size=20), st.just(value[key])),
                st.builds(lambda v: value | {key: v}, st.sampled_from(list(value.values()))),
            )
        )
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        i = draw(st.integers(0, len(value) - 1))
        return draw(
            st.one_of(
                st.builds(lambda v: [*value[:i], v, *value[i + 1 :]], spoiled_json(value[i])),
                st.just(value[:i] + value[i + 1 :]),
                st.just([*value, value[i]]),
                st.just(value[::-1]),
            )
        )
    return draw(hostile_values)


@st.composite
def spoiled_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The content cut short, with bits flipped, bytes put in or taken out, or a giant number written in."""
    place = st.integers(0, max(0, len(content) - 1)) | st.integers(0, min(300, max(0, len(content) - 1)))
    for _ in range(draw(st.integers(1, 4))):
        i = draw(place)
        match draw(st.sampled_from(["cut", "flip", "set", "insert", "remove", "number", "repeat"])):
            case "cut":
                content = content[:i]
            case "flip" if content[i : i + 1]:
                content = content[:i] + bytes([content[i] ^ 1 << draw(st.integers(0, 7))]) + content[i + 1 :]
            case "set":
                content = content[:i] + draw(st.binary(min_size=1, max_size=1)) + content[i + 1 :]
            case "insert":
                content = content[:i] + draw(st.binary(max_size=8)) + content[i:]
            case "remove":
                content = content[:i] + content[i + draw(st.integers(1, 100)) :]
            case "number":
                number = draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]))
                content = content[:i] + number.to_bytes(8, "little") + content[i + 8 :]
            case "repeat":
                content = content[:i] + content[i : i + 50] * draw(st.integers(1, 20)) + content[i + 50 :]
    return content


def write_valid(folder: Path, form: str) -> Path:
    """A tiny model with sentence-transformers' files.

    ``form``: safetensors, F16, BF16, shards, onnx; or a state dict, zip or of the old form.
    """
    tiny.write_model(
        folder,
        tiny.config(num_hidden_layers=1),
        dtype=form if form in ("F16", "BF16") else "F32",
        shards=2 if form == "shards" else 1,
        unused=True,
    )
    if form == "onnx":
        (folder / "model.safetensors").unlink()
        tiny.write_onnx(folder / "model.onnx", tiny.tensors(tiny.config(num_hidden_layers=1)))
    if form in ("zip", "old"):
        (folder / "model.safetensors").unlink()
        write = state_dicts.write if form == "zip" else state_dicts.write_old_form
        arrays = tiny.tensors(tiny.config(num_hidden_layers=1))
        write(folder / "pytorch_model.bin", state_dicts.contiguous(arrays))
    return tiny.write_sentence_transformers(
        folder,
        sentence_bert={"max_seq_length": 16, "do_lower_case": False},
        prompts={"query": "query: ", "document": ""},
        default_prompt_name="document",
        similarity_fn_name="cosine",
    )


def dump(value: Any) -> bytes:
    """JSON as files hold it, with NaN, Infinity and escaped lone surrogates."""
    return json.dumps(value).encode()


def with_header(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A safetensors file with its header changed, and the header's length made right again."""
    length = int.from_bytes(content[:8], "little")
    header = dump(change(json.loads(content[8 : 8 + length])))
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def check(folder: Path) -> str | None:
    """Embed with the model; None where it works, else the error's message.

    The contract: vectors that are finite and of the right shape, or a MinigteError on one line that names
    the folder's file. Any other exception is a failure.
    """
    try:
        embedder = Embedder(folder, backend="numpy")
        vectors = embedder.encode(TEXTS, truncation="ignore")
        counts = embedder.count_tokens(TEXTS)
    except MinigteError as error:
        message = str(error)
        # A tokenizer that adds no special tokens makes none of an empty text: that is the text's fault.
        own = isinstance(error, InputError) and "no tokens" in message
        assert own or str(folder) in message, message
        assert message.isprintable(), message
        assert len(message) < 1100, message
        return message
    assert vectors.shape == (len(TEXTS), embedder.embedding_dimension)
    assert np.isfinite(vectors).all()
    assert min(counts) > 0
    return None
