"""From the raw JSON of runs to the tables and plots of bench/README.md: ``python bench/report.py``.

Every file in bench/results becomes a section between that page's two markers, newest first, and two PNG
files beside it; a summary of the newest goes to README.md. Files in bench/results/models, of other models
(`make bench-model`), become a table each. No number is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from markers import write_between_markers

Run = dict[str, Any]  # the JSON of one run
Result = dict[str, Any]  # one peer of it: the fields of run.Result
Ops = dict[str, float]  # a kernel's name -> its median GFLOP/s, or GB/s

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: written by report.py -->", "<!-- end of results -->"
BEGIN_MODELS, END_MODELS = "<!-- models: written by report.py -->", "<!-- end of models -->"
OURS = "minigte"
PRECISIONS = ("float32", "bfloat16", "int8")
BANDWIDTH = ("copy", "layer norm", "gelu", "softmax", "quantize rows")  # ops bound by memory: GB/s
BATCHED = ("sentences", "documents", "mix")
COLOURS = {
    "minigte": "#d62728",
    "minigte (NumPy)": "#ff9896",
    "ONNX Runtime": "#1f77b4",
    "OpenVINO": "#2ca02c",
    "CTranslate2": "#9467bd",
    "fastembed": "#17becf",
    "sentence-transformers": "#8c564b",
    "llama.cpp": "#7f7f7f",
}


def speeds(result: Result, workload: str) -> dict[int, float]:
    """Tokens per second of every round: {round: tokens/s}."""
    return {u["round"]: u["tokens"] / u["seconds"] for u in result["units"].get(workload, [])}


def p50(result: Result) -> dict[int, float]:
    """Median milliseconds of a single query in every round: {round: ms}."""
    rounds = (unit["round"] for unit in result["units"].get("queries", []))
    return {r: median(us) / 1e3 for r, us in zip(rounds, result["latencies_us"], strict=True)}


def p95(result: Result) -> float:
    """The milliseconds that 95 of 100 single queries stay within, median over the rounds."""
    return median(sorted(us)[int(0.95 * (len(us) - 1))] for us in result["latencies_us"]) / 1e3


def spread(values: list[float]) -> str:
    """Half the distance of the lowest and the highest value, in percent of the median."""
    return f"±{50 * (max(values) - min(values)) / median(values):.0f} %"


def text_lengths(run: Run) -> dict[str, str]:
    """How long a workload's texts are on average, in words: {workload: "11 tokens"}."""
    return {name: f"{w['tokens'] / w['texts']:.0f} tokens" for name, w in run["workloads"].items()}


def peak_megabytes(result: Result) -> float:
    """The most memory that the process with this peer had, up to the last of its documents."""
    peak: int = max(unit["peak_rss"] for unit in result["units"]["documents"])
    return peak / 1e6


def measured(run: Run) -> list[Result]:
    """The peers that went through the whole run."""
    return [result for result in run["peers"].values() if not result["error"]]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first two columns text and the others numbers."""
    rule = ["---", "---"] + ["---:"] * (len(header) - 2)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def label(result: Result) -> list[str]:
    """Name and precision, ours in bold."""
    cells = [result["name"], result["precision"]]
    return [f"**{cell}**" for cell in cells] if result["name"] == OURS else cells


def speed_table(run: Run) -> str:
    """Throughput of each workload and the latency of one query."""
    header = ["", "dtype"]
    for name in BATCHED:
        size = run["workloads"][name]
        header.append(f"{name} ({size['tokens'] / size['texts']:.0f} tokens a text), tokens/s")
    rows = []
    for result in measured(run):
        row = label(result)
        for name in BATCHED:
            values = list(speeds(result, name).values())
            row.append(f"{median(values):,.0f} {spread(values)}")
        latencies = list(p50(result).values())
        row += [f"{median(latencies):.2f} {spread(latencies)}", f"{p95(result):.2f}"]
        rows.append(row)
    return table([*header, "one query, p50 ms", "p95 ms"], rows)


def texts_table(run: Run) -> str:
    """The same throughput in texts, and the setting and batch size that gave it."""
    header = ["", "dtype", *(f"{name}, texts/s (setting, batch)" for name in BATCHED), "one query"]
    rows = []
    for result in measured(run):
        row = label(result)
        for name in BATCHED:
            rate = median(unit["texts"] / unit["seconds"] for unit in result["units"][name])
            chosen = result["chosen"][name]
            how = str(chosen["batch_size"] or "its own")
            if chosen["setting"] != "default":
                how = f"{chosen['setting']}, {how}"
            row.append(f"{rate:,.1f} ({how})")
        setting = result["chosen"]["queries"]["setting"]
        rows.append([*row, "–" if setting == "default" else setting])
    return table(header, rows)


def fidelity_table(run: Run) -> str:
    """Cosine to transformers' float32 vectors."""
    names = list(run["workloads"])
    rows = []
    for result in measured(run):
        cosines = [result["cosine"][name] for name in names]
        rows.append([*label(result), *(f"{c['mean']:.6f} / {c['min']:.6f}" for c in cosines)])
    return table(["", "dtype", *(f"{name}, mean / min" for name in names)], rows)


def cost_table(run: Run) -> str:
    """Memory, start-up, disk, and the time a conversion takes."""
    rows = []
    for result in measured(run):
        row = [*label(result), f"{peak_megabytes(result):,.0f}", f"{result['cold_start']:.2f}"]
        row.append(f"{median(result['warm_starts']):.2f}")
        row.append(f"{result['install_bytes'] / 1e6:,.0f}")
        conversion = sum(result["conversion_seconds"].values())
        rows.append([*row, f"{conversion:.0f}" if conversion else "–"])
    header = ["", "dtype", "peak RSS, MB", "cold start, s", "warm start, s", "installed, MB"]
    return table([*header, "conversion, s"], rows)


class Comparison(NamedTuple):
    """minigte and the best peer of the same dtype on one workload."""

    ours: float  # tokens/s, or for queries p50 in ms; medians over the rounds
    best: str  # the peer's name
    theirs: float
    each: list[float]  # the ratio, ours to theirs, of every round that both took part in


def compare(run: Run, precision: str, workload: str) -> Comparison | None:
    """Compare on one workload; None where minigte or all peers lack the precision."""
    results = [r for r in measured(run) if r["precision"] == precision]
    values = {r["name"]: p50(r) if workload == "queries" else speeds(r, workload) for r in results}
    middle = {name: median(rounds.values()) for name, rounds in values.items()}
    peers = [name for name in middle if not name.startswith(OURS)]
    if OURS not in middle or not peers:
        return None
    best = (min if workload == "queries" else max)(peers, key=middle.__getitem__)
    both = values[OURS].keys() & values[best].keys()
    return Comparison(middle[OURS], best, middle[best], [values[OURS][r] / values[best][r] for r in both])


def ratio_table(run: Run) -> str:
    """minigte against the best peer of the same dtype on each workload."""
    rows = []
    for precision in PRECISIONS:
        for workload in (*BATCHED, "queries"):
            seen = compare(run, precision, workload)
            if seen is None:
                continue
            rows.append(
                [
                    precision,
                    "p50 of one query" if workload == "queries" else f"{workload}, tokens/s",
                    seen.best,
                    f"{seen.ours / seen.theirs:.2f} ({min(seen.each):.2f} to {max(seen.each):.2f})",
                ]
            )
    if not rows:
        return "This run measured no precision of minigte together with a peer's."
    return table(["dtype", "what", "best peer", "minigte / best peer (lowest to highest round)"], rows)


def summary(run: Run) -> str:
    """What the repository's README shows of a run: minigte beside the best peer of each precision."""
    rows, ahead = [], []
    for precision in PRECISIONS:
        cells = [precision]
        for workload in ("sentences", "documents", "queries"):
            seen = compare(run, precision, workload)
            if seen is None:
                break
            if seen.ours > seen.theirs if workload == "queries" else seen.ours < seen.theirs:
                what = "one query" if workload == "queries" else workload
                ahead.append(f"{precision} {what} ({seen.best})")
            digits = ".2f" if workload == "queries" else ",.0f"
            cells.append(f"**{seen.ours:{digits}}** ({seen.best} {seen.theirs:{digits}})")
        else:
            rows.append(cells)
    length = text_lengths(run)
    batched = [f"{name} of {length[name]}, tokens/s" for name in ("sentences", "documents")]
    header = ["dtype", *batched, "one query, p50 ms"]
    machine = run["machine"]
    where = f"{run['threads']} threads of {machine['cpu']}, {run['started'][:10]}"
    title = "Speed of minigte in bold, of the fastest peer of the same dtype in brackets."
    losses = f"\n\nWhere another program is ahead: {', '.join(ahead)}." if ahead else ""
    return f"{title} {where}:\n\n{table(header, rows)}{losses}"


def model_section(run: Run, name: str) -> str:
    """Speed and memory of another model, beside the best peer of the same dtype."""
    rows = []
    for precision in PRECISIONS:
        cells = [precision]
        for workload in (*BATCHED, "queries"):
            if seen := compare(run, precision, workload):
                digits = ".2f" if workload == "queries" else ",.0f"
                ratio = seen.ours / seen.theirs
                cells.append(f"**{seen.ours:{digits}}** ({ratio:.2f} × {seen.best} {seen.theirs:{digits}})")
        if len(cells) == 1:
            continue
        results = {r["name"]: r for r in measured(run) if r["precision"] == precision}
        peaks = {name: peak_megabytes(result) for name, result in results.items()}
        least = min(peaks.keys() - {OURS}, key=peaks.__getitem__)
        cosines = {name: f"{result['cosine']['sentences']['mean']:.5f}" for name, result in results.items()}
        others = ", ".join(f"{name} {cosine}" for name, cosine in cosines.items() if name != OURS)
        cells.append(f"**{peaks[OURS]:,.0f}** ({least} {peaks[least]:,.0f})")
        rows.append([*cells, f"**{cosines[OURS]}** ({others})"])
    length = text_lengths(run)
    speed = [f"{workload} of {length[workload]}, tokens/s" for workload in BATCHED]
    header = ["dtype", *speed, "one query, p50 ms", "peak RSS on documents, MB", "cosine of sentences, mean"]
    rounds = f"{run['rounds']} {'round' if run['rounds'] == 1 else 'rounds'}"
    where = f"{run['machine']['cpu']}, {run['threads']} threads, {rounds}, {run['started'][:10]}"
    return f"### {name}\n\n{where}:\n\n{table(header, rows)}"


def kernels_table(ops: Ops, together: Ops) -> str:
    """Every kernel on one core, beside the peak of its kind, and while all cores run it."""
    rows = []
    for name, share in shares(ops).items():
        unit = "GB/s" if name in BANDWIDTH else "GFLOP/s"
        beside = [f"{together[name]:,.0f} {unit}"] if together else []
        rows.append([name, f"{ops[name]:,.0f} {unit}", f"{share:.0%}", *beside])
    beside = ["each of all cores at once"] if together else []
    return table(["kernel", "one core", "of peak", *beside], rows)


def shares(ops: Ops) -> dict[str, float]:
    """Every kernel's speed as a part of the peak of its kind: 1 is the peak."""
    peaks = {name: "copy" if name in BANDWIDTH else f"peak {_precision(name)}" for name in ops}
    return {name: speed / ops[peaks[name]] for name, speed in ops.items()}


def _precision(name: str) -> str:
    """What a kernel computes in, which its name says."""
    return next(precision for precision in PRECISIONS if precision in name)


class KernelSpeeds(NamedTuple):
    """What ops.py measured on a day: medians by kernel."""

    processor: str  # as LLVM calls it
    cpu: str  # as it calls itself
    alone: Ops  # on one core
    together: Ops  # on each of all cores at once


def kept_ops() -> tuple[str, str, Ops] | None:
    """The newest figures of ops.py: their day, the processor, and medians by kernel, on one core."""
    days = sorted(path.stem for path in (HERE / "results" / "ops").glob("*.json"))
    if not days:
        return None
    kept = ops_of(days[-1])
    return days[-1], kept.processor, kept.alone


def ops_of(day: str) -> KernelSpeeds:
    """What ops.py measured on a day."""
    raw = json.loads((HERE / "results" / "ops" / f"{day}.json").read_text())
    alone = {case["name"]: median(case["rounds"]) for case in raw["cases"]}
    together = {case["name"]: median(case["together"]) for case in raw["cases"] if "together" in case}
    return KernelSpeeds(raw["processor"], raw["cpu"], alone, together)


def roof_table(run: Run, ops: Ops) -> str:
    """Where a document token's time goes, by the speed of each kernel, and how near the roof it is.

    A linear layer takes 2 FLOP a weight and token, attention over T tokens 4 T D a layer.
    """
    tokens = run["workloads"]["documents"]["tokens"] / run["workloads"]["documents"]["texts"]
    attention_flop = 4 * tokens * 384 * 12
    shapes = {"(252, 384) -> 1152": 384 * 1152, "(252, 384) -> 384": 384 * 384}
    shapes |= {"(252, 384) -> 1536 gelu": 384 * 1536, "(252, 1536) -> 384": 1536 * 384}
    rows = []
    for precision in PRECISIONS:
        ours = next((r for r in measured(run) if (r["name"], r["precision"]) == (OURS, precision)), None)
        if ours is None:
            continue
        in_attention = "float32" if precision == "float32" else "bfloat16"
        whole = run["threads"] / median(speeds(ours, "documents").values())  # seconds of a core
        linear = sum(24 * size / ops[f"linear {precision} {shape}"] for shape, size in shapes.items()) / 1e9
        attention = attention_flop / ops[f"attention {in_attention} 349 tokens, 12 heads of 32"] / 1e9
        roof = (24 * sum(shapes.values()) / ops[f"peak {precision}"]) / 1e9
        roof += attention_flop / ops[f"peak {in_attention}"] / 1e9
        rest = whole - linear - attention
        cells = [f"{part * 1e6:.0f} µs, {part / whole:.0%}" for part in (linear, attention, rest)]
        rows.append(
            [
                precision,
                *cells,
                f"{whole * 1e6:.0f} µs",
                f"{roof / whole:.0%}",
                f"{run['threads'] / roof:,.0f}",
            ]
        )
    header = [
        "computed in",
        "linear layers",
        "attention",
        "the rest",
        "in all",
        "of the roof",
        "roof, tokens/s",
    ]
    return table(header, rows)


def profile(run: Run) -> str:
    """What ops.py measured on the day of a run, on its processor, and what that says of the run."""
    day = run["started"][:10]
    if not (HERE / "results" / "ops" / f"{day}.json").exists():
        return ""
    _, cpu, ops, together = ops_of(day)
    if cpu != run["machine"]["cpu"]:
        return ""
    beside = "while all cores run it" if together else "alone"
    return f"""## Where the time goes

A core's time for one token of the documents, from the speed of each kernel {beside} ({day}).
The rest is layer norms, rounding and quantising rows, tokenizing, pooling and waiting. The roof is the
machine's own peak for every product, and nothing else to do.

{roof_table(run, together or ops)}

The kernels; each was first compared with the reference (`python bench/ops.py`):

{kernels_table(ops, together)}
"""


def conditions(run: Run) -> str:
    """Where and when, in a few sentences."""
    m = run["machine"]
    units = [u for r in measured(run) for several in r["units"].values() for u in several]
    others = [unit["others"] for unit in units]
    versions = sorted({f"{k} {v}" for r in run["peers"].values() for k, v in r["versions"].items()})
    return (
        f"{run['started'][:16].replace('T', ' ')} UTC, {run['rounds']} rounds in {run['minutes']} minutes, "
        f"{run['threads']} threads. {m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB; "
        f"{', '.join(m['flags'])}. {m['system']}, Python {m['python']}. "
        f"Other processes used {run['busy_before']:.0%} of the machine before the run "
        f"(load average {', '.join(f'{x:.2f}' for x in run['load_average'])}) and {median(others):.0%} "
        f"while a peer was measured, {max(others):.0%} in the worst unit. {', '.join(versions)}."
    )


def failures(run: Run) -> str:
    """The peers that did not run, with what they said."""
    out = [(key, result["error"]) for key, result in run["peers"].items() if result["error"]]
    if not out:
        return ""
    return "\nDid not run:\n\n" + "\n".join(f"- {key}: `{error}`" for key, error in out) + "\n"


def tables(run: Run) -> str:
    """All that is known of one run, as Markdown."""
    return f"""{conditions(run)}

### Speed

Median and spread over the rounds.

{speed_table(run)}

### minigte and the best peer of the same dtype

{ratio_table(run)}

### Vectors: cosine to transformers' float32

{fidelity_table(run)}

### Memory, start-up, size

{cost_table(run)}

### Texts per second, and the settings found best

{texts_table(run)}
{failures(run)}"""


def plot_throughput(run: Run, path: Path, style: str = "default") -> None:
    """Tokens per second by text length, one panel a precision; ``style`` is one of matplotlib's."""
    import matplotlib.pyplot as plt

    with plt.style.context(style):
        figure, panels = plt.subplots(1, 3, figsize=(15, 5.4), sharey=True, layout="constrained")
        lines = {}  # by name, for one legend of all panels
        for precision, panel in zip(PRECISIONS, panels, strict=True):
            for result in measured(run):
                if result["precision"] == precision and result["sweep"]:
                    lengths = [int(length) for length in result["sweep"]]
                    values = [median(rounds) for rounds in result["sweep"].values()]
                    width = 3 if result["name"] == OURS else 1.5
                    colour = COLOURS[result["name"]]
                    [lines[result["name"]]] = panel.plot(lengths, values, "o-", ms=4, lw=width, color=colour)
            panel.set_xscale("log", base=2)
            panel.set_xticks(ticks := [8, 16, 32, 64, 128, 256, 512], [str(t) for t in ticks])
            panel.set_title(precision)
            panel.set_xlabel("tokens a text")
            panel.grid(alpha=0.3)
        panels[0].set_ylabel(f"tokens/s, {run['threads']} threads")
        panels[0].set_ylim(bottom=0)
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=len(lines))
        figure.savefig(path, dpi=110)
        plt.close(figure)


def plot_latency(run: Run, path: Path) -> None:
    """One query: the median as a bar, the 95th percentile as a whisker."""
    import matplotlib.pyplot as plt

    results = sorted(measured(run), key=lambda r: -median(p50(r).values()))
    names = [f"{r['name']} {r['precision']}" for r in results]
    middle = [median(p50(r).values()) for r in results]
    above = [p95(r) - m for r, m in zip(results, middle, strict=True)]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.35 * len(results)), layout="constrained")
    colours = [COLOURS[r["name"]] for r in results]
    axes.barh(names, middle, xerr=[[0] * len(above), above], color=colours, capsize=3)
    for row, value in enumerate(middle):
        axes.text(value / 2, row, f"{value:.1f}", va="center", ha="center", color="white", fontsize=9)
    axes.set_xlabel("milliseconds for one query: p50, whisker to p95")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def chart(name: str) -> str:
    """The throughput as README.md shows it, in the colours of whoever reads."""
    return f"""<picture>
  <source media="(prefers-color-scheme: dark)" srcset="{name}-dark.png">
  <img alt="Tokens per second by text length, beside other programs" src="{name}.png">
</picture>"""


def main() -> None:
    """Rewrite the plots and the generated parts of bench/README.md and README.md."""
    sections, newest = [], []
    for path in sorted((HERE / "results").glob("*.json"), reverse=True):
        run = json.loads(path.read_text())
        plot_throughput(run, path.with_name(f"{path.stem}-throughput.png"))
        plot_throughput(run, path.with_name(f"{path.stem}-throughput-dark.png"), "dark_background")
        plot_latency(run, path.with_name(f"{path.stem}-latency.png"))
        throughput = f"![Throughput by text length](results/{path.stem}-throughput.png)"
        latency = f"![Latency of one query](results/{path.stem}-latency.png)"
        sections.append(f"## Run {path.stem}\n\n{tables(run)}\n{throughput}\n\n{latency}\n")
        if not newest:
            newest = [summary(run), chart(f"bench/results/{path.stem}-throughput")]
        sections.append(profile(run))
    write_between_markers(HERE / "README.md", BEGIN, END, *filter(None, sections))
    write_between_markers(HERE.parent / "README.md", BEGIN, END, *newest)
    models = sorted((HERE / "results" / "models").glob("*.json"))
    # MODEL-YEAR-MONTH-DAY.json
    tables_of_models = [model_section(json.loads(p.read_text()), p.stem.rsplit("-", 3)[0]) for p in models]
    write_between_markers(HERE / "README.md", BEGIN_MODELS, END_MODELS, *tables_of_models)


if __name__ == "__main__":
    main()
