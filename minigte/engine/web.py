"""A model for the WebAssembly kernels: what they compute with, laid out in one memory.

The module of the platform "web" is called as every library is (``library``), with a table of 64-bit words.
Its addresses count from the start of its own memory, so all of the table but the sizes of a batch is known
here. What a browser has to do is to copy the weights to their places, to write a batch behind them, and to
call. To look inside it changes a few words: a table of one layer, with the last hidden state where the
embeddings of words were, computes just that layer.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from minigte.engine.kernels import Arguments
from minigte.engine.level import level_of, levels_of
from minigte.engine.library import file_name, layout, parts, read, words
from minigte.engine.scheduler import UNIT_TOKENS
from minigte.engine.sources import folder
from minigte.engine.weights import pack_model, with_reach
from minigte.engine.workspace import allocate, meeting_point
from minigte.errors import MissingDependencyError
from minigte.models.spec import Spec
from minigte.models.weights import Weights
from minigte.runtime.memory import CACHE_LINE

LEVEL = "simd128"
ADDRESS, SHAPE = 4, 5  # of an array's words those that say where it lies and how many rows it has
BATCH = ("input_ids", "token_type_ids", "offsets", "out")  # what comes behind model and workspace
# The parts of a model that have a row for every layer.
LAYERED = re.compile(
    r"\.0\.((query_key|value|attention_output|intermediate|output)\..+|norm_after_.+|windows|angles_of)"
)
# What else is added to a word's embedding, and done to their sum.
ADDED = ("position_embeddings", "token_type_embeddings", "embeddings_norm")


class Widened(NamedTuple):
    """An array of float32 that the file holds in float16, which loses nothing of it."""

    begin: int  # where it begins in the file
    address: int
    numbers: int  # how many it has


class Rows(NamedTuple):
    """An array with a row for every layer."""

    word: int  # its first word in the table
    bytes: int  # of a row


class Inside(NamedTuple):
    """What stands where in the table for who computes one layer alone; words are an array's first."""

    layered: dict[
        str, Rows
    ]  # by their names in PackedModel: of "value" each row has H heads, one behind the other
    word_embeddings: int
    added: tuple[int, ...]  # ADDED
    qkv: int  # (N, 3 H K) query, key and value of the last layer
    context: int  # (N, H K)
    heads: int  # H
    head_width: int  # K, padded


class WebModel(NamedTuple):
    """Kernels, weights, and what stands where; addresses count from the module's ``__heap_base``."""

    module: bytes  # WebAssembly; it imports nothing
    function: str  # the export to call with the table's address and 1; 0 is what it returns
    weights: bytes  # the file: first what is copied to address 0, then what is widened
    copied: int  # how many bytes are copied
    widened: tuple[Widened, ...]
    table: tuple[int, ...]
    addresses: tuple[int, ...]  # which words of the table are addresses
    # The first word of input_ids, token_type_ids, offsets and out in the table; their sizes follow the batch.
    batch: dict[str, int]
    layers: int  # the word that says how many layers are run
    inside: Inside
    tokens: int  # how many a batch may have
    size: int  # bytes of memory, the table's aside


def web_model(spec: Spec, weights: Weights, dtype: str, longest: int) -> WebModel:
    """Lay a model out for batches of at most UNIT_TOKENS, or of one text of at most ``longest`` tokens.

    Raises MissingDependencyError where the module was not built, or not of these sources.
    """
    name = file_name("web", "wasm32")
    try:
        module, layouts = read(folder(), name)
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error}: run 'python -m minigte.engine.build --platform web-wasm32', which needs minigte[jit] "
            "and LLVM's linker, lld"
        ) from error
    level = level_of("wasm32", levels_of("wasm32")[LEVEL])
    tokens = max(longest, UNIT_TOKENS)
    packed = pack_model(spec, weights, dtype, level)
    model = with_reach(packed, spec, weights.distance_embeddings, tokens, level)
    workspace = allocate(spec, dtype, tokens, 1, level)
    if layout(model, workspace) != layouts[LEVEL].get(dtype):
        raise MissingDependencyError(f"{name} was built for models that are laid out otherwise")
    arrays: Arguments = (
        model,
        workspace,
        np.zeros(tokens, np.int32),
        np.zeros(tokens, np.int32),
        np.zeros(tokens + 1, np.int64),
        np.zeros((tokens, spec.hidden_size), np.float32),
        meeting_point(),
    )
    plain, halves = _kept(model)
    memory = _Memory()
    for array in (*plain, *halves):
        memory.place(array)
    copied = memory.place(halves[0]) if halves else memory.size
    contents = bytearray(copied)
    for array in plain:
        begin = memory.place(array)
        contents[begin : begin + array.nbytes] = array.tobytes()
    widened = []
    for array in halves:
        widened.append(Widened(len(contents), memory.place(array), array.size))
        contents += array.astype("<f2").tobytes()
    table: list[int] = []
    addresses = []
    begins = {}
    layered = {}
    for name, part in parts(arrays):
        begins[name] = len(table)
        if LAYERED.fullmatch(name) and isinstance(part, np.ndarray):
            layered[name.removeprefix(".0.")] = Rows(len(table), part.nbytes // max(1, len(part)))
        row = list(words(part))
        if isinstance(part, np.ndarray):
            addresses.append(len(table) + ADDRESS)
            row[ADDRESS] = memory.place(part)
        table += row
    function = f"minigte_forward_{LEVEL}_{dtype}"
    return WebModel(
        module,
        function,
        bytes(contents),
        copied,
        tuple(widened),
        tuple(table),
        tuple(addresses),
        {field: begins[f".{place}"] for place, field in enumerate(BATCH, 2)},
        begins[".0.norm_after_feed_forward"] + SHAPE,
        Inside(
            layered,
            begins[".0.word_embeddings"],
            tuple(begins[f".0.{name}"] for name in ADDED),
            begins[".1.qkv"],
            begins[".1.context"],
            model.heads,
            model.head_width,
        ),
        tokens,
        memory.size,
    )


def _kept(model: Any) -> tuple[list[Any], list[Any]]:
    """The arrays of a model that a file holds as they are, and those that float16 holds without loss."""
    plain: list[Any] = []
    halves: list[Any] = []
    for _, part in parts(model):
        if isinstance(part, np.ndarray) and part.size:
            with np.errstate(over="ignore"):
                is_half = part.dtype == np.float32 and bool((part.astype(np.float16) == part).all())
            (halves if is_half else plain).append(part)
    return plain, halves


class _Memory:
    """Where arrays lie; one that stands in several parts of the table lies there once."""

    def __init__(self) -> None:
        self.size = 0
        self._places: dict[tuple[int, int], int] = {}

    def place(self, array: Any) -> int:
        """The address of an array, on a cache line."""
        key = array.ctypes.data, array.nbytes
        if key not in self._places:
            self._places[key] = self.size if array.size else 0
            self.size += array.nbytes + -array.nbytes % CACHE_LINE
        return self._places[key]
