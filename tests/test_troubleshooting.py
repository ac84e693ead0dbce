"""Every message of docs/troubleshooting.md is really produced, in the class that the page says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from places import ROOT

import minigte
from minigte import CrossEncoder, Embedder, MinigteError

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### `(.+)`\n\n\((?:an? )?`(\w+)`\)", PAGE, re.MULTILINE)


def model(folder: Path, **changed: str | None) -> Path:
    """A tiny model's folder in which these files are deleted (None) or have this content."""
    tiny.write_model(folder)
    for name, content in changed.items():
        path = folder / name.replace("__", ".")
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content, encoding="utf-8")
    return folder


def loaded(folder: Path) -> Embedder:
    return Embedder(tiny.write_model(folder), backend="numpy")


def unreachable(folder: Path) -> None:
    """In a process of its own, because huggingface_hub reads its environment once."""
    command(folder, "download", "someone/model", HF_ENDPOINT="http://127.0.0.1:9")


def command(folder: Path, *arguments: str, **environment: str) -> None:
    """Run minigte's command line; its one line of error is raised as the class that the page names."""
    process = subprocess.run(
        [sys.executable, "-m", "minigte", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HF_HUB_CACHE": str(folder), "MINIGTE_MODEL": str(folder), **environment},
        check=False,
    )
    assert process.returncode == 1, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("minigte: error: ")
    raise MinigteError(last.removeprefix("minigte: error: "))


def too_little_memory(folder: Path) -> None:
    """As after ``ulimit -v``: 16 MB beside what the process already has, for a model of 57 MB."""
    config = tiny.config(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    tiny.write_model(folder, config)
    code = (
        "import re, resource, sys, minigte\n"
        "embedder = minigte.Embedder(sys.argv[1], backend='numpy')\n"
        "used = 1024 * int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "resource.setrlimit(resource.RLIMIT_AS, 2 * (used + (16 << 20),))\n"
        "minigte.Embedder(sys.argv[1], backend='numpy')\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    name, _, message = process.stderr.splitlines()[-1].partition(": ")
    raise getattr(minigte, name.rpartition(".")[2])(message)


def written(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return name


def embed(folder: Path, *arguments: str) -> None:
    command(model(folder), "embed", "--backend", "numpy", "--no-progress", *arguments)


def ended(folder: Path) -> None:
    """A run that fails after its first texts are done, and then the same command without --resume."""
    arguments = ("--input", written(folder, "in.txt", b"cat\n" * 2000 + b"caf\xe9\n"), "--output", "out.npy")
    with contextlib.suppress(MinigteError):
        embed(folder, *arguments)
    embed(folder, *arguments)


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 133466304\n"


def no_kernels(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for backend in ("built", "jit"):
            patch.setattr(f"minigte.backend.{backend}_missing", lambda: "this is a test")
        Embedder(model(folder), dtype="int8")


def no_such_level(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGTE_CPU", "z80")
        patch.setattr("minigte.engine.library.library", lambda: SimpleNamespace(usable=["sse2"]))
        Embedder(model(folder))


PRODUCERS: dict[str, Callable[[Path], object]] = {
    "no folder '…' and no known model": lambda f: Embedder("gte-smal"),
    "the model folder '…' does not": lambda f: Embedder(f / "nothing" / "here"),
    "… is not on this machine": lambda f: Embedder("a/b", local_files_only=True, cache_folder=f),
    "the Hugging Face Hub could": unreachable,
    "no config.json in": lambda f: Embedder(model(f, config__json=None)),
    "no weights": lambda f: Embedder(model(f, model__safetensors=None)),
    "…: unknown model_type": lambda f: Embedder(model(f, config__json='{"model_type": "gpt2"}')),
    "…: minigte does not implement the module": lambda f: Embedder(
        model(f, modules__json=json.dumps([{"type": "sentence_transformers.models.LayerNorm", "path": ""}]))
    ),
    "… is a cross-encoder": lambda f: Embedder(tiny.write_cross_encoder(f, modules=True)),
    "…: Pooling makes": lambda f: CrossEncoder(tiny.write_model(f)),
    "… is not a complete safetensors": lambda f: Embedder(model(f, model__safetensors="version https://git")),
    "… asks for": lambda f: Embedder(
        model(f, model__safetensors=None, pytorch_model__bin="cposix\nsystem\n.")
    ),
    "… is not a complete state dict": lambda f: Embedder(
        model(f, model__safetensors=None, pytorch_model__bin="")
    ),
    "… is a git-lfs": lambda f: Embedder(model(f, model__safetensors=LFS)),
    "…: minigte does not know the key": lambda f: Embedder(
        model(f, sentence_bert_config__json='{"magic": 1}')
    ),
    "… has no modules.json": lambda f: Embedder(tiny.write_model(f, bare=True), backend="numpy"),
    "no tokenizer.json": lambda f: Embedder(model(f, tokenizer__json=None)),
    "… needs about": too_little_memory,
    "… of … texts have": lambda f: loaded(f).encode(["cat " * 1000]),
    "sentences[…] has": lambda f: loaded(f).encode(["cat " * 1000], truncation="error"),
    "sentences[…] is": lambda f: loaded(f).encode(["cat", None]),  # type: ignore[list-item]
    "sentences[…] holds": lambda f: loaded(f).encode(["cat", "\ud83d"]),
    "unknown prompt_name": lambda f: loaded(f).encode("cat", prompt_name="title"),
    "precision 'int8'": lambda f: loaded(f).encode("cat", precision="int8"),
    "similarity takes": lambda f: loaded(f).similarity("cat", "dog"),
    "vectors of": lambda f: loaded(f).similarity([[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
    "backend …": no_kernels,
    "MINIGTE_CPU": no_such_level,
    "the numpy backend": lambda f: Embedder(model(f), backend="numpy", dtype="int8"),
    "…, line …": lambda f: embed(f, "--input", written(f, "in.txt", b"caf\xe9\n")),
    "… has no column": lambda f: embed(f, "--input", written(f, "in.csv", b"id,body\n1,cat\n")),
    "cannot write …: minigte": lambda f: embed(
        f, "--input", written(f, "in.txt", b"a\n"), "--output", "out.vec"
    ),
    "'…' is the name of a file": lambda f: embed(f, written(f, "notes.txt", b"a\n")),
    "… holds what an earlier": ended,
    "cannot write": lambda f: embed(f, "--input", written(f, "in.txt", b"a\n"), "--output", "no/out.npy"),
}


@pytest.mark.parametrize(("heading", "kind"), ENTRIES, ids=[heading for heading, _ in ENTRIES])
def test_a_message_of_the_page_is_produced(
    heading: str, kind: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    produce = PRODUCERS[max(filter(heading.startswith, PRODUCERS), key=len)]
    named = getattr(minigte, kind)
    if issubclass(named, Warning):
        with pytest.warns(named) as seen:
            produce(tmp_path)
        message = str(seen[0].message)
    else:
        # From the command line only the message comes; its class is that of the function it calls.
        with pytest.raises(MinigteError) as raised:
            produce(tmp_path)
        message = str(raised.value)
        assert raised.type in (named, MinigteError)
    pattern = ".*".join(re.escape(part) for part in heading.split("…"))
    assert re.match(pattern, message), f"the page says: {heading}\nminigte says: {message}"


def test_every_producer_is_on_the_page() -> None:
    assert len(ENTRIES) == len(PRODUCERS) == PAGE.count("\n### ")
