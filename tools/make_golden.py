"""Make tests/golden: what transformers computes, stage by stage, for the tests that run without it.

Needs what `make parity` installs: torch and transformers. Run from the repository's root:

    python tools/make_golden.py --model FOLDER_OF_GTE_SMALL
    python tools/make_golden.py --only tiny-mpnet
    python tools/make_golden.py --only cross-encoders
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import tokenizers
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import architectures  # noqa: E402
import oracle  # noqa: E402
import tiny  # noqa: E402
from exact import tensors_sha256  # noqa: E402
from golden_files import FOLDER, FORMAT, PAIRS, TINY, sample, tiny_inputs  # noqa: E402
from nasty import LONG, NASTY  # noqa: E402

# Each text with the step of the values that are kept of every stage: prime, so that no column is preferred.
GTE_TEXTS = (
    ("Beijing", 1),
    ("what is the capital of China?", 29),
    ("how to implement quick sort in python?", 29),
    ("sorting algorithms", 29),
    ("", 29),
    ("Çà et là: naïve cafés, 東京 🙂 [SEP] 3.14 & COVID-19!", 29),
    (LONG, 101),
    (LONG * 20, 9973),
)

TINY_STEP = 7  # of a tiny model's longest text


def provenance(**own: Any) -> dict[str, Any]:
    """What a golden file says about how it was made."""
    return {
        "format": FORMAT,
        "command": "python tools/make_golden.py --model FOLDER_OF_GTE_SMALL",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": np.__version__,
        **own,
    }


def save_stages(path: Path, model: Any, inputs: Sequence[tuple[list[int], int]], **own: Any) -> None:
    """Write every stage of every text: arrays ``0/embeddings``, ..., ``1/embeddings``, ..."""
    arrays: dict[str, Any] = {}
    for i, (input_ids, step) in enumerate(inputs):
        arrays[f"{i}/input_ids"] = np.array(input_ids, np.int32)
        for stage, array in oracle.trace(model, input_ids).items():
            arrays[f"{i}/{stage}"] = sample(stage, array, step)
    record = provenance(
        weights_sha256=tensors_sha256(oracle.tensors(model)), steps=[step for _, step in inputs], **own
    )
    np.savez_compressed(path, provenance=np.array(json.dumps(record)), **arrays)


def make_tiny(names: Iterable[str]) -> None:
    """Write one file per tiny model: every value of every stage, of the longest text every seventh."""
    for name in names:
        config = TINY[name]
        model = oracle.build(config, tiny.tensors(config))
        inputs = [(ids, 1 if len(ids) < 8 else TINY_STEP) for ids in tiny_inputs(config)]
        save_stages(FOLDER / f"{name}.npz", model, inputs)


def make_cross_encoders() -> None:
    """Write the scores that sentence-transformers gives with a tiny cross-encoder of each architecture."""
    scores = {}
    for name, case in architectures.WITH_HEAD.items():
        with tempfile.TemporaryDirectory() as folder:
            tiny.write_cross_encoder(Path(folder), case.config, num_labels=2)
            longest = tiny.architecture(case.config).spec(case.config).max_tokens
            model = sentence_transformers.CrossEncoder(folder, device="cpu", max_length=longest)
            scores[name] = model.predict(PAIRS).tolist()
    record = provenance(sentence_transformers=sentence_transformers.__version__)
    record["command"] = "python tools/make_golden.py --only cross-encoders"
    content = {"provenance": record, **scores}
    (FOLDER / "cross-encoders.json").write_text(json.dumps(content, indent=1) + "\n")


def make_gte_small(folder: Path) -> None:
    """Write gte-small's stages on a few texts, and its tokens on the nasty ones."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = oracle.load(folder)
    texts = [text for text, _ in GTE_TEXTS]
    inputs = [(tokenizer(text, truncation=True)["input_ids"], step) for text, step in GTE_TEXTS]
    save_stages(FOLDER / "gte-small.npz", model, inputs, source="thenlper/gte-small", texts=texts)

    rows = {
        name: {
            "num_tokens": len(tokenizer(text, verbose=False)["input_ids"]),
            "input_ids": tokenizer(text, truncation=True)["input_ids"],
        }
        for name, text in NASTY.items()
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    record = json.dumps(provenance(source="thenlper/gte-small"))
    (FOLDER / "tokens.json").write_text(f'{{"provenance": {record},\n"texts": {{\n{lines}\n}}}}\n')


def main() -> None:
    """Read the command line and make every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="gte-small, with its tokenizer")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="make these tiny models' files alone")
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.only is None):
        parser.error("give --model for all files, or --only for some")
    FOLDER.mkdir(exist_ok=True)
    only = arguments.only or [*TINY, "cross-encoders"]
    make_tiny(name for name in only if name in TINY)
    if "cross-encoders" in only:
        make_cross_encoders()
    if arguments.model is not None:
        make_gte_small(arguments.model)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.stat().st_size:>10,} bytes  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
