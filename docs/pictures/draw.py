"""Draw the course's pictures from gte-small's own numbers: ``make pictures``.

Each function draws one picture, to the file of its name. The same numbers give the same bytes.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            print(folder / f"{name}.svg", file=sys.stderr)


if __name__ == "__main__":
    np.set_printoptions(suppress=True)
    main()
