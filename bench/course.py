"""From the raw JSON of rungs.py, bits.py and threads.py to the course's tables and pictures.

    python bench/course.py

Of each, the newest file in bench/results/rungs, bits and threads; beside it go the tables (.md), which the
pages include, and the pictures (.png). No number is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = dict[str, Any]  # the JSON of one script

RESULTS = Path(__file__).resolve().parent / "results"
BLUE, ORANGE, GREY = "#2a6f97", "#e07a1f", "#666666"
WORDS = {
    "rung1_python": "three loops in Python",
    "rung2_numpy": "NumPy's BLAS",
    "rung3_numba": "the loops compiled",
    "rung4_order": "another order of loops",
    "rung5_blocks": "blocks of 4 x 4",
    "rung6_vectors": "vectors, a tile in registers",
    "rung7_panels": "packed panels",
    "rung8_engine": "the engine's linear",
    "rung9_threads": "two threads",
}
DTYPES = ("float32", "bfloat16", "int8")


def newest(kind: str) -> Result:
    """The newest result of one script, with its day."""
    path = max((RESULTS / kind).glob("*.json"))
    return {"day": path.stem, **json.loads(path.read_text())}


def where(result: Result) -> str:
    """On what and when, as a sentence."""
    return f"Measured on {result['machine']['cpu']} ({result['processor']}), {result['day']}."


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column text and the others numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


# --- Page 7 ----------------------------------------------------------------------------------------------


def speeds(result: Result) -> dict[str, float]:
    """The median GFLOP/s of every rung, and of the peaks."""
    return {case["name"]: median(case["rounds"]) for case in result["cases"]}


def ladder(result: Result) -> str:
    """Every rung: its speed, its share of the peak, the time of the whole product."""
    found, rows = speeds(result), []
    rows_, inputs, outputs = result["shape"]
    for name, words in WORDS.items():
        peak = found["peak of two cores" if name == "rung9_threads" else "peak of one core"]
        speed, milliseconds = found[name], 2e-6 * rows_ * inputs * outputs / found[name]
        rows.append(
            [
                f"{name[4]} {words}",
                f"{speed:,.3g}",
                f"{speed / peak:.2%}" if speed < peak / 100 else f"{speed / peak:.0%}",
                f"{milliseconds:,.0f}" if milliseconds >= 10 else f"{milliseconds:.2f}",
            ]
        )
    rows.append(["the peak of one core", f"{found['peak of one core']:,.0f}", "100%", ""])
    rows.append(["the peak of both", f"{found['peak of two cores']:,.0f}", "100%", ""])
    header = ["rung", "GFLOP/s", "of the peak", f"({rows_}, {inputs}) x ({inputs}, {outputs}), ms"]
    machine = (
        f"NumPy's BLAS is {', '.join(result['blas'])}. A vector: {result['vectors']}; the engine's tile: "
    )
    machine += f"{result['tile'][0]} x {result['tile'][1]}. Rung 9 is compared with the peak of both cores."
    return f"{table(header, rows)}\n\n{where(result)} {machine}\n"


def draw_ladder(result: Result, axes: Axes) -> None:
    """The rungs as bars, on a scale where each step is ten times the one before."""
    found = speeds(result)
    names = [f"{name[4]} {words}" for name, words in WORDS.items()]
    values = [found[name] for name in WORDS]
    colours = [GREY if name in ("rung1_python", "rung2_numpy") else BLUE for name in WORDS]
    colours[-1] = ORANGE
    axes.barh(names[::-1], values[::-1], color=colours[::-1])
    for place, value in enumerate(values[::-1]):
        axes.text(max(found.values()) * 1.3, place, f"{value:,.3g}", va="center", fontsize=9)
    axes.axvline(found["peak of one core"], color=BLUE, ls="--", lw=1)
    axes.axvline(found["peak of two cores"], color=ORANGE, ls="--", lw=1)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(found.values()) * 3)
    axes.set_xlabel("GFLOP/s (dashed: the peak of one core, of two)")
    axes.spines[["top", "right"]].set_visible(False)


# --- Page 8 ----------------------------------------------------------------------------------------------


def lost(result: Result) -> str:
    """How the cosines to float32 are spread."""
    rows = []
    for workload, by_dtype in result["distances"].items():
        for dtype, values in by_dtype.items():
            cosines = 1 - np.array(values)
            spread = [cosines.mean(), *np.percentile(cosines, [50, 10, 1]), cosines.min()]
            below = int((cosines < 0.998).sum())
            words = f"{len(cosines):,} {workload}, {dtype}"
            rows.append([words, *(f"{c:.6f}" for c in spread), f"{below}"])
    header = ["", "mean", "median", "one in 10 is below", "one in 100 is below", "lowest", "below 0.998"]
    how = "; ".join(f"{dtype}: {result['instructions'][dtype]}" for dtype in DTYPES)
    return f"{table(header, rows)}\n\n{where(result)} The products ran on {how}.\n"


def draw_lost(result: Result, axes: Axes) -> None:
    """How many sentences lie how far from float32."""
    bins = np.logspace(-8, -2, 61)
    for dtype, colour in (("bfloat16", BLUE), ("int8", ORANGE)):
        values = np.maximum(result["distances"]["sentences"][dtype], 1e-8)
        axes.hist(values, bins, color=colour, alpha=0.75, label=dtype)
    axes.axvline(0.002, color=GREY, ls="--", lw=1)
    axes.text(0.0022, axes.get_ylim()[1] * 0.9, "cosine\n0.998", color=GREY, fontsize=9, va="top")
    axes.set_xscale("log")
    axes.set_xlabel("1 - cosine to the float32 vector")
    axes.set_ylabel("sentences of STSBenchmark")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)


def products(result: Result) -> str:
    """What rounding one product to int8 costs, and what sparing it brings."""
    everything = result["everything"]
    rows = [
        [
            f"`{name}`",
            f"{cost['alone']:.1e}",
            f"{cost['all the others']:.1e}",
            f"{max(0, 1 - cost['all the others'] / everything):.0%}",
        ]
        for name, cost in result["products"].items()
    ]
    rows.append(["all six", f"{everything:.1e}", "0", "100%"])
    header = ["product, in all 12 layers", "only it in int8", "all but it in int8", "sparing it takes away"]
    simulated = result["simulation"]
    said = (
        f"Mean 1 - cosine of {len(result['ordinary'])} sentences, products rounded in NumPy. {where(result)} "
    )
    said += (
        f"Rounded as the engine does it, NumPy's vectors lose {simulated['lost']:.1e} and the engine's own "
    )
    said += f"{simulated['lost by the engine']:.1e}."
    return f"{table(header, rows)}\n\n{said}\n"


def draw_layers(result: Result, axes: Axes) -> None:
    """What each layer's int8 costs alone."""
    axes.bar(range(1, len(result["layers"]) + 1), result["layers"], color=BLUE)
    axes.set_xticks(range(1, len(result["layers"]) + 1))
    axes.set_xlabel("the only layer whose products are int8")
    axes.set_ylabel("mean 1 - cosine")
    axes.spines[["top", "right"]].set_visible(False)


def lowest(result: Result) -> str:
    """The sentences that lose most, and where attention tips over."""
    noise = np.array(result["noise"])
    rows = []
    for one in result["lowest"]:
        layer, moved = max(
            enumerate(one["tipped"]), key=lambda item: abs(item[1]["after"] - item[1]["before"])
        )
        head, to, source = moved["place"]
        rank = int((noise > noise[one["index"]]).sum()) + 1
        rows.append(
            [
                one["text"].strip(),
                f"{1 - one['distance']:.4f}",
                f"layer {layer + 1}, head {head + 1}: `{one['tokens'][to]}` to `{one['tokens'][source]}`",
                f"{moved['before']:.2f} → {moved['after']:.2f}",
                f"{rank} of {len(noise)}",
            ]
        )
    header = [
        "sentence of STSBenchmark",
        "cosine",
        "attention that moved most",
        "probability",
        "rank under noise",
    ]
    return f"{table(header, rows)}\n\n{where(result)}\n"


def draw_growth(result: Result, axes: Axes) -> None:
    """How the hidden states drift off, layer by layer: ordinary sentences and the lowest ones."""
    ordinary = np.array(result["ordinary"])
    layers = range(ordinary.shape[1])
    axes.fill_between(layers, *np.percentile(ordinary, [5, 95], axis=0), color=BLUE, alpha=0.25, lw=0)
    axes.plot(
        layers, np.median(ordinary, axis=0), color=BLUE, label="ordinary sentences (median, 90% of them)"
    )
    for i, one in enumerate(result["lowest"]):
        axes.plot(layers, one["growth"], color=ORANGE, lw=1, label=None if i else "the lowest ones")
    axes.set_xticks(layers)
    axes.set_xlabel("after layer (0: the embeddings)")
    axes.set_ylabel("distance to float32's hidden states\n/ their length")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)


def draw_noise(result: Result, axes: Axes) -> None:
    """Every sentence's loss in int8 beside what a small random push of the word embeddings does."""
    int8, noise = np.array(result["distances"]["sentences"]["int8"]), np.array(result["noise"])
    low = [one["index"] for one in result["lowest"]]
    axes.scatter(noise, int8, s=4, color=BLUE, alpha=0.4, lw=0, label="a sentence")
    axes.scatter(noise[low], int8[low], s=24, color=ORANGE, label="the lowest ones")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("1 - cosine in float32, word embeddings moved by 10%")
    axes.set_ylabel("1 - cosine in int8")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)


def gained(result: Result) -> str:
    """Speed of the newest run beside the peers, and the memory of the packed weights."""
    path = max(RESULTS.glob("*.json"))
    run = json.loads(path.read_text())
    ours = {r["precision"]: r for r in report.measured(run) if r["name"] == report.OURS}
    rows = []
    for dtype in DTYPES:
        speed = {w: median(report.speeds(ours[dtype], w).values()) for w in ("sentences", "documents")}
        base = {w: median(report.speeds(ours["float32"], w).values()) for w in speed}
        rows.append(
            [
                dtype,
                *(f"{value:,.0f} ({value / base[w]:.1f} x)" for w, value in speed.items()),
                f"{median(report.p50(ours[dtype]).values()):.2f}",
                f"{result['bytes'][dtype] / 1e6:.0f}",
            ]
        )
    header = [
        "computed in",
        "sentences, tokens/s",
        "documents, tokens/s",
        "one query, p50 ms",
        "layers' weights, MB",
    ]
    said = f"Speeds: {run['machine']['cpu']}, {run['threads']} threads, {run['started'][:10]}."
    return f"{table(header, rows)}\n\n{said}\n"


# --- Page 9 ----------------------------------------------------------------------------------------------


def scaling(result: Result) -> str:
    """One thread and two, on many texts and on one."""
    rows = []
    for name, by_dtype in result["seconds"].items():
        for dtype, by_threads in by_dtype.items():
            one, two = (median(by_threads[threads]) * 1e3 for threads in ("1", "2"))
            tokens = result["tokens"][name]
            rows.append(
                [f"{name} ({tokens:.0f} tokens), {dtype}", f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}"]
            )
    header = ["", "one thread, ms a text", "two threads, ms a text", "times as fast"]
    return f"{table(header, rows)}\n\n{where(result)}\n"


def draw_scaling(result: Result, axes: Axes) -> None:
    """How many times as fast two threads are."""
    names = list(result["seconds"])
    for shift, (dtype, colour) in enumerate((("float32", BLUE), ("int8", ORANGE))):
        ratios = [
            median(result["seconds"][n][dtype]["1"]) / median(result["seconds"][n][dtype]["2"]) for n in names
        ]
        bars = axes.bar(np.arange(len(names)) + 0.38 * shift, ratios, 0.36, color=colour, label=dtype)
        axes.bar_label(bars, fmt="%.2f", fontsize=9)
    axes.axhline(2, color=GREY, ls="--", lw=1)
    axes.axhline(1, color=GREY, lw=1)
    axes.set_xticks(np.arange(len(names)) + 0.19, names)
    axes.set_ylim(0, 2.3)
    axes.set_ylabel("times as fast with two threads")
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def costs(result: Result) -> str:
    """What meeting costs, and what Numba's own pools cost and refuse."""
    meetings = {name: median(values) * 1e6 for name, values in result["meetings"].items()}
    rows = [
        ["a barrier of two, in compiled code", f"{meetings['barrier']:.2f}"],
        ["a team of two formed by a waiting helper", f"{meetings['team']:.0f}"],
    ]
    for layer, words in (("workqueue", "its own pool, `workqueue`"), ("omp", "OpenMP")):
        region = result["pools"][layer]["region"]
        if region["exit"] == 0:
            rows.append([f"an empty `prange` through {words}", f"{float(region['printed']):.1f}"])
        else:
            rows.append([f"an empty `prange` through {words}", "not installed here"])
    return f"{table(['', 'microseconds'], rows)}\n\n{where(result)}\n"


def refusals(result: Result) -> str:
    """How the two pools end when two threads use them at once, and after a fork."""
    rows = []
    for layer in ("workqueue", "omp"):
        uses = result["pools"][layer]
        if uses["region"]["exit"] != 0:
            continue
        for use, words in (
            ("at once", "called by two Python threads at once"),
            ("after fork", "used in a forked child"),
        ):
            end = uses[use]
            outcome = (
                "works"
                if end["exit"] == 0
                else f"the process is ended: {end['said']}"
                if end["said"]
                else "the process is ended"
            )
            rows.append([f"`{layer}`, {words}", outcome])
    return f"{table(['pool and use', 'what happens'], rows)}\n\n{where(result)}\n"


def lock(result: Result) -> str:
    """What two Python threads do beside one."""
    rows = [[name, f"{median(values):.2f}"] for name, values in result["lock"].items()]
    header = ["the same loop in", "work of two threads / of one, in the same time"]
    return f"{table(header, rows)}\n\n{where(result)}\n"


TABLES: dict[str, tuple[Callable[[Result], str], ...]] = {
    "rungs": (ladder,),
    "bits": (lost, products, lowest, gained),
    "threads": (lock, scaling, costs, refusals),
}
PICTURES: dict[str, tuple[Callable[[Result, Axes], None], ...]] = {
    "rungs": (draw_ladder,),
    "bits": (draw_lost, draw_layers, draw_growth, draw_noise),
    "threads": (draw_scaling,),
}


def main() -> None:
    """Write all of it."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    for kind, functions in TABLES.items():
        result = newest(kind)
        for function in functions:
            (RESULTS / kind / f"{function.__name__}.md").write_text(function(result), encoding="utf-8")
        for draw in PICTURES[kind]:
            figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
            draw(result, axes)
            figure.savefig(RESULTS / kind / f"{draw.__name__.removeprefix('draw_')}.png", dpi=110)
            plt.close(figure)


if __name__ == "__main__":
    main()
