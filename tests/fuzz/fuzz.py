"""Coverage-guided fuzzing of what reads a model folder, and of how long texts are cut, with atheris.

Each target is one file of a tiny valid model: its content is what the fuzzer makes up, and ``hostile.check``
says what must hold. What fails is kept in tests/fuzz/found; `make fuzz` runs all targets for a bounded time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tokenizing")]

with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["minigte"]):
    import hostile
    import test_splitting

    from minigte.tokenizing.splitting import Splitter

FORMS = {  # target: the form of the folder, and the file that is made up
    "config": ("safetensors", "config.json"),
    "modules": ("safetensors", "modules.json"),
    "pooling": ("safetensors", "1_Pooling/config.json"),
    "sentence_bert": ("safetensors", "sentence_bert_config.json"),
    "sentence_transformers": ("safetensors", "config_sentence_transformers.json"),
    "tokenizer_config": ("safetensors", "tokenizer_config.json"),
    "tokenizer": ("safetensors", "tokenizer.json"),
    "safetensors": ("safetensors", "model.safetensors"),
    "bfloat16": ("BF16", "model.safetensors"),
    "index": ("shards", "model.safetensors.index.json"),
    "onnx": ("onnx", "model.onnx"),
    "state_dict": ("zip", "pytorch_model.bin"),
    "old_state_dict": ("old", "pytorch_model.bin"),
}
TARGETS = (*FORMS, "text")


def read_file(target: str, folder: Path, corpus: Path) -> Callable[[bytes], None]:
    """A function that opens the model with this content of the target's file."""
    form, name = FORMS[target]
    path = hostile.write_valid(folder, form) / name
    (corpus / "valid").write_bytes(path.read_bytes())

    def run(content: bytes) -> None:
        path.write_bytes(content)
        hostile.check(folder)

    return run


def cut_text(content: bytes) -> None:
    """A text's pieces have its tokens: the first two bytes choose the size and the normalizer."""
    data = atheris.FuzzedDataProvider(content)
    size = data.ConsumeIntInRange(1, 20)
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    tokenizer = test_splitting.make_tokenizer(**{name: data.ConsumeBool() for name in names})
    text = data.ConsumeUnicodeNoSurrogates(200)
    pieces = list(Splitter(tokenizer).pieces(text, size))
    whole = test_splitting.ids(tokenizer, text)
    if not whole == test_splitting.ids(tokenizer, *pieces) == test_splitting.ids(tokenizer, " ".join(pieces)):
        raise AssertionError(f"{text!r} in pieces of {size}: {pieces!r}")


def fuzz(target: str, seconds: int) -> None:
    """Run one target until it fails, or for so many seconds; libFuzzer ends the process."""
    found = HERE / "found"
    found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary, "corpus")
        corpus.mkdir()
        run = cut_text if target == "text" else read_file(target, Path(temporary, "model"), corpus)
        committed = HERE / "corpus" / target
        options = [
            f"-max_total_time={seconds}",
            f"-artifact_prefix={found}/{target}-",
            "-timeout=60",  # seconds for one input
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-verbosity=0",
            "-print_final_stats=1",
        ]
        corpora = [str(corpus), *([str(committed)] if committed.is_dir() else [])]
        atheris.Setup([sys.argv[0], *options, *corpora], run)
        atheris.Fuzz()


def main() -> None:
    """Run one target, or each in a process of its own, as many at once as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=120, help="for all that is run (%(default)s)")
    options = parser.parse_args()
    if options.target is not None:
        fuzz(options.target, options.seconds)
        return
    cores = min(os.cpu_count() or 1, len(TARGETS))
    seconds = max(1, options.seconds * cores // len(TARGETS))

    def apart(target: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, __file__, target, "--seconds", str(seconds)]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)

    failed = []
    with ThreadPoolExecutor(cores) as pool:
        for target, process in zip(TARGETS, pool.map(apart, TARGETS), strict=True):
            runs = [line for line in process.stderr.splitlines() if "number_of_executed_units" in line]
            print(
                f"{target:22} {runs[0].split()[-1] if runs else 0:>8} inputs, exit {process.returncode}",
                flush=True,
            )
            if process.returncode or not runs:
                print(process.stderr[-3000:], file=sys.stderr)
                failed.append(target)
    if failed:
        sys.exit(f"failed: {', '.join(failed)} (inputs in {HERE / 'found'})")


if __name__ == "__main__":
    main()
