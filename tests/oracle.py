"""What transformers computes in float32 with eager attention: every intermediate, by minigte's names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny
import torch
import transformers

Float32 = npt.NDArray[np.float32]
Stage = tuple[str, torch.Tensor]

# The classes of an architecture: its config, its encoder, and how the encoder is made without what minigte
# does not compute.
CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertModel", {"add_pooling_layer": False}),
    "distilbert": ("DistilBertConfig", "DistilBertModel", {}),
    "mpnet": ("MPNetConfig", "MPNetModel", {"add_pooling_layer": False}),
    "t5": ("T5Config", "T5EncoderModel", {}),
    "roberta": ("RobertaConfig", "RobertaModel", {"add_pooling_layer": False}),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", {"add_pooling_layer": False}),
}
# What models have beside the encoder.
BESIDE = ("pooler.", "decoder.", "lm_head.")


def make_config(config: Any) -> Any:
    """transformers' config with the values of one of ours."""
    kind = CLASSES[tiny.architecture(config).name][0]
    return getattr(transformers, kind)(**vars(config), attn_implementation="eager")


def build(config: Any, tensors: Mapping[str, Float32]) -> Any:
    """The encoder of this config with these arrays."""
    _, kind, options = CLASSES[tiny.architecture(config).name]
    model = getattr(transformers, kind)(make_config(config), **options)
    fill(model, tensors)
    return model.eval()


def fill(model: Any, tensors: Mapping[str, Float32]) -> None:
    """Give the encoder these arrays, which must be all of its own."""
    arrays = {name: torch.from_numpy(array) for name, array in tensors.items()}
    missing, unexpected = model.load_state_dict(arrays, strict=False)
    assert not unexpected
    assert all(name.startswith(BESIDE) or name in tied(model) for name in missing), missing


def tied(model: Any) -> Collection[str]:
    """The names of arrays that are another array of the model."""
    return model.all_tied_weights_keys


def load(folder: Path) -> Any:
    """The encoder of a folder, in float32 whatever its file holds."""
    model_type = transformers.AutoConfig.from_pretrained(folder).model_type
    _, kind, options = CLASSES[model_type]
    model = getattr(transformers, kind).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **options
    )
    return model.eval()


def tensors(model: Any) -> dict[str, Float32]:
    """The model's arrays, by their names in a checkpoint."""
    arrays = model.state_dict().items()
    return {name: tensor.numpy() for name, tensor in arrays if name not in tied(model)}


class Seen:
    """One pass over one text, and what went into and came out of every module, without the batch's axis."""

    def __init__(self, model: Any, input_ids: Sequence[int]) -> None:
        self.model = model
        self.config = model.config
        self._inputs: dict[str, torch.Tensor] = {}
        self._outputs: dict[str, Any] = {}
        handles = [
            module.register_forward_hook(self._keep(name), with_kwargs=True)
            for name, module in model.named_modules()
            if name
        ]
        self.hidden = model(torch.tensor([list(input_ids)])).last_hidden_state[0]
        for handle in handles:
            handle.remove()

    def _keep(self, name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
                self._inputs[name] = args[0][0].clone()
            if isinstance(output, tuple):
                self._outputs[name] = [part[0].clone() if torch.is_tensor(part) else part for part in output]
            elif torch.is_tensor(output):
                self._outputs[name] = output[0].clone()

        return hook

    def into(self, name: str) -> torch.Tensor:
        """What a module got."""
        return self._inputs[name]

    def out(self, name: str) -> torch.Tensor:
        """What a module made."""
        return self._outputs[name]

    def part(self, name: str, index: int) -> torch.Tensor:
        """One of several things that a module made."""
        return self._outputs[name][index]

    def heads(self, rows: torch.Tensor, num_heads: int) -> torch.Tensor:
        """(T, H * K) -> (H, T, K)."""
        return rows.view(len(rows), num_heads, -1).transpose(0, 1)

    def scores(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        num_heads: int,
        bias: torch.Tensor | None = None,
        scale: float | None = None,
    ) -> torch.Tensor:
        """The scores, which no module hands out, made of the model's own queries and keys: (H, T, T)."""
        q, k = self.heads(query, num_heads), self.heads(key, num_heads)
        scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        return scores if bias is None else scores + bias


def trace(model: Any, input_ids: Sequence[int]) -> dict[str, Float32]:
    """Every intermediate of one text, under the names and in the order of ``minigte.reference``.

    Then "pooled" and "normalized": the mean over its tokens, and that divided by its length.
    """
    with torch.inference_mode():
        seen = Seen(model, input_ids)
        pooled = seen.hidden.mean(dim=0)
        stages = dict(STAGES[model.config.model_type](seen))
        stages["pooled"] = pooled
        stages["normalized"] = torch.nn.functional.normalize(pooled, dim=0)
    return {name: tensor.numpy() for name, tensor in stages.items()}


def bert(seen: Seen) -> Iterator[Stage]:
    """BertModel, RobertaModel, XLMRobertaModel."""
    for part in ("word", "position", "token_type"):
        name = f"embeddings.{part}_embeddings"
        yield name, seen.out(name)
    yield "embeddings.sum", seen.into("embeddings.LayerNorm")
    yield "embeddings.LayerNorm", seen.out("embeddings.LayerNorm")
    for i in range(seen.config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        attention = layer + "attention.self"
        query, key, value = (seen.out(f"{attention}.{part}") for part in ("query", "key", "value"))
        yield from zip(
            (f"{attention}.{a}" for a in ("query", "key", "value")), (query, key, value), strict=True
        )
        yield attention + ".scores", seen.scores(query, key, seen.config.num_attention_heads)
        yield attention + ".probs", seen.part(attention, 1)
        yield attention + ".context", seen.part(attention, 0)
        yield from residual(seen, layer + "attention.output.dense", layer + "attention.output.")
        yield from feed_forward(seen, layer)


def mpnet(seen: Seen) -> Iterator[Stage]:
    """MPNetModel."""
    for part in ("word", "position"):
        name = f"embeddings.{part}_embeddings"
        yield name, seen.out(name)
    yield "embeddings.sum", seen.into("embeddings.LayerNorm")
    yield "embeddings.LayerNorm", seen.out("embeddings.LayerNorm")
    bias = seen.model.encoder.compute_position_bias(seen.hidden[None])[0]
    for i in range(seen.config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        attention = layer + "attention.attn."
        for part in "qkv":
            yield attention + part, seen.out(attention + part)
        scores = seen.scores(
            seen.out(attention + "q"), seen.out(attention + "k"), seen.config.num_attention_heads, bias
        )
        yield attention + "scores", scores
        yield attention + "probs", torch.softmax(scores, dim=-1)
        yield attention + "context", seen.into(attention + "o")
        yield from residual(seen, attention + "o", layer + "attention.")
        yield from feed_forward(seen, layer)


def distilbert(seen: Seen) -> Iterator[Stage]:
    """DistilBertModel."""
    for part in ("word", "position"):
        name = f"embeddings.{part}_embeddings"
        yield name, seen.out(name)
    yield "embeddings.sum", seen.into("embeddings.LayerNorm")
    yield "embeddings.LayerNorm", seen.out("embeddings.LayerNorm")
    for i in range(seen.config.n_layers):
        layer = f"transformer.layer.{i}."
        attention = layer + "attention."
        for part in "qkv":
            yield f"{attention}{part}_lin", seen.out(f"{attention}{part}_lin")
        query, key = (seen.out(f"{attention}{part}_lin") for part in "qk")
        scores = seen.scores(query, key, seen.config.n_heads)
        yield attention + "scores", scores
        yield attention + "probs", torch.softmax(scores, dim=-1)
        yield attention + "context", seen.into(attention + "out_lin")
        yield attention + "out_lin", seen.out(attention + "out_lin")
        yield layer + "sa_sum", seen.into(layer + "sa_layer_norm")
        yield layer + "sa_layer_norm", seen.out(layer + "sa_layer_norm")
        for name in ("ffn.lin1", "ffn.activation", "ffn.lin2"):
            yield layer + name, seen.out(layer + name)
        yield layer + "output_sum", seen.into(layer + "output_layer_norm")
        yield layer + "output_layer_norm", seen.out(layer + "output_layer_norm")


def t5(seen: Seen) -> Iterator[Stage]:
    """T5EncoderModel."""
    yield "encoder.embed_tokens", seen.out("encoder.embed_tokens")
    attention = seen.model.encoder.block[0].layer[0].SelfAttention
    bias = attention.compute_bias(len(seen.hidden), len(seen.hidden))[0]
    for i in range(seen.config.num_layers):
        block = f"encoder.block.{i}."
        yield block + "layer.0.layer_norm", seen.out(block + "layer.0.layer_norm")
        name = block + "layer.0.SelfAttention."
        for part in "qkv":
            yield name + part, seen.out(name + part)
        scores = seen.scores(seen.out(name + "q"), seen.out(name + "k"), seen.config.num_heads, bias, 1)
        yield name + "scores", scores
        yield name + "probs", torch.softmax(scores, dim=-1)
        yield name + "context", seen.into(name + "o")
        yield name + "o", seen.out(name + "o")
        yield block + "layer.0.sum", seen.into(block + "layer.1.layer_norm")
        yield block + "layer.1.layer_norm", seen.out(block + "layer.1.layer_norm")
        name = block + "layer.1.DenseReluDense."
        for part in ("wi_0", "act", "wi_1") if seen.config.is_gated_act else ("wi", "act"):
            yield name + part, seen.out(name + part)
        if seen.config.is_gated_act:
            yield name + "product", seen.into(name + "wo")
        yield name + "wo", seen.out(name + "wo")
        last = i + 1 == seen.config.num_layers
        after = "encoder.final_layer_norm" if last else f"encoder.block.{i + 1}.layer.0.layer_norm"
        yield block + "layer.1.sum", seen.into(after)
    yield "encoder.final_layer_norm", seen.out("encoder.final_layer_norm")


def residual(seen: Seen, linear: str, norm: str) -> Iterator[Stage]:
    """A linear layer, its sum with the residual, and the LayerNorm of that, in the module ``norm``."""
    yield linear, seen.out(linear)
    yield norm + "sum", seen.into(norm + "LayerNorm")
    yield norm + "LayerNorm", seen.out(norm + "LayerNorm")


def feed_forward(seen: Seen, layer: str) -> Iterator[Stage]:
    """The second half of a BERT's layer."""
    for name in ("intermediate.dense", "intermediate.intermediate_act_fn"):
        yield layer + name, seen.out(layer + name)
    yield from residual(seen, layer + "output.dense", layer + "output.")


STAGES = {
    "bert": bert,
    "distilbert": distilbert,
    "mpnet": mpnet,
    "roberta": bert,
    "t5": t5,
    "xlm-roberta": bert,
}
