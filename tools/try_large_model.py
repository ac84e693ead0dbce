"""Write a BLOOM of random weights in bfloat16 shards, and embed ten texts with it in int8.

At full size it has sgpt-bloom-7b1-msmarco's sizes, 7.07 billion parameters. That takes 14 GB of disk for the
shards and 11 GB for the packed weights. Three processes follow each other: one packs the weights in memory
and embeds, one is `minigte pack`, and one maps what that has written and embeds. Of each it prints the
seconds, and the largest resident memory. Run from the repository's root:

    python tools/try_large_model.py FOLDER
    python tools/try_large_model.py FOLDER --layers 2 --hidden-size 256 --vocabulary 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny  # noqa: E402

from minigte.models import bloom  # noqa: E402

TEXTS = [f"{i} ways to sort a list in Python, and what each of them costs" for i in range(10)]
BLOCK = 1 << 24  # numbers made at a time


def write_model(folder: Path, config: bloom.Config) -> int:
    """Write a shard per layer and one for the rest, tensor by tensor; gives how many parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in bloom.ARCHITECTURE.tensors(config):
        shard = "rest" if tensor.layer is None else f"{tensor.layer:03}"
        shards.setdefault(f"model-{shard}.safetensors", {})[tensor.name] = tensor.stored_shape
    rng, count = np.random.default_rng(0), 0
    for shard, shapes in shards.items():
        header: dict[str, Any] = {}
        end = 0
        for name, shape in shapes.items():
            begin, end = end, end + 2 * int(np.prod(shape))
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / shard).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, shape in shapes.items():
                size = int(np.prod(shape))
                scale = 0.1 if len(shape) == 1 else (1 / shape[-1]) ** 0.5
                mean = 1.0 if "layernorm.weight" in name or name == "ln_f.weight" else 0.0
                for first in range(0, size, BLOCK):
                    values = rng.standard_normal(min(BLOCK, size - first), np.float32)
                    values *= np.float32(scale)
                    values += np.float32(mean)
                    (values.view(np.uint32) >> 16).astype(np.uint16).tofile(file)
                count += size
    weight_map = {name: shard for shard, shapes in shards.items() for name in shapes}
    tiny.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    tiny.write_json(folder / "config.json", {"model_type": "bloom", **vars(config)})
    tiny.write_byte_tokenizer(folder)
    tiny.write_sentence_transformers(folder, modes=["weightedmean"], normalize=False)
    return count


def embed(folder: Path, cache: Path) -> dict[str, float]:
    """Load the model and embed the texts."""
    from minigte import Embedder

    begin = time.perf_counter()
    embedder = Embedder(folder, dtype="int8", cache_folder=cache)
    loaded = time.perf_counter()
    vectors = embedder.encode(TEXTS)
    done = time.perf_counter()
    assert np.isfinite(vectors).all()
    return {"seconds to load": loaded - begin, "seconds for ten texts": done - loaded}


def pack(folder: Path, cache: Path) -> dict[str, float]:
    """Pack the model's weights into a file in its folder, where they are found."""
    from minigte.cli.pack import pack as command

    begin = time.perf_counter()
    arguments = [str(folder), "--dtype", "int8", "--output", str(folder / "int8.packed")]
    with contextlib.redirect_stdout(sys.stderr):
        command.main([*arguments, "--cache-folder", str(cache)], standalone_mode=False)
    return {"seconds to pack": time.perf_counter() - begin}


STEPS = {"embed": embed, "pack": pack}


def measure(step: str, folder: Path, cache: Path) -> dict[str, float]:
    """A step in a new process, and that one's largest resident memory."""
    command = [sys.executable, __file__, str(folder), "--step", step, "--cache", str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write the model, and measure the three processes."""
    import resource

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden-size", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=250_880)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        found = STEPS[options.step](options.folder, options.cache)
        found["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps(found))
        return
    config = bloom.Config(options.vocabulary, options.hidden_size, options.layers, options.heads)
    model = options.folder / "model"
    if not (model / "config.json").exists():
        print(f"{write_model(model, config):,} parameters written to {model}", flush=True)
    for what, step in (("packed in memory", "embed"), ("minigte pack", "pack"), ("packed before", "embed")):
        found = measure(step, model, options.folder / "cache")
        print(f"{what}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
