"""Draw the course's pictures from gte-small's own numbers: ``make pictures``.

Each function draws one picture, to the file of its name. The same numbers give the same bytes.
"""

from __future__ import annotations

import inspect
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigte import Embedder
from minigte.arrays import Float32
from minigte.explain import Trace
from minigte.reference import ops

HERE = Path(__file__).resolve().parent
QUESTION, ANSWER = "what is the capital of China?", "Beijing"
BLUE, ORANGE, GREY, LIGHT = "#2a6f97", "#e07a1f", "#666666", "#dddddd"

matplotlib.use("svg")
plt.rcParams.update(
    {
        "svg.hashsalt": "minigte",  # names inside the file, the same each time
        "svg.fonttype": "none",  # text stays text
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
    }
)


def packing() -> Figure:
    """Three texts in a padded rectangle, and the same three end to end."""
    texts = [
        ["[CLS]", "what", "is", "the", "capital", "of", "china", "?", "[SEP]"],
        ["[CLS]", "good", "morning", "[SEP]"],
        ["[CLS]", "beijing", "[SEP]"],
    ]
    colours = [BLUE, "#4f9d69", ORANGE]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8.6, 3.4), gridspec_kw={"height_ratios": [3, 1.8]})

    def cell(axes: Axes, x: float, y: float, token: str, colour: str) -> None:
        axes.add_patch(plt.Rectangle((x, y), 0.94, 0.8, color=colour, alpha=0.85 if colour != LIGHT else 1))
        ink = "white" if colour != LIGHT else GREY
        axes.text(x + 0.47, y + 0.4, token, ha="center", va="center", fontsize=7, color=ink)

    total = sum(map(len, texts))
    for row, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        for column in range(len(texts[0])):
            token = text[column] if column < len(text) else "[PAD]"
            cell(above, column, -row, token, colour if column < len(text) else LIGHT)
    above.set_title(
        f"padded: 3 x 9 = 27 places, {27 - total} of them filled with nothing", loc="left", fontsize=10
    )
    x = 0
    for text, colour in zip(texts, colours, strict=True):
        below.annotate(f"{x}", (x, -0.1), ha="center", va="top", fontsize=9, color=colour, fontweight="bold")
        for token in text:
            cell(below, x, 0, token, colour)
            x += 1
    below.annotate(f"{x}", (x, -0.1), ha="center", va="top", fontsize=9, color=GREY, fontweight="bold")
    below.set_title(f"packed: N = {total} places, offsets = [0, 9, 13, 16]", loc="left", fontsize=10)
    for axes, bottom in ((above, -2.2), (below, -0.8)):
        axes.set(xlim=(-0.2, total + 0.2), ylim=(bottom, 1))
        axes.axis("off")
    return figure


def embeddings() -> Figure:
    """The parts of the row of "china", their sum, and the sum after LayerNorm, as strips of colour."""
    _, trace = _run(QUESTION)
    parts = {
        "word": trace.embeddings.word_embeddings[6],
        "+ position": trace.embeddings.position_embeddings[6],
        "+ token type": trace.embeddings.token_type_embeddings[6],
        "= sum": trace.embeddings.sum[6],
        "LayerNorm": trace.embeddings.LayerNorm[6],
    }
    figure, axes = plt.subplots(5, 1, figsize=(8.6, 2.9))
    for ax, (name, part) in zip(axes, parts.items(), strict=True):
        limit = 1.2 if name == "LayerNorm" else 0.25
        image = ax.imshow(part[None, :48], cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        ax.set(xticks=[], yticks=[0], yticklabels=[name])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, pad=0.01, aspect=3, ticks=[-limit, limit])
        bar.ax.tick_params(labelsize=7, length=0)
        bar.outline.set_visible(False)
    axes[-1].set_xlabel("components 0 to 47 of 384", fontsize=9)
    return figure


def attention() -> Figure:
    """The attention matrices of three heads with a clear habit."""
    _, trace = _run(QUESTION)
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 3.4), sharey=True)
    heads = ((0, 2, "the token before"), (1, 11, "the token after"), (11, 0, '"capital"'))
    for ax, (layer, head, habit) in zip(axes, heads, strict=True):
        image = ax.imshow(trace.attentions[layer, head], cmap="Blues", vmin=0, vmax=1)
        ax.set_title(f"layer {layer}, head {head}:\n{habit}", fontsize=10)
        ax.set(xticks=range(len(trace.tokens)), yticks=range(len(trace.tokens)), xlabel="looks at")
        ax.set_xticklabels(trace.tokens, rotation=90, fontsize=8)
        ax.set_yticklabels(trace.tokens, fontsize=8)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("who asks")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of attention")
    return figure


def attention_shapes() -> Figure:
    """Boxes with the shape of every array of one layer's attention."""
    figure, ax = plt.subplots(figsize=(8.6, 3.6))
    ax.set(xlim=(0, 100), ylim=(0, 42))
    ax.axis("off")
    _box(ax, 0, 16, 11, "x", "(9, 384)")
    for y, name, letter in ((31, "query", "Q"), (16, "key", "K"), (1, "value", "V")):
        _box(ax, 17, y, 15, name, "(9, 384)")
        _box(ax, 37, y, 15, f"heads of {letter}", "(12, 9, 32)")
        _arrow(ax, 11, 21, 17, y + 5)
        _arrow(ax, 32, y + 5, 37, y + 5)
    _box(ax, 58, 23.5, 14, "shares", "(12, 9, 9)", ORANGE)
    _arrow(ax, 52, 36, 58, 30)
    _arrow(ax, 52, 21, 58, 27)
    ax.text(65, 35.5, "softmax(Q Kᵀ / √32)", ha="center", fontsize=8, color=GREY)
    _box(ax, 58, 1, 14, "context", "(12, 9, 32)")
    _arrow(ax, 52, 6, 58, 6)
    _arrow(ax, 65, 23.5, 65, 11)
    ax.text(66, 17, "shares · V", fontsize=8, color=GREY, va="center")
    _box(ax, 78, 1, 9, "rows", "(9, 384)")
    _arrow(ax, 72, 6, 78, 6)
    _box(ax, 90, 1, 10, "output", "(9, 384)")
    _arrow(ax, 87, 6, 90, 6)
    return figure


def gelu() -> Figure:
    """GELU and ReLU, and how layer 0's numbers are spread over them."""
    _, trace = _run(QUESTION)
    wide = trace.layers[0].intermediate.dense  # (T, F)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.4, 4.2), sharex=True, gridspec_kw={"height_ratios": [2, 1]}
    )
    points = np.linspace(-4, 4, 321, dtype=np.float32)
    above.plot(points, np.maximum(points, 0), color=GREY, linestyle="--", label="ReLU: max(x, 0)")
    above.plot(points, ops.gelu(points), color=BLUE, linewidth=2.2, label="GELU: x Φ(x)")
    above.axhline(0, color=LIGHT, linewidth=0.8, zorder=0)
    above.set(ylabel="goes on", ylim=(-0.5, 4))
    above.legend(frameon=False)
    below.hist(wide.ravel(), bins=np.linspace(-4, 4, 81), color=ORANGE)
    below.set(xlabel="x", ylabel="how many of 9 x 1,536", xlim=(-4, 4))
    return figure


def layernorm() -> Figure:
    """The numbers of one row before LayerNorm, scaled, and after weight and bias."""
    _, trace = _run(QUESTION)
    row = trace.layers[0].attention.output.sum[6]
    rows = {
        "x + attention(x)": row,
        "mean 0, spread 1": (row - row.mean()) / row.std(),
        "times weight, plus bias": trace.layers[0].attention.output.LayerNorm[6],
    }
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.5), sharey=True)
    for ax, (name, numbers), colour in zip(axes, rows.items(), (GREY, BLUE, ORANGE), strict=True):
        ax.hist(numbers, bins=np.linspace(-4, 4, 65), color=colour)
        ax.set_title(f"{name}\nmean {numbers.mean():.2f}, spread {numbers.std():.2f}", fontsize=9)
    axes[0].set_ylabel("how many of 384")
    return figure


def layer() -> Figure:
    """The steps of one layer, with the two ways around them."""
    figure, ax = plt.subplots(figsize=(8.6, 2.2))
    ax.set(xlim=(0, 100), ylim=(-2, 24))
    ax.axis("off")
    steps = (
        (0, 9, "x", "(9, 384)", BLUE),
        (13, 15, "attention", "(9, 384)", ORANGE),
        (32, 4, "+", "", GREY),
        (39, 11, "LayerNorm", "(9, 384)", BLUE),
        (54, 17, "feed-forward", "(9, 1536), then (9, 384)", ORANGE),
        (75, 4, "+", "", GREY),
        (82, 11, "LayerNorm", "(9, 384)", BLUE),
    )
    for left, width, name, shape, colour in steps:
        _box(ax, left, 2, width, name, shape, colour)
    for (left, width, *_), (right, *_) in pairwise(steps):
        _arrow(ax, left + width, 7, right, 7)
    _arrow(ax, 93, 7, 99, 7)
    for start, end in ((4.5, 34), (44.5, 77)):
        ax.plot([start, start, end], [12, 19, 19], color=GREY, linewidth=1)
        _arrow(ax, end, 19, end, 12)
        ax.text((start + end) / 2, 20, "the residual: x itself", ha="center", fontsize=8, color=GREY)
    return figure


def pairs() -> Figure:
    """What each pair of tokens adds to the similarity of the question and its answer."""
    embedder, question = _run(QUESTION)
    similarity = embedder.explain_similarity(question, ANSWER)
    parts, answer = similarity.pairs, similarity.b
    figure, ax = plt.subplots(figsize=(4.6, 4.4))
    ax.imshow(parts, cmap="Blues", vmin=0.02, vmax=0.045, aspect="auto")
    ax.set(xticks=range(parts.shape[1]), yticks=range(parts.shape[0]))
    ax.set_xticklabels(answer.tokens)
    ax.set_yticklabels(question.tokens)
    ax.spines[:].set_visible(False)
    for i, row in enumerate(parts):
        for j, part in enumerate(row):
            ax.text(j, i, f"{part:.3f}", ha="center", va="center", color="white" if part > 0.034 else "black")
    ax.set_title(f"together {similarity.score:.4f}", fontsize=10)
    return figure


def way() -> Figure:
    """The whole way: tokens and ids, the rows between layers, the vector, its cosine to another."""
    embedder, trace = _run(QUESTION)
    width, height, shown = 8.5, 4.2, 24  # inches, and how many of the 384 components
    figure = plt.figure(figsize=(width, height), layout="none")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(0, height))
    page.axis("off")

    def strip(rows: Float32, left: float, bottom: float, tall: float) -> None:
        axes = figure.add_axes((left / width, bottom / height, 1.35 / width, tall / height))
        axes.imshow(np.atleast_2d(rows)[:, :shown], cmap="PuOr", vmin=-1.2, vmax=1.2, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)

    page.text(0.1, 3.98, QUESTION, fontsize=12, fontweight="bold", va="center")
    for row, (token, token_id) in enumerate(zip(trace.tokens, trace.input_ids, strict=True)):
        y = 3.4 - (row + 0.5) * 2.1 / len(trace.tokens)
        page.text(0.1, y, token, fontsize=9.5, va="center")
        page.text(1.3, y, str(token_id), fontsize=9.5, va="center", ha="right", color=GREY)
    stages = (
        ("embeddings", trace.embeddings.LayerNorm),
        ("after layer 0", trace.layers[0].output.LayerNorm),
        ("after layer 5", trace.layers[5].output.LayerNorm),
        ("after layer 11", trace.layers[11].output.LayerNorm),
    )
    page.text(0.1, 3.56, "tokens", fontsize=9.5, color=BLUE)
    page.text(1.3, 3.56, "ids", fontsize=9.5, color=BLUE, ha="right")
    for column, (name, rows) in enumerate(stages):
        left = 1.75 + 1.75 * column
        strip(rows, left, 1.3, 2.1)
        page.text(left, 3.56, name, fontsize=9.5, color=BLUE)
        _arrow(page, left - 0.32, 2.35, left - 0.06, 2.35)
    for x in (5.0, 6.75):  # the layers between those that are drawn
        page.text(x, 2.45, "…", ha="center", fontsize=12, color=GREY)
    vector, other = trace.vector, embedder.encode(ANSWER)
    unit = np.sqrt(len(vector)) / 2  # a vector of length 1, in the colours of the rows above
    _arrow(page, 7.675, 1.24, 7.675, 0.74)
    page.text(7.55, 1.0, "mean, length 1", fontsize=9.5, ha="right", va="center", color=BLUE)
    strip(vector * unit, 7.0, 0.4, 0.28)
    page.text(7.675, 0.2, "the text's vector", fontsize=9.5, ha="center", va="center", color=BLUE)
    strip(other * unit, 3.5, 0.4, 0.28)
    page.text(3.4, 0.54, ANSWER, fontsize=12, fontweight="bold", ha="right", va="center")
    page.text(5.925, 0.54, f"cosine {vector @ other:.4f}", fontsize=12, ha="center", va="center")
    return figure


def _run(text: str) -> tuple[Embedder, Trace]:
    """gte-small, and everything it computes from a text."""
    embedder = Embedder("thenlper/gte-small", backend="numpy")
    return embedder, embedder.explain(text)


def _box(ax: Axes, x: float, y: float, width: float, name: str, shape: str, colour: str = BLUE) -> None:
    """A box, 10 high, with a name and a shape in it."""
    ax.add_patch(plt.Rectangle((x, y), width, 10, facecolor=colour, alpha=0.9, edgecolor="none"))
    centre = x + width / 2
    ax.text(centre, y + (6.8 if shape else 5), name, ha="center", va="center", fontsize=9, color="white")
    ax.text(centre, y + 2.8, shape, ha="center", va="center", fontsize=7, color="white")


def _arrow(ax: Axes, x: float, y: float, to_x: float, to_y: float) -> None:
    """An arrow from one point to another."""
    ax.annotate(
        "", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
    )


def main() -> None:
    """Draw all pictures, or those that are named, into the folder named last or beside this file."""
    arguments = sys.argv[1:]
    folder = Path(arguments.pop()) if arguments and Path(arguments[-1]).is_dir() else HERE
    functions = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    for name, draw in functions:
        if name != "main" and draw.__module__ == __name__ and not name.startswith("_"):
            if arguments and name not in arguments:
                continue
            figure = draw()
            path = folder / f"{name.replace('_', '-')}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
