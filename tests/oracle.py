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
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

Float32 = npt.NDArray[np.float32]
Stage = tuple[str, torch.Tensor]

# The classes of an architecture: its config, its encoder, and how the encoder is made without what minigte
# does not compute.
CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertModel", {"add_pooling_layer": False}),
    "bloom": ("BloomConfig", "BloomModel", {}),
    "modernbert": ("ModernBertConfig", "ModernBertModel", {}),
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
    name = tiny.architecture(config).name
    kind = CLASSES[name][0]
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(config).items()}
    if name == "modernbert":  # must be in the vocabulary, and changes nothing
        fields["pad_token_id"] = 0
    return getattr(transformers, kind)(**fields, attn_implementation="eager")


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


def modernbert(seen: Seen) -> Iterator[Stage]:
    """ModernBertModel."""
    yield "embeddings.tok_embeddings", seen.out("embeddings.tok_embeddings")
    yield "embeddings.norm", seen.out("embeddings.norm")
    config, places = seen.config, torch.arange(len(seen.hidden))[None]
    for i in range(config.num_hidden_layers):
        layer = f"layers.{i}."
        if i > 0:
            yield layer + "attn_norm", seen.out(layer + "attn_norm")
        parts = dict(zip(("query", "key", "value"), seen.out(layer + "attn.Wqkv").chunk(3, -1), strict=True))
        for name, part in parts.items():
            yield f"{layer}attn.{name}", part
        cos, sin = seen.model.rotary_emb(seen.hidden, places, config.layer_types[i])
        split = [seen.heads(parts[name], config.num_attention_heads)[None] for name in ("query", "key")]
        turned = apply_rotary_pos_emb(*split, cos, sin)
        query, key = (part[0].transpose(0, 1).reshape(len(seen.hidden), -1) for part in turned)
        yield layer + "attn.turned_query", query
        yield layer + "attn.turned_key", key
        yield layer + "attn.scores", seen.scores(query, key, config.num_attention_heads)
        yield layer + "attn.probs", seen.part(layer + "attn", 1)
        yield layer + "attn.context", seen.into(layer + "attn.Wo")
        yield layer + "attn.Wo", seen.out(layer + "attn.Wo")
        yield layer + "attn_sum", seen.into(layer + "mlp_norm")
        yield layer + "mlp_norm", seen.out(layer + "mlp_norm")
        activated, gate = seen.out(layer + "mlp.Wi").chunk(2, -1)
        yield layer + "mlp.input", activated
        yield layer + "mlp.act", seen.out(layer + "mlp.act")
        yield layer + "mlp.gate", gate
        yield layer + "mlp.product", seen.into(layer + "mlp.Wo")
        yield layer + "mlp.Wo", seen.out(layer + "mlp.Wo")
        last = i + 1 == config.num_hidden_layers
        yield layer + "mlp_sum", seen.into("final_norm" if last else f"layers.{i + 1}.attn_norm")
    yield "final_norm", seen.out("final_norm")


def bloom(seen: Seen) -> Iterator[Stage]:
    """BloomModel."""
    yield "word_embeddings", seen.out("word_embeddings")
    yield "word_embeddings_layernorm", seen.out("word_embeddings_layernorm")
    heads, places = seen.config.n_head, torch.arange(len(seen.hidden))
    ones = torch.ones(1, len(places))
    # Of the last token's row, which adds to a whole row what softmax does not see.
    alibi = seen.model.build_alibi_tensor(ones, heads, torch.float32)  # (H, 1, T)
    bias = alibi - alibi.transpose(1, 2)  # (H, T, T)
    for i in range(seen.config.n_layer):
        layer = f"h.{i}."
        yield layer + "input_layernorm", seen.out(layer + "input_layernorm")
        name = layer + "self_attention."
        fused = seen.out(name + "query_key_value").view(len(places), heads, 3, -1)
        parts = [fused[:, :, part].reshape(len(places), -1) for part in range(3)]
        for kind, part in zip(("query", "key", "value"), parts, strict=True):
            yield name + kind, part
        yield name + "scores", seen.scores(parts[0], parts[1], heads, bias)
        yield name + "probs", seen.part(name[:-1], 1)
        yield name + "context", seen.into(name + "dense")
        yield name + "dense", seen.out(name + "dense")
        yield layer + "attention_sum", seen.into(layer + "post_attention_layernorm")
        for kind in ("post_attention_layernorm", "mlp.dense_h_to_4h", "mlp.gelu_impl", "mlp.dense_4h_to_h"):
            yield layer + kind, seen.out(layer + kind)
        last = i + 1 == seen.config.n_layer
        yield layer + "mlp_sum", seen.into("ln_f" if last else f"h.{i + 1}.input_layernorm")
    yield "ln_f", seen.out("ln_f")


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
    "bloom": bloom,
    "distilbert": distilbert,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "roberta": bert,
    "t5": t5,
    "xlm-roberta": bert,
}
