"""What transformers computes: BertModel in float32 with eager attention, every intermediate by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import BertConfig, BertModel

Float32 = npt.NDArray[np.float32]

PARTS = ("word", "position", "token_type")  # what an embedding is the sum of


def build(fields: Mapping[str, Any], tensors: Mapping[str, Float32]) -> Any:
    """A BertModel of this config with these arrays."""
    model = BertModel(BertConfig(**fields, attn_implementation="eager"), add_pooling_layer=False)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    return model.eval()


def load(folder: Path) -> Any:
    """The BertModel of a folder, in float32 whatever its file holds."""
    model = BertModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False
    )
    return model.eval()


def tensors(model: Any) -> dict[str, Float32]:
    """The model's arrays, by their names in a checkpoint."""
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def trace(model: Any, input_ids: Sequence[int]) -> dict[str, Float32]:
    """Every intermediate of one text, under the names and in the order of ``minigte.reference.bert.forward``.

    Then "pooled" and "normalized": the mean over its tokens, and that divided by its length.
    """
    stages: dict[str, Any] = dict.fromkeys(
        f"embeddings.{part}_embeddings" for part in PARTS
    )  # in their order
    handles = []

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if name.endswith("attention.self"):
                heads = (-1, model.config.num_attention_heads, module.attention_head_size)
                query, key = (
                    torch.from_numpy(stages[f"{name}.{part}"]).view(heads).transpose(0, 1)
                    for part in ("query", "key")
                )  # (H, T, K)
                context, probs = output
                # BertModel hands out no scores: they are made again, of its own queries and keys.
                stages[name + ".scores"] = (query @ key.transpose(1, 2) * module.scaling).numpy()  # (H, T, T)
                stages[name + ".probs"] = probs[0].numpy()  # (H, T, T)
                stages[name + ".context"] = context[0].numpy()
                return
            if name.endswith("LayerNorm"):
                stages[name.removesuffix("LayerNorm") + "sum"] = inputs[0][0].numpy().copy()
            stages[name] = output[0].numpy()

        return hook

    ends = (
        "_embeddings",
        "query",
        "key",
        "value",
        "attention.self",
        "dense",
        "intermediate_act_fn",
        "LayerNorm",
    )
    for name, module in model.named_modules():
        if name.startswith(("embeddings.", "encoder.layer.")) and name.endswith(ends):
            handles.append(module.register_forward_hook(keep(name)))
    with torch.inference_mode():
        hidden = model(torch.tensor([list(input_ids)])).last_hidden_state[0]
        stages["pooled"] = hidden.mean(dim=0).numpy()
        stages["normalized"] = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0).numpy()
    for handle in handles:
        handle.remove()
    return stages
