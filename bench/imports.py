"""What importing minigte's modules adds to importing the programs that they are for.

    python bench/imports.py

Turn about, a new process imports the program alone, and the program with minigte's module; its processor time
counts, since other work of the machine changes that least. The raw figures go to bench/results/imports, with
the table that docs/integrations.md quotes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "imports"
ROUNDS = 3
PROGRAMS = {  # what its users import, and the module of minigte
    "NumPy": ("numpy", "minigte"),
    "LangChain": ("langchain_core.vectorstores.in_memory", "minigte.integrations.langchain"),
    "LlamaIndex": ("llama_index.core", "minigte.integrations.llama_index"),
    "Haystack": ("haystack", "minigte.integrations.haystack"),
    "Chroma": ("chromadb", "minigte.integrations.chroma"),
    "llm": ("llm", "minigte.integrations.llm"),
    "txtai": ("txtai", "minigte.integrations.txtai"),
    "scikit-learn": ("sklearn.pipeline", "minigte.integrations.sklearn"),
    "SQLite": ("sqlite3", "minigte.integrations.sqlite"),
    "DuckDB": ("duckdb", "minigte.integrations.duckdb"),
    "pandas": ("pandas", "minigte.integrations.pandas"),
    "polars": ("polars", "minigte.integrations.polars"),
    "Arrow": ("pyarrow", "minigte.integrations.pyarrow"),
    "Ray": ("ray.data", "minigte.integrations.ray"),
    "Spark": ("pyspark.sql", "minigte.integrations.spark"),
    "Dask": ("dask.dataframe", "minigte.integrations.dask"),
}


def seconds(code: str) -> float:
    """Processor time of a new Python that runs it. Raises ChildProcessError."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise ChildProcessError(f"{code!r} fails")
    return used.ru_utime + used.ru_stime


def measure() -> dict[str, Any]:
    """The whole run."""
    busy = machine.busy()
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    figures: dict[str, dict[str, list[float]]] = {}
    for name, (program, module) in PROGRAMS.items():
        codes = {
            "alone": f"import {program}",
            "with minigte": f"import {program}; import {module}",
        }
        for code in codes.values():
            seconds(code)  # so that its files are in the page cache, and compiled
        rounds = [{way: seconds(code) for way, code in codes.items()} for _ in range(ROUNDS)]
        figures[name] = {way: [one[way] for one in rounds] for way in codes}
        print(name, figures[name], file=sys.stderr)
    return {"started": begun, "machine": machine.facts(), "busy_before": busy, "seconds": figures}


def table(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    lines = ["| | alone, s | with minigte, s | more, s |", "|---|---:|---:|---:|"]
    for name, ways in run["seconds"].items():
        alone, both = min(ways["alone"]), min(ways["with minigte"])
        lines.append(f"| {name} | {alone:.2f} | {both:.2f} | {both - alone:.2f} |")
    m = run["machine"]
    rounds = len(next(iter(run["seconds"].values()))["alone"])
    lines += [
        "",
        f"{run['started'][:10]}, {m['cpu']}, Python {m['python']}; other processes used "
        f"{run['busy_before']:.0%} of the machine before. The least of {rounds} rounds.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    run = measure()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{run['started'][:10]}.json").write_text(json.dumps(run, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(run), encoding="utf-8")


if __name__ == "__main__":
    main()
