"""BERT's forward pass, compiled: the same steps, in the same order, as ``minigte.reference.bert``.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F intermediate_size. In memory D, K and F are padded with zeros to whole panels (``matmul.padded``), which
changes no result. The kernel is written for a team: every member runs it, on its share of each step.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigte.batching import Batch
from minigte.engine import simd
from minigte.engine.attention import attention
from minigte.engine.jit import entry, kernel
from minigte.engine.matmul import Matrix, linear, pack, padded
from minigte.engine.rowwise import ACTIVATIONS, LINEAR, LOG2_E, RESIDUAL, convert, layer_norm
from minigte.engine.simd import ALIGNMENT, LANES, PANEL, TILE_ROWS, address
from minigte.engine.team import Helpers, Job, barrier, follow, lead, meeting_point, share
from minigte.errors import InputError
from minigte.limits import usable_cores
from minigte.models.bert import EMBEDDING_PARAMETERS, LAYER_PARAMETERS, Config, LayerWeights, Weights

Float32 = npt.NDArray[np.float32]

DTYPES = ("float32", "bfloat16", "int8")

# The value's product is the one where int8 costs most: rounding its input and weights alone makes almost half
# of the pass's distance from float32 (1 - cosine 6e-4 on gte-small's short texts, 3.4e-4 without), for a
# twelfth of the arithmetic. So it takes bfloat16.
VALUE_DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "int8": "bfloat16"}
# Rows of the feed-forward block that are computed at a time, so that their F-wide intermediate stays in the
# processor's second cache. Any multiple of TILE_ROWS gives the same bits.
BLOCK_ROWS = 8 * TILE_ROWS
# Tokens of the texts that one thread takes at a time, when there are many. Any value gives the same bits.
UNIT_TOKENS = 256
PAD_ROWS = max(TILE_ROWS, LANES)  # edge tiles read, and ignore, that many rows after the last


# --- What the kernel works on ----------------------------------------------------------------------------


class Model(NamedTuple):
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


class Scratch(NamedTuple):
    """The arrays one pass writes to; an array and its ``_input``, what a product reads of it, may be one.

    All have PAD_ROWS more rows than are used. With M = BLOCK_ROWS and T the longest text:
    """

    x: Float32  # (N, D)
    x_input: npt.NDArray[Any]  # (N, D)
    x_value: npt.NDArray[Any]  # (N, D) what the value's product reads
    scales: Float32  # (N,) int8 scales of x_input, context_input
    qkv: npt.NDArray[Any]  # (N, 3 H K)
    context: npt.NDArray[Any]  # (N, H K)
    context_input: npt.NDArray[Any]  # (N, H K)
    # and one of each for every member of the team:
    intermediate: npt.NDArray[Any]  # (members, M, F)
    intermediate_input: npt.NDArray[Any]  # (members, M, F)
    intermediate_scales: Float32  # (members, M)
    keys: npt.NDArray[Any]  # (members, T K)
    values: npt.NDArray[Any]  # (members, T K)
    scores: Float32  # (members, TILE_ROWS, T)
    probs: npt.NDArray[Any]  # (members, TILE_ROWS, T)
    sums: Float32  # (members, TILE_ROWS, padded to a cache line)
    tile: Float32  # (members, TILE_ROWS, PANEL)


class Team(NamedTuple):
    """One member's view of its team."""

    meeting: npt.NDArray[np.int64]
    rank: int
    size: int
    by_outputs: bool  # products are split by outputs (few rows: read each weight once), or else by rows


# --- The kernel ------------------------------------------------------------------------------------------


@entry
def forward(model, scratch, input_ids, offsets, out, meeting, wanted):
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> out (N, D).

    Called with ``wanted`` > 0 by the thread that leads a team of at most that many, and with 0 by helpers.
    """
    rank, size = (0, lead(meeting, wanted)) if wanted > 0 else follow(meeting)
    if size == 0:
        return
    tokens = len(input_ids)
    team = Team(meeting, rank, size, size > 1 and tokens <= BLOCK_ROWS)
    first, last = share(tokens, rank, size, 1)
    embeddings(model, scratch, input_ids, offsets, first, last)
    barrier(meeting, size)
    for layer in range(len(model.output_norm)):
        encoder_layer(model, layer, scratch, offsets, team)
    barrier(meeting, size)
    for n in range(first, last):
        for d in range(model.hidden_size):
            out[n, d] = scratch.x[n, d]
    barrier(meeting, size)


@kernel
def embeddings(model, scratch, input_ids, offsets, first, last):
    """Word + position + token type, then LayerNorm, for the rows from ``first`` to ``last``."""
    x, size = scratch.x, model.hidden_size
    for b in range(len(offsets) - 1):
        for n in range(max(first, offsets[b]), min(last, offsets[b + 1])):
            word, position = model.word_embeddings[input_ids[n]], model.position_embeddings[n - offsets[b]]
            for d in range(size):
                x[n, d] = word[d] + position[d] + model.token_type_embedding[d]
    norm(model, model.embeddings_norm, scratch, first, last)


@kernel
def norm(model, weight_and_bias, scratch, first, last):
    """LayerNorm of the rows from ``first`` to ``last``, ready for the next product."""
    weight, bias = address(weight_and_bias), address(weight_and_bias) + weight_and_bias.strides[0]
    for n in range(first, last):
        layer_norm(
            address(scratch.x) + n * scratch.x.strides[0],
            model.hidden_size,
            weight,
            bias,
            model.layer_norm_eps,
        )
    convert(scratch.x[first:last], scratch.x_input[first:last], scratch.scales[first:last])
    if model.value_apart:
        convert(scratch.x[first:last], scratch.x_value[first:last], scratch.scales[first:last])


@kernel
def encoder_layer(model, layer, scratch, offsets, team):
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    tokens = offsets[-1]
    first, last = (0, tokens) if team.by_outputs else share(tokens, team.rank, team.size, TILE_ROWS)
    x_input, x_value, scales = (
        scratch.x_input[first:last],
        scratch.x_value[first:last],
        scratch.scales[first:last],
    )
    qkv, values = scratch.qkv[first:last], 2 * model.heads * model.head_width
    product(team, scratch, x_input, scales, model.query_key, layer, LINEAR, qkv, 0)
    product(team, scratch, x_value, scales, model.value, layer, LINEAR, qkv, values)
    barrier(team.meeting, team.size)
    self_attention(model, scratch, offsets, team)
    barrier(team.meeting, team.size)

    own_first, own_last = own_rows(team, first, last)
    own = slice(own_first, own_last)
    convert(scratch.context[own], scratch.context_input[own], scratch.scales[own])
    meet(team)
    product(
        team,
        scratch,
        scratch.context_input[first:last],
        scratch.scales[first:last],
        model.attention_output,
        layer,
        RESIDUAL,
        scratch.x[first:last],
        0,
    )
    meet(team)
    norm(model, model.attention_norm[layer], scratch, own_first, own_last)
    meet(team)
    for start in range(first, last, BLOCK_ROWS):
        feed_forward(model, layer, scratch, start, min(last, start + BLOCK_ROWS), team)


@kernel
def self_attention(model, scratch, offsets, team):
    """Each token gathers the values of its own text's tokens: qkv (N, 3 H K) -> context (N, H K)."""
    rank, heads = team.rank, model.heads
    first, last = share((len(offsets) - 1) * heads, rank, team.size, 1)
    for pair in range(first, last):
        text = slice(offsets[pair // heads], offsets[pair // heads + 1])
        attention(
            scratch.qkv[text],
            model.head_width,
            heads,
            pair % heads,
            model.attention_scale,
            scratch.keys[rank],
            scratch.values[rank],
            scratch.scores[rank],
            scratch.probs[rank],
            scratch.sums[rank],
            scratch.tile[rank],
            scratch.context[text],
        )


@kernel
def feed_forward(model, layer, scratch, start, stop, team):
    """x = LayerNorm(x + act(x W₁ᵀ + b₁) W₂ᵀ + b₂) for at most BLOCK_ROWS rows: (M, D) -> (M, F) -> (M, D)."""
    place = 0 if team.by_outputs else team.rank
    own_first, own_last = own_rows(team, start, stop)
    own = slice(own_first - start, own_last - start)
    intermediate = scratch.intermediate[place][: stop - start]
    intermediate_input = scratch.intermediate_input[place][: stop - start]
    scales = scratch.intermediate_scales[place][: stop - start]
    product(
        team,
        scratch,
        scratch.x_input[start:stop],
        scratch.scales[start:stop],
        model.intermediate,
        layer,
        model.activation,
        intermediate,
        0,
    )
    meet(team)
    convert(intermediate[own], intermediate_input[own], scales[own])
    meet(team)
    product(
        team, scratch, intermediate_input, scales, model.output, layer, RESIDUAL, scratch.x[start:stop], 0
    )
    meet(team)
    norm(model, model.output_norm[layer], scratch, own_first, own_last)
    meet(team)


@kernel
def product(team, scratch, a, scales, matrix, layer, finish, out, column):
    """``linear`` on the given rows: all outputs if every member has its own rows, else this member's."""
    panels = matrix.panels.shape[1]
    first, last = share(panels, team.rank, team.size, 1) if team.by_outputs else (0, panels)
    linear(a, scales, matrix, layer, first, last, finish, out, column, scratch.tile[team.rank])


@kernel
def own_rows(team, first, last):
    """The rows that this member converts and normalises among those its products work on."""
    if team.by_outputs:
        begin, end = share(last - first, team.rank, team.size, 1)
        return first + begin, first + end
    return first, last


@kernel
def meet(team):
    """The barrier between a product and work on whole rows; needed only where a row is made by several."""
    if team.by_outputs:
        barrier(team.meeting, team.size)


# --- The door --------------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """Some texts of a batch, small enough for one thread's scratch, and the rows of the result they fill."""

    input_ids: npt.NDArray[np.int32]  # (n,)
    offsets: npt.NDArray[np.int64]  # (b + 1,) from 0 to n
    out: Float32  # (n, D)
    completes: tuple[Batch, Float32] | None  # what is finished with this unit


class Engine:
    """A BERT encoder, ready to run: packed weights, scratch, threads. Safe to use from any number of threads.

    ``dtype`` is what matrix products multiply: "float32", "bfloat16" (products summed in float32) or "int8"
    (weights per output, activations per row, summed exactly; the value's product and attention as for
    "bfloat16"). Embeddings, layer norm, softmax and activation are float32 always.
    ``threads`` defaults to the cores that this process may use.
    """

    def __init__(
        self, config: Config, weights: Weights, *, dtype: str = "float32", threads: int | None = None
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        self.dtype = dtype
        self.threads = usable_cores() if threads is None else threads
        self._config = config
        self._model = pack_model(config, weights, dtype)
        self._idle_scratch: list[Scratch] = []
        self._helpers = Helpers(self.threads - 1)

    @property
    def path(self) -> str:
        """Which instructions the matrix products run on, for example "avx512 + vnni"."""
        return simd.describe(self.dtype)

    def last_hidden_states(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Float32]]:
        """Yield each batch with its (N, D) float32 last hidden state, in the order given.

        Many texts are shared out among the threads, this one included; where there are fewer units of work
        than threads, all threads compute each unit together. The bits of a text's rows depend on neither.
        """
        stream = (unit for batch in batches for unit in self._units(batch))
        ahead = list(itertools.islice(stream, self.threads))
        units = itertools.chain(ahead, stream)
        if self.threads == 1 or len(ahead) < self.threads:
            for unit in units:
                self._run(unit, self.threads)
                if unit.completes is not None:
                    yield unit.completes
            return

        begun: deque[tuple[Unit, Job]] = deque()
        try:
            while True:
                for unit in itertools.islice(units, 2 * self.threads - len(begun)):
                    begun.append((unit, Job(self._run, unit, 1)))
                    self._helpers.offer(begun[-1][1])
                if not begun:
                    return
                # Do the oldest unit that no helper has taken; if there is none, wait for the oldest of all.
                if not any(job.take() for _, job in begun):
                    begun[0][1].wait()
                while begun and begun[0][1].finished():
                    unit, job = begun.popleft()
                    job.wait()
                    if unit.completes is not None:
                        yield unit.completes
        finally:
            for _, job in begun:
                job.cancel()

    def _units(self, batch: Batch) -> Iterator[Unit]:
        """Cut a batch between texts into units of nearly equal size, UNIT_TOKENS or one text at most."""
        input_ids = _constant(batch.input_ids, np.int32)  # (N,)
        offsets = np.ascontiguousarray(batch.offsets, np.int64)  # (B + 1,)
        self._check(input_ids, offsets)
        out = np.empty((len(input_ids), self._config.hidden_size), np.float32)
        count = math.ceil(len(input_ids) / UNIT_TOKENS)
        texts = len(offsets) - 1
        inner = np.searchsorted(offsets, np.arange(1, count) * len(input_ids) / count)
        # Not np.unique: before Python 3.14 it aborts the process if that ends while a daemon thread is in it.
        cuts = [0, *sorted(set(inner.tolist()) - {0, texts}), texts]
        for first, last in itertools.pairwise(cuts):
            rows = slice(offsets[first], offsets[last])
            completes = (batch, out) if last == cuts[-1] else None
            yield Unit(
                input_ids[rows],
                _constant(offsets[first : last + 1] - offsets[first], np.int64),
                out[rows],
                completes,
            )

    def _check(self, input_ids: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> None:
        """The kernel reads memory where these numbers point, so they must point into its arrays."""
        lengths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(input_ids) or (lengths < 0).any():
            raise InputError("offsets must rise from 0 to the number of input_ids")
        if (lengths > self._config.max_position_embeddings).any():
            raise InputError(
                f"a text has {lengths.max()} tokens; "
                f"the model reads at most {self._config.max_position_embeddings}"
            )
        if len(input_ids) and not 0 <= input_ids.min() <= input_ids.max() < self._config.vocab_size:
            raise InputError(
                f"input_ids must lie between 0 and {self._config.vocab_size - 1}, the vocabulary"
            )

    def _run(self, unit: Unit, wanted: int) -> None:
        """Compute a unit in this thread, with up to ``wanted`` - 1 helpers."""
        tokens = len(unit.input_ids)
        try:
            scratch = self._idle_scratch.pop()
        except IndexError:
            scratch = None
        if scratch is None or len(scratch.x) < tokens + PAD_ROWS:
            scratch = allocate(self._config, self.dtype, max(tokens, UNIT_TOKENS), self.threads)
        arguments = self._model, scratch, unit.input_ids, unit.offsets, unit.out, meeting_point()
        try:
            for _ in range(wanted - 1):
                self._helpers.offer(Job(forward, *arguments, 0))
            forward(*arguments, wanted)
        finally:
            self._idle_scratch.append(scratch)


# --- Packing ---------------------------------------------------------------------------------------------


def _constant(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The array as the kernel expects all its inputs: contiguous and read-only (another type to Numba)."""
    view: npt.NDArray[Any] = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def _zero_padded(array: Float32, *shape: int) -> Float32:
    """The array in the corner of one of zeros."""
    larger = np.zeros(shape, np.float32)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger


def pack_model(config: Config, weights: Weights, dtype: str) -> Model:
    """The kernel's form of a model; of ``weights`` only the embedding tables are kept, the rest is copied."""
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
        return pack(len(weights.layers), outputs, inputs, map(of, weights.layers), dtype)

    def norms(*pairs: tuple[Float32, Float32]) -> Float32:
        return _constant(
            _zero_padded(
                np.array(pairs, np.float32).reshape(-1, 2, config.hidden_size), len(pairs), 2, hidden_width
            ),
            np.float32,
        )

    return Model(
        hidden_size=config.hidden_size,
        heads=heads,
        head_width=head_width,
        attention_scale=LOG2_E / np.float32(math.sqrt(head_size)),
        layer_norm_eps=np.float32(config.layer_norm_eps),
        activation=ACTIVATIONS[config.hidden_act],
        word_embeddings=_constant(weights.word_embeddings, np.float32),
        position_embeddings=_constant(weights.position_embeddings, np.float32),
        token_type_embedding=_constant(weights.token_type_embeddings[0].copy(), np.float32),
        embeddings_norm=norms((weights.embeddings_norm_weight, weights.embeddings_norm_bias))[0],
        attention_norm=norms(*((a.attention_norm_weight, a.attention_norm_bias) for a in weights.layers)),
        output_norm=norms(*((a.output_norm_weight, a.output_norm_bias) for a in weights.layers)),
        query_key=matrix(2 * context_width, hidden_width, query_key),
        value=matrix(context_width, hidden_width, value, VALUE_DTYPES[dtype]),
        value_apart=dtype != VALUE_DTYPES[dtype],
        attention_output=matrix(hidden_width, context_width, attention_output),
        intermediate=matrix(wide, hidden_width, intermediate),
        output=matrix(hidden_width, wide, output),
    )


def allocate(config: Config, dtype: str, tokens: int, members: int) -> Scratch:
    """Scratch for passes of at most ``tokens`` tokens by teams of at most ``members``, all zeros."""
    # What a stage leaves, what the next product reads of it, and what attention works on.
    stored, read, attended = {
        "float32": (np.float32, np.float32, np.float32),
        "bfloat16": (np.uint16, np.uint16, np.uint16) if simd.BFLOAT16_DOT else (np.float32,) * 3,
        "int8": (np.float32, np.uint8, np.uint16 if simd.BFLOAT16_DOT else np.float32),
    }[dtype]
    rows, block, length = tokens + PAD_ROWS, BLOCK_ROWS + PAD_ROWS, padded(tokens)
    hidden_width, head_width = padded(config.hidden_size), padded(config.head_size)
    context_width, wide = config.num_attention_heads * head_width, padded(config.intermediate_size)

    def zeros(dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
        array = simd.empty(shape, dtype)
        array.fill(0)
        return array

    def pair(
        first: npt.DTypeLike, second: npt.DTypeLike, *shape: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        array = zeros(first, *shape)
        return array, array if first == second else zeros(second, *shape)

    x, x_input = pair(np.float32, read, rows, hidden_width)
    x_value = next((a for a in (x, x_input) if a.dtype == attended), None)
    context, context_input = pair(stored, read, rows, context_width)
    intermediate, intermediate_input = pair(stored, read, members, block, wide)
    scores, probs = pair(np.float32, attended, members, TILE_ROWS, length)
    return Scratch(
        x=x,
        x_input=x_input,
        x_value=zeros(attended, rows, hidden_width) if x_value is None else x_value,
        scales=zeros(np.float32, rows),
        qkv=zeros(attended, rows, 3 * context_width),
        context=context,
        context_input=context_input,
        intermediate=intermediate,
        intermediate_input=intermediate_input,
        intermediate_scales=zeros(np.float32, members, block),
        keys=zeros(attended, members, length * head_width),
        values=zeros(attended, members, (length + 1) * head_width),
        scores=scores,
        probs=probs,
        sums=zeros(np.float32, members, ALIGNMENT // 4),
        tile=zeros(np.float32, members, TILE_ROWS * PANEL),
    )


def warmup(dtype: str = "float32") -> None:
    """Compile the kernels of ``dtype``, or load them from the cache.

    One token goes through a model of almost no size: the kernels are the same for every size.
    """
    config = Config(1, 1, 1, 1, 1, 1, 1, 1e-12)

    def ones(axes: tuple[str, ...]) -> Float32:
        return np.ones([getattr(config, axis) for axis in axes], np.float32)

    layer = LayerWeights(**{p.field: ones(p.shape) for p in LAYER_PARAMETERS})
    weights = Weights(**{p.field: ones(p.shape) for p in EMBEDDING_PARAMETERS}, layers=(layer,))
    batch = Batch(np.zeros(1, np.int32), np.array([0, 1]), np.zeros(1, np.int64))
    for _ in Engine(config, weights, dtype=dtype, threads=1).last_hidden_states([batch]):
        pass
