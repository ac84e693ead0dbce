"""Write what ``measure.py`` has measured into docs/serve.md: the newest result of each part.

    python bench/serve/report.py

What has no result yet is named in a line at the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from markers import write_between_markers
from serve import servers

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "bench" / "results" / "serve"
PAGE = ROOT / "docs" / "serve.md"
BEGIN, END = "<!-- figures: written by bench/serve/report.py -->", "<!-- end of figures -->"
WORKLOADS = {
    "short": "Sentences (STSBenchmark)",
    "documents": "Documents (NFCorpus)",
    "mix": "Nine sentences to a document",
}
RATIO = "minigte, of the best other in float32"
NONE = "not measured"

Result = dict[str, Any]


def main() -> None:
    """Write the page."""
    write_between_markers(PAGE, BEGIN, END, section())


def section() -> str:
    """All parts as Markdown."""
    parts: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
        "query": ("one request on an idle server", query),
        "load": ("many connections", load),
        "overload": ("overload", overload),
        "soak": ("a long run beside clients that die and hang", soak),
    }
    lines: list[str] = []
    missing: list[str] = []
    for name, (what, write) in parts.items():
        result = newest(name)
        if result is None:
            missing.append(what)
        else:
            lines += [*write(result), "", where(result), ""]
    if missing:
        lines.append(f"Not measured yet: {', '.join(missing)}.")
    return "\n".join(lines).rstrip()


def newest(part: str) -> Result | None:
    """The last result of a part."""
    path = max(RESULTS.glob(f"*-{part}.json"), default=None)  # their names begin with the day
    result: Result | None = json.loads(path.read_text()) if path else None
    return result


def where(result: Result) -> str:
    """The machine and the day."""
    facts = result["machine"]
    return (
        f"{result['begun']}, {facts['cpu']}, {facts['cores']} cores, {facts['system']}; other processes used "
        f"{result['busy_before']:.0%} of the machine before."
    )


def query(result: Result) -> list[str]:
    """What a lone request costs."""
    lines = [
        "**One request on an idle server**, turn about with the library's call in another process:",
        "",
        "| computed in | sent through | `encode`, p50 ms | request, p50 ms | more, p50 ms | more, p90 ms |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, client in result["clients"].items():
        figures = (result["library_p50_ms"], client["p50_ms"], client["more_p50_ms"], client["more_p90_ms"])
        lines.append(f"| {result['dtype']} | {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    return lines


def load(result: Result) -> list[str]:
    """Requests a second and latencies of each server."""
    cells = {
        (row["server"], row["precision"], row["workload"], row["connections"]): row for row in result["rows"]
    }
    lines = []
    for workload, title in WORKLOADS.items():
        numbers = sorted({row["connections"] for row in result["rows"] if row["workload"] == workload})
        if not numbers:
            continue
        lines += [
            f"**{title}**, one text a request: requests a second, then latency p50 / p95 / p99 in ms",
            "",
            f"| server, precision | {' | '.join(map(at, numbers))} |",
            "|---|" + "---|" * len(numbers),
        ]
        for kind in servers.KINDS:
            shown = [cell(cells.get((kind.name, kind.precision, workload, n))) for n in numbers]
            lines.append(f"| {kind.name}, {kind.precision} | {' | '.join(shown)} |")
        lines += [f"| {RATIO} | {' | '.join(ratio(cells, workload, n) for n in numbers)} |", ""]
    memory = {(row["server"], row["precision"]): row["rss"] for row in result["rows"]}  # the last of each
    shown = [f"{name} {precision} {rss / 1e6:,.0f}" for (name, precision), rss in memory.items()]
    cosines = [f"{name} {cosine:.4f}" for name, cosine in result["lowest_cosines"].items()]
    lines += [
        f"{result['seconds_each']:g} seconds each, after 2 that are not counted. Memory at the end, in MB: "
        f"{'; '.join(shown)}. Lowest cosine to the library's float32: {'; '.join(cosines)}."
    ]
    if result["missing"]:
        lines.append("Not here: " + "; ".join(" ".join(text.split())[:150] for text in result["missing"]))
    return lines


def at(connections: int) -> str:
    """The head of a column."""
    return f"{connections} connection{'s' if connections > 1 else ''}"


def cell(row: Result | None) -> str:
    """One measurement; with the answers that were not right ones, where there were any."""
    if row is None:
        return NONE
    if not row["requests"]:
        return "no answer in time"
    failed = sum(count for status, count in row["statuses"].items() if status != "200")
    failed += row["socket_errors"]
    return f"{rate(row):,.0f}; {latencies(row)}" + (f" ({failed:,} failed)" if failed else "")


def latencies(row: Result) -> str:
    """Half, and all but five and one of a hundred, took no longer."""
    return " / ".join(f"{row[name]:,.0f}" for name in ("p50_ms", "p95_ms", "p99_ms"))


def rate(row: Result) -> float:
    """Right answers a second."""
    return float(row["statuses"].get("200", 0) / row["seconds"])


def ratio(cells: dict[Any, Result], workload: str, connections: int) -> str:
    """Of minigte to the best other server of the same precision: requests a second, and p99."""
    ours = cells.get(("minigte", "float32", workload, connections))
    others = [
        row
        for (name, precision, *place), row in cells.items()
        if name != "minigte" and precision == "float32" and place == [workload, connections] and rate(row)
    ]
    if ours is None or not others:
        return NONE
    most = max(map(rate, others))
    least = min(row["p99_ms"] for row in others)
    return f"{rate(ours) / most:.2f} times; p99 {ours['p99_ms'] / least:.2f}"


def overload(result: Result) -> list[str]:
    """Many times what the server can do."""
    title = "**Overload**: 900 connections that ask again at once, and a client that checks bit for bit"
    return table(
        title,
        {
            "seconds": f"{result['flood_seconds']:g}",
            "capacity, requests a second": f"{result['capacity_per_second']:,.0f}",
            "asked for, times the capacity": f"{result['times_capacity']:g}",
            "answers by status": counts(result["answers"]),
            "their latency, p50 / p95 / p99 in ms": latencies(result),
            "requests lost": result["socket_errors"],
            "checked, by status": counts(result["checked"]),
            "of these wrong": result["checked_wrong"],
            "memory, most in the first and the last quarter, MB": megabytes(
                result["rss_first_quarter"], result["rss_last_quarter"]
            ),
            "a lone query before and after, ms": f"{result['query_ms_before']}, {result['query_ms_after']}",
            "seconds from the flood's end until a query was answered": result["seconds_until_answered_after"],
        },
    )


def soak(result: Result) -> list[str]:
    """Clients of all kinds for long."""
    title = "**Soak**: four clients that check bit for bit, beside four that die, hang and send rubbish"
    return table(
        title,
        {
            "minutes": f"{result['soak_seconds'] / 60:.0f}",
            "checked, by status": counts(result["checked"]),
            "of these wrong": result["checked_wrong"],
            "bad clients": f"{sum(result['bad_clients'].values()):,}",
            "memory, most in the second and the last tenth, MB": megabytes(
                result["rss_second_tenth"], result["rss_last_tenth"]
            ),
            "a lone query afterwards, ms": result["query_ms_after"],
        },
    )


def table(title: str, rows: dict[str, object]) -> list[str]:
    """A table of facts."""
    return [title, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def counts(numbers: dict[str, int]) -> str:
    """How many of each."""
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(numbers.items()))


def megabytes(*sizes: int) -> str:
    """Sizes in MB."""
    return ", ".join(f"{size / 1e6:,.0f}" for size in sizes)


if __name__ == "__main__":
    main()
