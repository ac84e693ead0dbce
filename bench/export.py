"""Another model for the benchmark: its ONNX export, and where it has no weights, random ones.

    python bench/export.py FOLDER TARGET.onnx
    python bench/export.py FOLDER TARGET.onnx --base-size-like GTE_SMALL

With --base-size-like, FOLDER is made first: a BERT of gte-base's size with random weights, which are as fast
as others, and the other model's tokenizer.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
import transformers

BASE_SIZE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Encoder(torch.nn.Module):
    """The last hidden state of a padded batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        has_types = getattr(self.model.config, "type_vocab_size", 0) > 0
        self.inputs = INPUTS if has_types and self.model.config.model_type != "mpnet" else INPUTS[:2]

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """(B, T) each -> (B, T, D)."""
        hidden: torch.Tensor = self.model(**dict(zip(self.inputs, tensors, strict=True))).last_hidden_state
        return hidden


def make_random(folder: Path, like: Path) -> None:
    """A folder of a BERT of gte-base's size."""
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "onnx", "*.onnx"))
    sizes = json.loads((folder / "config.json").read_text()) | BASE_SIZE
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.exists():
        content = json.loads(pooling.read_text())
        widths = {key: 768 for key in content if key in ("word_embedding_dimension", "embedding_dimension")}
        pooling.write_text(json.dumps(content | widths))
    torch.manual_seed(0)
    config = transformers.BertConfig(**{k: v for k, v in sizes.items() if k != "model_type"})
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def export(folder: Path, target: Path) -> None:
    """Write the ONNX file, with any number of texts of any length."""
    encoder = Encoder(folder)
    ids = torch.tensor([[0, 5, 6, 2], [0, 7, 8, 2]])
    tensors = (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(encoder.inputs)]
    temporary = target.with_suffix(".part")
    torch.onnx.export(
        encoder,
        tensors,
        str(temporary),
        input_names=list(encoder.inputs),
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*encoder.inputs, "last_hidden_state")},
        opset_version=17,
        dynamo=False,
    )
    temporary.rename(target)


def main() -> None:
    """Read the command line and make what is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--base-size-like", type=Path, metavar="GTE_SMALL")
    options = parser.parse_args()
    if options.base_size_like and not options.folder.exists():
        make_random(options.folder, options.base_size_like)
    if not options.target.exists():
        options.target.parent.mkdir(parents=True, exist_ok=True)
        export(options.folder, options.target)
    print(options.target)


if __name__ == "__main__":
    main()
