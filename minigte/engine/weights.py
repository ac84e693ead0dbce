"""Weights as the kernels read them: packed once, in the order in which a product walks over them.

A weight (outputs, inputs) is cut into panels of outputs, each [steps][panel][group]: the order in which the
micro-kernel reads it. Outputs and inputs are padded with zeros to whole panels.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Int64
from minigte.engine.finishes import ACTIVATIONS, GATED
from minigte.engine.formats import format_of
from minigte.engine.level import Level
from minigte.engine.outliers import MOST, largest_inputs, outlier_channels
from minigte.models.distances import bucket, inverse_frequencies
from minigte.models.spec import Spec
from minigte.models.weights import ABSENT, LayerWeights, StoredDtype, Weights
from minigte.runtime import memory


class Matrix(NamedTuple):
    """One linear layer of each of the L encoder layers, packed: W (outputs, inputs) and b (outputs,)."""

    panels: npt.NDArray[Any]  # (L, panels, steps, panel, group) float32, uint16 (bfloat16) or int8
    halves: npt.NDArray[np.int16]  # in their place the bits of float32 weights that float16 holds
    bias: Float32  # (L, panels * panel)
    scale: Float32  # (L, panels * panel), int8 only: w = q * scale
    offset: npt.NDArray[np.int32]  # (L, panels * panel), int8 only: 128 * the sum of an output's q
    # int8 only, see ``outliers``: the inputs that are multiplied in float32, -1 where there are fewer
    outliers: npt.NDArray[np.int32]  # (L, MOST)
    outlier_weights: Float32  # (L, panels, MOST, panel) W at these inputs, where q is 0


class PackedModel(NamedTuple):
    """Sizes and packed weights, as the kernel takes them; nothing in it changes.

    What a model does not have is an array of no rows. A norm is (2, D), weight and bias. Each stands after a
    sum: where an architecture has its norms before attention and feed-forward, the one after a layer's last
    sum is the next layer's first, or the final one.
    """

    hidden_size: int  # D
    heads: int  # H
    head_width: int  # K, padded
    attention_scale: np.float32  # times log2(e): softmax is computed in powers of two
    norm_eps: np.float32
    rms_norm: bool
    activation: int  # one of ``finishes``
    first_position: int  # the row of position_embeddings for a text's first token
    padding_id: int  # a token that has the row before that one, and counts as no place
    word_embeddings: Float32  # (V, D)
    # In their place those that 16 bits hold: (V, D), of bfloat16 or else of float16
    word_halves: npt.NDArray[np.uint16]
    bfloat16_halves: bool
    position_embeddings: Float32  # (positions, D)
    token_type_embeddings: Float32  # (token types, D)
    embeddings_norm: Float32  # (1, 2, D)
    first_norm: Float32  # (1, 2, D) between the embeddings and the first layer, where norms stand before
    norm_after_attention: Float32  # (L, 2, D)
    norm_after_feed_forward: Float32  # (L, 2, D)
    query_key: Matrix  # D -> 2 H K
    value: Matrix  # D -> H K
    value_apart: bool  # the value's product has another input type than the others
    attention_output: Matrix  # H K -> D
    intermediate: Matrix  # D -> F, or 2 F where the feed-forward is gated
    output: Matrix  # F -> D
    windows: Int64  # (L, 2) how many tokens before and after itself a token attends to
    reach: int  # R: the longest text for which these are made:
    distance_bias: Float32  # (H, 2 R - 1 and some) for distances from 1 - R to R - 1, over attention_scale
    angles: Float32  # (tables, R, 2, K / 2 padded) sines and cosines
    angles_of: Int64  # (L,) the layer's table


class Storage(Protocol):
    """Where the arrays of a packed model are put; each has a name of its own."""

    filled: bool  # whether the arrays have their values already

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """An array of zeros, whose rows are assigned one by one."""

    def whole(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> Any:
        """An array that holds these values."""


class Memory:
    """Arrays in this process's own memory."""

    filled = False

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Large arrays in pages of their own."""
        return memory.zeros(shape, dtype)

    def whole(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The array itself, where it is as the kernels want it."""
        return read_only(array, dtype)


def to_bfloat16(a: Float32) -> npt.NDArray[np.uint16]:
    """float32 to the nearest bfloat16, ties to even, as its bits."""
    bits = a.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def to_halves(a: Float32, dtype: StoredDtype) -> npt.NDArray[np.uint16]:
    """The bits of float32 that float16 or bfloat16 holds exactly."""
    if dtype == "bfloat16":  # a float32's upper half, the second in memory
        return np.ascontiguousarray(a.view(np.uint16)[:, 1::2])
    return a.astype(np.float16).view(np.uint16)


def pack_matrix(
    layers: int,
    outputs: int,
    inputs: int,
    parameters: Iterable[tuple[Float32, Float32]],
    dtype: str,
    level: Level,
    storage: Storage | None = None,
    name: str = "",
    outliers_of: Callable[[Float32], Int64] = lambda weight: NONE,
    stored: StoredDtype = "float32",
) -> Matrix:
    """Pack one (outputs, inputs) weight and (outputs,) bias per encoder layer; both sizes whole panels.

    ``outliers_of`` gives the inputs of a weight that int8 leaves to float32, at most MOST. ``stored`` is a
    dtype that holds all weights.
    """
    form, storage = format_of(dtype, level), storage or Memory()
    panels, steps = outputs // level.panel, inputs // form.group
    quantized = dtype == "int8"
    apart = MOST if quantized else 0
    halved = form.float16 and stored == "float16"
    panel = panels, steps, level.panel, form.group
    matrix = Matrix(
        storage.rows(f"{name}.panels", (0 if halved else layers, *panel), form.panel),
        storage.rows(f"{name}.halves", (layers if halved else 0, *panel), np.int16),
        storage.rows(f"{name}.bias", (layers, outputs), np.float32),
        storage.rows(f"{name}.scale", (layers, outputs if quantized else 0), np.float32),
        storage.rows(f"{name}.offset", (layers, outputs if quantized else 0), np.int32),
        storage.rows(f"{name}.outliers", (layers, apart), np.int32),
        storage.rows(f"{name}.outlier_weights", (layers, panels, apart, level.panel), np.float32),
    )
    if storage.filled:
        return matrix
    for layer, (weight, bias) in enumerate(parameters):
        values: npt.NDArray[Any] = weight
        if halved:
            values = to_halves(weight, stored).view(np.int16)
        elif dtype == "bfloat16":
            values = to_bfloat16(weight)
        elif quantized:
            outliers = outliers_of(weight)
            columns = np.zeros((MOST, outputs), np.float32)
            columns[: len(outliers)] = weight[:, outliers].T
            matrix.outliers[layer] = np.append(outliers, np.full(MOST - len(outliers), -1))
            # (MOST, panels, panel) to (panels, MOST, panel)
            matrix.outlier_weights[layer] = columns.reshape(MOST, panels, level.panel).swapaxes(0, 1)
            weight = weight.copy()
            weight[:, outliers] = 0
            scale = np.abs(weight).max(axis=1) / np.float32(127)  # (outputs,)
            values = np.rint(weight / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
            matrix.scale[layer] = scale
            matrix.offset[layer] = 128 * values.sum(axis=1, dtype=np.int32)
        # (panels, panel, steps, group) to (panels, steps, panel, group)
        rows = matrix.halves if halved else matrix.panels
        rows[layer] = values.reshape(panels, level.panel, steps, form.group).swapaxes(1, 2)
        matrix.bias[layer] = bias
    for array in matrix:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return matrix


NONE: Int64 = np.empty(0, np.int64)


def read_only(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the kernel expects all its inputs: contiguous and read-only (another type to Numba)."""
    view: npt.NDArray[Any] = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def pack_model(
    spec: Spec, weights: Weights, dtype: str, level: Level, storage: Storage | None = None
) -> PackedModel:
    """The kernel's form of a model, in ``storage``, by default in memory.

    In memory the embedding tables of ``weights`` are kept and the rest is copied, an array at a time.
    """
    storage = storage or Memory()
    padded, form = level.padded, format_of(dtype, level)
    heads, head_size = spec.num_attention_heads, spec.head_size
    hidden_width, head_width = padded(spec.hidden_size), padded(head_size)
    wide = padded(spec.intermediate_size)
    context_width = heads * head_width
    layers, stored = weights.layers, weights.stored_as

    def corner(array: Float32, *shape: int) -> Float32:
        """The array in the corner of one of zeros; all zeros where it is absent."""
        larger = np.zeros(shape, np.float32)
        if array.size:
            larger[tuple(slice(size) for size in array.shape)] = array
        return larger

    def split_heads(array: Float32) -> Float32:
        """(H K, ...) -> (H K padded, ...), every head padded on its own."""
        if not array.size:
            return np.zeros(context_width, np.float32)
        cut = array.reshape(heads, head_size, *array.shape[1:])
        return corner(cut, heads, head_width, *array.shape[1:]).reshape(context_width, *array.shape[1:])

    def pair_up(array: Float32) -> Float32:
        """``split_heads`` with the pairs that turn together in the two vectors of one panel.

        Queries and keys alike, so their products are the same. A pair is a head's i-th and (K / 2 + i)-th.
        """
        if not array.size or not spec.rotary_bases:
            return split_heads(array)
        cut = array.reshape(heads, 2, head_size // 2, *array.shape[1:])
        cut = corner(cut, heads, 2, head_width // 2, *array.shape[1:])
        return interleave(cut, 2).reshape(context_width, *array.shape[1:])

    def interleave(array: Float32, axis: int) -> Float32:
        """The two halves that lie along the axis before ``axis``, vector by vector in turns."""
        lanes = level.lanes
        shape = array.shape
        cut = array.reshape(*shape[:axis], shape[axis] // lanes, lanes, *shape[axis + 1 :])
        return np.ascontiguousarray(cut.swapaxes(axis - 1, axis))

    def query_key(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = np.concatenate([pair_up(layer.query_weight), pair_up(layer.key_weight)])  # (2 H K, D)
        bias = np.concatenate([pair_up(layer.query_bias), pair_up(layer.key_bias)])
        return corner(weight, 2 * context_width, hidden_width), bias

    def value(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = split_heads(layer.value_weight)  # (H K, D)
        return corner(weight, context_width, hidden_width), split_heads(layer.value_bias)

    def attention_output(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = split_heads(layer.attention_output_weight.T).T  # (D, H K)
        return corner(weight, hidden_width, context_width), corner(layer.attention_output_bias, hidden_width)

    def intermediate(layer: LayerWeights) -> tuple[Float32, Float32]:
        weight = corner(layer.intermediate_weight, wide, hidden_width)
        bias = corner(layer.intermediate_bias, wide)
        if not spec.gated:
            return weight, bias
        weights = np.stack([weight, corner(layer.gate_weight, wide, hidden_width)])  # (2, F, D)
        biases = np.stack([bias, corner(layer.gate_bias, wide)])  # (2, F)
        return interleave(weights, 1).reshape(2 * wide, -1), interleave(biases, 1).reshape(2 * wide)

    def output(layer: LayerWeights) -> tuple[Float32, Float32]:
        return corner(layer.output_weight, hidden_width, wide), corner(layer.output_bias, hidden_width)

    def matrix(
        name: str,
        outputs: int,
        inputs: int,
        of: Callable[[LayerWeights], tuple[Float32, Float32]],
        dtype: str = dtype,
        outliers_of: Callable[[Float32], Int64] = lambda weight: NONE,
    ) -> Matrix:
        parameters = map(of, layers)
        return pack_matrix(
            len(layers), outputs, inputs, parameters, dtype, level, storage, name, outliers_of, stored.layers
        )

    def norms(name: str, *pairs: tuple[Float32, Float32]) -> Float32:
        """The norms of these weights and biases, without those that are absent."""
        rows = [[corner(a, hidden_width) for a in pair] for pair in pairs if pair[0].size]
        whole: Float32 = storage.whole(name, np.reshape(rows, (len(rows), 2, hidden_width)), np.float32)
        return whole

    def table(name: str, array: Float32) -> Float32:
        """An embedding table, of no rows where it is absent."""
        whole: Float32 = storage.whole(
            name, array if array.size else np.empty((0, spec.hidden_size)), np.float32
        )
        return whole

    def word_halves() -> npt.NDArray[np.uint16]:
        if storage.filled:
            return np.broadcast_to(np.uint16(0), weights.word_embeddings.shape)
        return to_halves(weights.word_embeddings, stored.word_embeddings)

    @functools.cache
    def channels() -> Int64:
        norms = ((a.attention_norm_weight, a.feed_forward_norm_weight) for a in layers)
        return outlier_channels(itertools.chain.from_iterable(norms))

    attention_norms = [(a.attention_norm_weight, a.attention_norm_bias) for a in layers]
    feed_forward_norms = [(a.feed_forward_norm_weight, a.feed_forward_norm_bias) for a in layers]
    final_norm = weights.final_norm_weight, weights.final_norm_bias
    if spec.norm_first:  # each stands after the sum that it is the next to read
        first_norm = attention_norms[:1]
        attention_norms, feed_forward_norms = feed_forward_norms, [*attention_norms[1:], final_norm]
    else:
        first_norm = []
    halved = stored.word_embeddings != "float32"
    bases = sorted(set(spec.rotary_bases))
    angles_of = [bases.index(base) for base in spec.rotary_bases] or [0] * len(layers)
    return PackedModel(
        hidden_size=spec.hidden_size,
        heads=heads,
        head_width=head_width,
        attention_scale=np.float32(math.log2(math.e) * spec.attention_scale),
        norm_eps=np.float32(spec.norm_eps),
        rms_norm=spec.rms_norm,
        activation=ACTIVATIONS[spec.hidden_act] + (GATED if spec.gated else 0),
        first_position=spec.first_position,
        padding_id=spec.padding_id,
        word_embeddings=table("word_embeddings", ABSENT if halved else weights.word_embeddings),
        word_halves=storage.whole("word_halves", word_halves() if halved else np.empty((0, 0)), np.uint16),
        bfloat16_halves=stored.word_embeddings == "bfloat16",
        position_embeddings=table("position_embeddings", weights.position_embeddings),
        token_type_embeddings=table("token_type_embeddings", weights.token_type_embeddings),
        embeddings_norm=norms(
            "embeddings_norm", (weights.embeddings_norm_weight, weights.embeddings_norm_bias)
        ),
        first_norm=norms("first_norm", *first_norm),
        norm_after_attention=norms("norm_after_attention", *attention_norms),
        norm_after_feed_forward=norms("norm_after_feed_forward", *feed_forward_norms),
        query_key=matrix(
            "query_key",
            2 * context_width,
            hidden_width,
            query_key,
            # Where norms stand after the sums, float32 gains nothing here: in the model with outliers that
            # ``outliers`` speaks of, the mean cosine to float32 is 0.9991 either way.
            outliers_of=lambda weight: channels() if spec.norm_first else NONE,
        ),
        value=matrix("value", context_width, hidden_width, value, form.value_dtype),
        value_apart=dtype != form.value_dtype,
        attention_output=matrix("attention_output", hidden_width, context_width, attention_output),
        intermediate=matrix(
            "intermediate",
            (2 if spec.gated else 1) * wide,
            hidden_width,
            intermediate,
            outliers_of=lambda weight: channels(),
        ),
        output=matrix(
            "output",
            hidden_width,
            wide,
            output,
            outliers_of=lambda weight: largest_inputs(weight, channels()),
        ),
        windows=read_only(_windows(spec), np.int64),
        reach=0,
        distance_bias=read_only(np.empty((0, 0)), np.float32),
        angles=read_only(np.empty((1, 0, 2, 0)), np.float32),
        angles_of=read_only(np.array(angles_of), np.int64),
    )


def with_reach(
    model: PackedModel, spec: Spec, distance_embeddings: Float32, reach: int, level: Level
) -> PackedModel:
    """The model with all that it adds or turns by tokens' places made for texts of up to ``reach`` tokens."""
    distances = np.arange(1 - reach, reach)  # (2 R - 1,)
    bias = np.empty((0, 0), np.float32)
    if spec.distance_buckets is not None:
        bias = distance_embeddings[bucket(distances, *spec.distance_buckets)].T  # (H, 2 R - 1)
    elif spec.distance_slopes:
        bias = np.outer(np.array(spec.distance_slopes, np.float32), distances.astype(np.float32))
    if len(bias):  # whole vectors are read, up to the last distance
        bias = np.pad(bias / np.float32(spec.attention_scale), ((0, 0), (0, level.lanes)))
    angles = np.zeros((1, 0, 2, 0), np.float32)
    if spec.rotary_bases:
        bases = sorted(set(spec.rotary_bases))
        angles = np.zeros((len(bases), reach, 2, model.head_width // 2), np.float32)
        for table, base in zip(angles, bases, strict=True):
            turned = np.outer(np.arange(reach, dtype=np.float32), inverse_frequencies(base, spec.head_size))
            table[:, :, : spec.head_size // 2] = np.stack([np.sin(turned), np.cos(turned)], axis=1)
    return model._replace(
        reach=reach, distance_bias=read_only(bias, np.float32), angles=read_only(angles, np.float32)
    )


def _windows(spec: Spec) -> Int64:
    """How many tokens before and after itself a token attends to, in each layer: (L, 2)."""
    rows = []
    for window in spec.windows or (0,) * spec.num_hidden_layers:
        before = window or spec.max_tokens
        rows.append((before, 0 if spec.causal else before))
    return np.array(rows, np.int64).reshape(-1, 2)
