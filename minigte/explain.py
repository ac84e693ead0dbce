"""The trace of one text: every number between its ids and its vector, with the line that made it.

``Embedder.explain`` gives a ``Trace``, ``Embedder.explain_similarity`` a ``SimilarityTrace``.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.config import Config
from minigte.errors import InputError
from minigte.models import bert
from minigte.models.bert import ENCODER_LAYER

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PACKAGE = Path(__file__).parent
LAYER = re.compile(r"(?:.*\.)?(\d+)\.")  # a name with a layer's number in it


@dataclass(frozen=True)
class Stage:
    """One intermediate result, and the statement of the source that made it."""

    array: Float32
    file: str  # relative to the package's folder, such as "reference/bert.py"
    line: int  # counted from 1
    source: str  # the statement itself; "" where the package is installed without its sources

    @property
    def where(self) -> str:
        """File and line, such as "reference/bert.py:93"."""
        return f"{self.file}:{self.line}"


class Stages(Mapping[str, Any]):
    """Arrays by their dotted names, as a mapping and as attributes.

    ``stages["encoder.layer.3.attention.self.probs"]`` and ``stages.encoder.layer[3].attention.self.probs``
    are the same array. A name that only begins others gives these, under what is left of their names.
    ``stages.stage(name)`` says which line made an array; printing shows all of it as a table.
    """

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self._stages = dict(stages)

    def stage(self, name: str) -> Stage:
        """The array of this name with the file, line and statement that made it. Raises KeyError."""
        if name not in self._stages:
            raise KeyError(f"no stage {name!r}: print(trace) shows the names")
        return self._stages[name]

    def __getitem__(self, name: str | int) -> Any:
        name = str(name)
        if name in self._stages:
            return self._stages[name].array
        prefix = name + "."
        branch = {n.removeprefix(prefix): stage for n, stage in self._stages.items() if n.startswith(prefix)}
        if not branch:
            raise KeyError(f"no stage {name!r}: print(trace) shows the names")
        return Stages(branch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by copy and pickle before there are stages
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(*error.args) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *{name.partition(".")[0] for name in self._stages}]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        return _table(self._stages)


@dataclass(frozen=True)
class Text:
    """What a trace is of."""

    model: str  # the name of the model
    config: Config  # the model's configuration
    text: str  # with its prompt in front
    tokens: tuple[str, ...]  # T of them, special tokens included
    input_ids: tuple[int, ...]  # (T,), the tokens' rows in the vocabulary
    is_cut: bool  # whether the text goes on after the tokens, more than the model reads


class Trace(Stages):
    """Every intermediate of one text's forward pass, by the name of the module that makes it.

    The names are those of the modules of Hugging Face's ``BertModel``; what no module makes is called
    ``scores`` (before softmax), ``probs``, ``context`` and ``sum`` (before a LayerNorm). With T tokens,
    D hidden_size, H heads, F intermediate_size, and L layers, all float32:

    ``embeddings.``: ``word_embeddings``, ``position_embeddings``, ``token_type_embeddings``, their ``sum``,
    ``LayerNorm``; (T, D) each.
    ``encoder.layer.0.`` and so on, and in ``layers``: ``attention.self.query``, ``.key``, ``.value`` and
    ``.context`` (T, D), ``.scores`` and ``.probs`` (H, T, T); ``attention.output.dense``, ``.sum`` and
    ``.LayerNorm`` (T, D); ``intermediate.dense`` and ``.intermediate_act_fn``, which are before and after
    the activation, (T, F); ``output.dense``, ``.sum`` and ``.LayerNorm`` (T, D).
    ``pooled`` (D,), and ``normalized`` (D,) where the model normalises.
    """

    def __init__(self, text: Text, stages: Mapping[str, Stage], layer_vectors: Float32) -> None:
        super().__init__(stages)
        self.text = text.text
        self.tokens = text.tokens
        self.input_ids = text.input_ids
        self.is_cut = text.is_cut
        self.model = text.model
        self.config = text.config
        self.layer_vectors = layer_vectors  # (L + 1, D) the text's vector if the model ended there

    @property
    def vector(self) -> Float32:
        """The text's vector, as ``encode`` gives it: (D,), or (truncate_dim,)."""
        return self.layer_vectors[-1]

    @property
    def layers(self) -> list[Stages]:
        """The stages of each encoder layer, L of them: ``layers[0].attention.self.query``."""
        return [self.encoder.layer[i] for i in range(self.config.encoder.num_hidden_layers)]

    @property
    def hidden_states(self) -> Float32:
        """The embeddings' output and then each layer's: (L + 1, T, D)."""
        return np.stack([self["embeddings.LayerNorm"], *(layer["output.LayerNorm"] for layer in self.layers)])

    @property
    def attentions(self) -> Float32:
        """The attention probabilities: (L, H, T, T); row i says what goes into token i."""
        return np.stack([layer["attention.self.probs"] for layer in self.layers])

    @property
    def contributions(self) -> Float64:
        """What each token gives to ``vector``: (T, D), rows that add up to it.

        Pooling is a weighted sum of the tokens' last hidden states, or, for "max", takes each component
        from one token; the norm then divides all of them by one number.
        """
        hidden = self.hidden_states[-1].astype(np.float64)  # (T, D)
        parts = np.concatenate([_shares(hidden, mode) for mode in self.config.pooling_modes], axis=1)
        if self.config.normalize:
            parts /= max(np.linalg.norm(parts.sum(axis=0)), 1e-12)
        return parts[:, : len(self.vector)]

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        rows = [f"Trace of {text!r} by {self.model}: {len(self.tokens)} tokens, {len(self)} arrays"]
        width = max(map(len, self.tokens))
        rows += [f"{i:>6}  {token:<{width}}" for i, token in zip(self.input_ids, self.tokens, strict=True)][
            :12
        ]
        rows += [f"        and {len(self.tokens) - 12} more"] * (len(self.tokens) > 12)
        return "\n".join(row.rstrip() for row in rows) + "\n" + _table(self._stages)


@dataclass(frozen=True, repr=False)
class SimilarityTrace:
    """The similarity of two texts, cut into what each pair of their tokens gives to it."""

    a: Trace
    b: Trace
    score: float  # what the model's similarity gives for the two vectors
    pairs: Float64  # (Ta, Tb), adds up to the score
    by_layer: Float64  # (L + 1,), the score if the model ended after the embeddings, the first layer, ...

    def top_pairs(self, k: int = 10) -> list[tuple[str, str, float]]:
        """The ``k`` pairs that give most: (token of a, token of b, its part of the score), largest first."""
        order = np.argsort(-self.pairs, axis=None, kind="stable")[:k]
        places = zip(*np.unravel_index(order, self.pairs.shape), strict=True)
        return [(self.a.tokens[i], self.b.tokens[j], float(self.pairs[i, j])) for i, j in places]

    def __repr__(self) -> str:
        rows = [f"{self.a.config.similarity_fn_name} {self.score:.4f} of {self.a.text!r} and {self.b.text!r}"]
        rows += [f"{part:8.4f}  {x}  {y}" for x, y, part in self.top_pairs()]
        rows.append("by layer: " + " ".join(f"{score:.3f}" for score in self.by_layer))
        return "\n".join(rows)


def trace(text: Text, weights: bert.Weights, pool: Callable[..., Float32]) -> Trace:
    """Run the reference on one text and keep everything; ``pool`` turns (T, D) into (1, D)."""
    forward = importlib.import_module(f"minigte.reference.{text.config.model_type}").forward
    stages: dict[str, Stage] = {}
    observe = keep_in(stages)
    ids = np.array(text.input_ids, np.int32)  # (T,)
    hidden = forward(text.config.encoder, weights, ids, np.array([0, len(ids)]), observe)
    pool(hidden, observe=observe)
    layers = [ENCODER_LAYER.format(i) + "output." for i in range(text.config.encoder.num_hidden_layers)]
    vectors = [pool(stages[name + "LayerNorm"].array) for name in ("embeddings.", *layers)]
    return Trace(text, stages, np.concatenate(vectors))


def keep_in(stages: dict[str, Stage]) -> Callable[[str, Float32], None]:
    """An observer that keeps a copy of each array, and the statement that made it, under its name."""

    def observe(name: str, array: Float32) -> None:
        of_one_text = array.ndim == 4 or name in ("pooled", "normalized")  # (1, H, T, T), (1, D)
        copy = (array[0] if of_one_text else array).copy()
        copy.flags.writeable = False
        stages[name] = Stage(copy, *_made_by(name))

    return observe


def trace_similarity(a: Trace, b: Trace) -> SimilarityTrace:
    """Cut the similarity of two texts into pairs of tokens, and follow it through the layers."""
    if a.model != b.model or a.vector.shape != b.vector.shape:
        raise InputError(f"the traces are of two models, {a.model} and {b.model}: explain both with one")
    name = a.config.similarity_fn_name
    if name not in ("cosine", "dot"):
        raise InputError(
            f"the similarity {name!r} is not a sum over pairs of tokens, as cosine and dot are: "
            "look at each text with explain"
        )
    left, right = a.contributions, b.contributions  # (Ta, D), (Tb, D)
    pairs = left @ right.T  # (Ta, Tb)
    by_layer = np.einsum("ld,ld->l", a.layer_vectors, b.layer_vectors, dtype=np.float64)  # (L + 1,)
    if name == "cosine":
        pairs /= _length(left.sum(axis=0)) * _length(right.sum(axis=0))
        by_layer /= _length(a.layer_vectors) * _length(b.layer_vectors)
    return SimilarityTrace(a, b, float(by_layer[-1]), pairs, by_layer)


def _length(vectors: npt.NDArray[Any]) -> Any:
    """max(‖x‖₂, 1e-12) of each row, as ``pooling.normalize`` has it: (..., D) -> (...)."""
    return np.maximum(np.linalg.norm(vectors.astype(np.float64), axis=-1), 1e-12)


def _shares(hidden: Float64, mode: str) -> Float64:
    """What each token gives to the vector that ``pooling`` makes by this mode: (T, D), adds up to it."""
    count = len(hidden)
    if mode == "max":  # each component comes from one token, the first of those that have the maximum
        return np.where(np.arange(count)[:, None] == hidden.argmax(axis=0), hidden, 0)
    position = np.arange(1, count + 1)
    weights = {
        "cls": position == 1,
        "lasttoken": position == count,
        "mean": np.full(count, 1 / count),
        "mean_sqrt_len_tokens": np.full(count, count**-0.5),
        "weightedmean": position / position.sum(),
    }[mode]  # (T,)
    return hidden * weights[:, None]


def _made_by(name: str) -> tuple[str, int, str]:
    """File, line and text of the statement that made the array now being observed under ``name``.

    Of the frames below this one, the one that says ``observe("...", array)`` with the end of the name
    as a literal is the one that made the array.
    """
    frames = [sys._getframe(2)]
    while (below := frames[-1].f_back) is not None:
        frames.append(below)
    for frame in frames:
        found = _statement(frame.f_code, frame.f_lineno)
        if found is not None and name.endswith(found[0]):
            return _in_package(frame.f_code), *found[1:]
    # Without sources, as in an application packed into one file, the line is that of the observation.
    frame = next(frame for frame in frames if frame.f_code.co_name != "<lambda>")
    return _in_package(frame.f_code), frame.f_lineno, ""


def _in_package(code: CodeType) -> str:
    """The file of a function: its path in the package, or its whole path where it is not of the package."""
    path = Path(code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else str(path)


@functools.cache
def _statement(code: CodeType, line: int) -> tuple[str, int, str] | None:
    """What stands on a line ``observe("name", array)``: the name, and line and text of what made the array.

    That is the last statement above it that writes to the array. None for a line without such a call.
    """
    try:
        lines, first = inspect.getsourcelines(code)
    except OSError:
        return None
    function = ast.parse(textwrap.dedent("".join(lines)))
    observed = line - first + 1
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    for statement in statements:
        match statement:
            case ast.Expr(ast.Call(ast.Name("observe"), [ast.Constant(str(name)), array])) if (
                statement.lineno == observed
            ):
                made = [s for s in statements if s.lineno < observed and ast.unparse(array) in _written(s)]
                last = max(made, key=lambda s: s.lineno)
                text = "".join(lines[last.lineno - 1 : last.end_lineno])
                return name, first + last.lineno - 1, textwrap.dedent(text).rstrip()
    return None


def _written(statement: ast.stmt) -> set[str]:
    """The expressions an assignment writes to, whole or in part: x += y and f(x)[:] = y both write to x."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        targets = [statement.target]
    else:
        targets = []
    return {
        ast.unparse(node) for target in targets for node in ast.walk(target) if isinstance(node, ast.expr)
    }


def _table(stages: Mapping[str, Stage]) -> str:
    """One row per array: name, shape, where; of numbered layers the first stands for all."""
    rows = [("name", "shape", "made at")]
    numbers = [match[1] for name in stages if (match := LAYER.match(name))]
    for name, stage in stages.items():
        match = LAYER.match(name)
        if match is None or match[1] == numbers[0]:
            rows.append((name, str(stage.array.shape), stage.where))
        elif rows[-1][0] != (others := f"... and layers {int(numbers[0]) + 1} to {numbers[-1]} likewise"):
            rows.append((others, "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
