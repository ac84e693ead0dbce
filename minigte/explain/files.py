"""A trace as JSON, which holds all of it, and as a plain picture through matplotlib."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from minigte.errors import MissingDependencyError
from minigte.explain import SimilarityTrace, Trace

LABELS = 128  # tokens named along one side of a picture; of more, every second, third, ...


def json_parts(explained: Trace | SimilarityTrace) -> Iterator[str]:
    """One JSON object, piece by piece; every float32 is spelled so that reading it gives the same float32."""
    if isinstance(explained, Trace):
        own = {key: getattr(explained, key) for key in ("model", "text", "tokens", "input_ids", "is_cut")}
        yield (
            json.dumps(own, ensure_ascii=False)[:-1]
            + f', "vector": {_numbers(explained.vector)}, "stages": {{'
        )
        for i, name in enumerate(explained):
            stage = explained.stage(name)
            yield (", " if i else "") + f"{json.dumps(name)}: {{"
            yield f'"shape": {json.dumps(stage.array.shape)}, "where": {json.dumps(stage.where)}, '
            yield f'"source": {json.dumps(stage.source)}, "values": {_numbers(stage.array)}}}'
        yield "}}"
    else:
        yield f'{{"similarity_fn_name": {json.dumps(explained.a.config.similarity_fn_name)}, '
        yield f'"score": {explained.score!r}, "pairs": {json.dumps(explained.pairs.tolist())}, '
        yield f'"by_layer": {json.dumps(explained.by_layer.tolist())}, "a": '
        yield from json_parts(explained.a)
        yield ', "b": '
        yield from json_parts(explained.b)
        yield "}"


def write_png(explained: Trace | SimilarityTrace, file: BinaryIO, *, layer: int = 0, head: int = 0) -> None:
    """Draw one head's attention, or what each pair of tokens of two texts gives to their similarity.

    Raises MissingDependencyError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("a PNG needs matplotlib: pip install matplotlib") from error
    values: npt.NDArray[Any]
    if isinstance(explained, Trace):
        rows, columns = explained.tokens, explained.tokens
        values, smallest, colours = explained.attentions[layer, head], 0.0, "Blues"
        largest = float(values.max())  # not 1: among many tokens no probability comes near it
        title = f"layer {layer}, head {head}: what each token (row) gathers from"
    else:
        rows, columns = explained.a.tokens, explained.b.tokens
        largest = float(np.abs(explained.pairs).max())
        values, smallest, colours = explained.pairs, -largest, "RdBu"
        title = f"{explained.a.config.similarity_fn_name} {explained.score:.4f}, by pairs of tokens"
    width, height = (max(4.0, min(24.0, 2.0 + 0.28 * len(tokens))) for tokens in (columns, rows))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap=colours, vmin=smallest, vmax=largest)
    longer = max(len(rows), len(columns))
    size = max(5.0, min(9.0, 500 / longer))
    step = -(-longer // LABELS)
    # Not as mathematics, which matplotlib takes text between dollars for.
    options: dict[str, Any] = {"fontsize": size, "parse_math": False}
    axes.set_xticks(range(0, len(columns), step), columns[::step], rotation=90, **options)
    axes.set_yticks(range(0, len(rows), step), rows[::step], **options)
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    figure.colorbar(image, shrink=0.6)
    figure.savefig(file, format="png", dpi=150)


def _numbers(array: npt.NDArray[np.float32]) -> str:
    """Nested lists of the shortest decimal spellings."""
    shortest = np.array([float(str(x)) for x in array.reshape(-1)])
    return json.dumps(shortest.reshape(array.shape).tolist())
