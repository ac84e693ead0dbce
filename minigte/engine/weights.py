"""Weights as the kernels read them: packed once, in the order in which a product walks over them.

A weight (outputs, inputs) is cut into panels of outputs, each [steps][panel][group]: the order in which the
micro-kernel reads it. Outputs and inputs are padded with zeros to whole panels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.engine.finishes import ACTIVATIONS
from minigte.engine.formats import format_of
from minigte.engine.level import Level
from minigte.models.bert import Config, LayerWeights, Weights
from minigte.runtime import pages


class Matrix(NamedTuple):
    """One linear layer of each of the L encoder layers, packed: W (outputs, inputs) and b (outputs,)."""

    panels: npt.NDArray[Any]  # (L, panels, steps, panel, group) float32, uint16 (bfloat16) or int8
    bias: Float32  # (L, panels * panel)
    scale: Float32  # (L, panels * panel), int8 only: w = q * scale
    offset: npt.NDArray[np.int32]  # (L, panels * panel), int8 only: 128 * the sum of an output's q


class PackedModel(NamedTuple):
    """Sizes and packed weights, as the kernel takes them; nothing in it changes."""

    hidden_size: int  # D
    heads: int  # H
    head_width: int  # K, padded
    attention_scale: np.float32  # log2(e) / sqrt(K): softmax is computed in powers of two
    layer_norm_eps: np.float32
    activation: int
    word_embeddings: Float32  # (V, D)
    position_embeddings: Float32  # (max_position_embeddings, D)
    token_type_embedding: Float32  # (D,)
    embeddings_norm: Float32  # (2, D), weight and bias, like all norms
    attention_norm: Float32  # (L, 2, D)
    output_norm: Float32  # (L, 2, D)
    query_key: Matrix  # D -> 2 H K
    value: Matrix  # D -> H K
    value_apart: bool  # the value's product has another input type than the others
    attention_output: Matrix  # H K -> D
    intermediate: Matrix  # D -> F
    output: Matrix  # F -> D


def to_bfloat16(a: Float32) -> npt.NDArray[np.uint16]:
    """float32 to the nearest bfloat16, ties to even, as its bits."""
    bits = a.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def pack_matrix(
    layers: int,
    outputs: int,
    inputs: int,
    parameters: Iterable[tuple[Float32, Float32]],
    dtype: str,
    level: Level,
) -> Matrix:
    """Pack one (outputs, inputs) weight and (outputs,) bias per encoder layer; both sizes whole panels."""
    form = format_of(dtype, level)
    panels, steps = outputs // level.panel, inputs // form.group
    quantized = dtype == "int8"
    matrix = Matrix(
        pages.zeros((layers, panels, steps, level.panel, form.group), form.panel),
        pages.zeros((layers, outputs), np.float32),
        pages.zeros((layers, outputs if quantized else 0), np.float32),
        pages.zeros((layers, outputs if quantized else 0), np.int32),
    )
    for layer, (weight, bias) in enumerate(parameters):
        values: npt.NDArray[Any] = weight
        if dtype == "bfloat16":
            values = to_bfloat16(weight)
        elif quantized:
            scale = np.abs(weight).max(axis=1) / np.float32(127)  # (outputs,)
            values = np.rint(weight / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
            matrix.scale[layer] = scale
            matrix.offset[layer] = 128 * values.sum(axis=1, dtype=np.int32)
        # (panels, panel, steps, group) to (panels, steps, panel, group)
        matrix.panels[layer] = values.reshape(panels, level.panel, steps, form.group).swapaxes(1, 2)
        matrix.bias[layer] = bias
    for array in matrix:
        array.flags.writeable = False
    return matrix


def read_only(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the kernel expects all its inputs: contiguous and read-only (another type to Numba)."""
    view: npt.NDArray[Any] = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def _zero_padded(array: Float32, *shape: int) -> Float32:
    """The array in the corner of one of zeros."""
    larger = np.zeros(shape, np.float32)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger


def pack_model(config: Config, weights: Weights, dtype: str, level: Level) -> PackedModel:
    """The kernel's form of a model; of ``weights`` only the embedding tables are kept, the rest is copied."""
    padded, form = level.padded, format_of(dtype, level)
    heads, head_size = config.num_attention_heads, config.head_size
    hidden_width, head_width = padded(config.hidden_size), padded(head_size)
    wide = padded(config.intermediate_size)
    context_width = heads * head_width

    def split_heads(array: Float32) -> Float32:
        """(D, ...) -> (H K, ...), every head padded on its own."""
        cut = array.reshape(heads, head_size, *array.shape[1:])
        return _zero_padded(cut, heads, head_width, *array.shape[1:]).reshape(context_width, *array.shape[1:])

    def query_key(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = np.concatenate(
            [split_heads(layer.query_weight), split_heads(layer.key_weight)]
        )  # (2 H K, D)
        bias = np.concatenate([split_heads(layer.query_bias), split_heads(layer.key_bias)])
        return _zero_padded(weight, 2 * context_width, hidden_width), bias

    def value(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = split_heads(layer.value_weight)  # (H K, D)
        return _zero_padded(weight, context_width, hidden_width), split_heads(layer.value_bias)

    def attention_output(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = split_heads(layer.attention_output_weight.T).T  # (D, H K)
        return (
            _zero_padded(weight, hidden_width, context_width),
            _zero_padded(layer.attention_output_bias, hidden_width),
        )

    def intermediate(layer: LayerWeights) -> tuple[Float32, Float32]:
        return (
            _zero_padded(layer.intermediate_weight, wide, hidden_width),
            _zero_padded(layer.intermediate_bias, wide),
        )

    def output(layer: LayerWeights) -> tuple[Float32, Float32]:
        return _zero_padded(layer.output_weight, hidden_width, wide), _zero_padded(
            layer.output_bias, hidden_width
        )

    def matrix(
        outputs: int, inputs: int, of: Callable[[LayerWeights], tuple[Float32, Float32]], dtype: str = dtype
    ) -> Matrix:
        return pack_matrix(len(weights.layers), outputs, inputs, map(of, weights.layers), dtype, level)

    def norms(*pairs: tuple[Float32, Float32]) -> Float32:
        return read_only(
            _zero_padded(
                np.array(pairs, np.float32).reshape(-1, 2, config.hidden_size), len(pairs), 2, hidden_width
            ),
            np.float32,
        )

    return PackedModel(
        hidden_size=config.hidden_size,
        heads=heads,
        head_width=head_width,
        attention_scale=np.float32(math.log2(math.e)) / np.float32(math.sqrt(head_size)),
        layer_norm_eps=np.float32(config.layer_norm_eps),
        activation=ACTIVATIONS[config.hidden_act],
        word_embeddings=read_only(weights.word_embeddings, np.float32),
        position_embeddings=read_only(weights.position_embeddings, np.float32),
        token_type_embedding=read_only(weights.token_type_embeddings[0].copy(), np.float32),
        embeddings_norm=norms((weights.embeddings_norm_weight, weights.embeddings_norm_bias))[0],
        attention_norm=norms(*((a.attention_norm_weight, a.attention_norm_bias) for a in weights.layers)),
        output_norm=norms(*((a.output_norm_weight, a.output_norm_bias) for a in weights.layers)),
        query_key=matrix(2 * context_width, hidden_width, query_key),
        value=matrix(context_width, hidden_width, value, form.value_dtype),
        value_apart=dtype != form.value_dtype,
        attention_output=matrix(hidden_width, context_width, attention_output),
        intermediate=matrix(wide, hidden_width, intermediate),
        output=matrix(hidden_width, wide, output),
    )
