"""How long a query takes among a million stored vectors, and how much of what exact search finds is found.

    python bench/search.py [--rows N] [--texts N] [--data DIR] [--model DIR]

Vectors of real sentences (STSBenchmark, NFCorpus) are embedded; what is found is counted among these alone,
for NFCorpus' queries. For the times further rows, each between two of them, are made until there are enough;
they lie closer together than texts do, so that bits would tell them apart worse. Measured are ``nearest``
on open files, as often as ``minigte search`` would, and the whole command, which starts Python and loads the
model. The files lie in the page cache. The raw figures go to bench/results/search, with the table that
docs/files.md quotes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
import numpy.typing as npt
import texts

from minigte import Embedder
from minigte.cli.stored import Npy
from minigte.vectors.nearest import OVERSAMPLING, nearest, rescored
from minigte.vectors.quantization import quantize_embeddings, scale_to_int8
from minigte.vectors.search import Hit

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "search"
TOP_K = 10
ROUNDS, COMMANDS = 20, 5
BLOCK = 20_000  # rows that are made at a time
QUERY = "what is good for the heart?"

Vectors = npt.NDArray[Any]


def sentences(data: Path, count: int) -> list[str]:
    """Distinct sentences, the shorter ones of STSBenchmark first."""
    found = dict.fromkeys(texts.read_sentences(data))
    for document in texts.read_documents(data):
        found.update(dict.fromkeys(part for part in re.split(r"(?<=[.!?])\s+", document) if len(part) > 20))
        if len(found) >= count:
            break
    return list(found)[:count]


def make(folder: Path, real: Vectors, rows: int) -> dict[str, Path]:
    """Files of ``rows`` vectors: "float32", "int8" and "ubinary"."""
    dim = real.shape[1]
    shapes = {"float32": (np.float32, dim), "int8": (np.int8, dim), "ubinary": (np.uint8, dim // 8)}
    folder.mkdir()
    paths = {name: folder / f"{name}.npy" for name in shapes}
    files = {
        name: np.lib.format.open_memmap(paths[name], "w+", dtype, (rows, width))
        for name, (dtype, width) in shapes.items()
    }
    chance = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        one, other = chance.integers(0, len(real), (2, size))
        block = real[one] + chance.random((size, 1), np.float32) * real[other]
        known = real[start : start + size]
        block[: len(known)] = known  # the real ones come first
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        files["float32"][start : start + size] = block
        files["int8"][start : start + size] = scale_to_int8(block)
        files["ubinary"][start : start + size] = quantize_embeddings(block, "ubinary")
    for file in files.values():
        file.flush()
    return paths


def ways(paths: dict[str, Path]) -> dict[str, Callable[[Vectors], list[list[Hit]]]]:
    """How ``minigte search`` may look for queries (Q, D); each opens its files."""

    def by_codes(precision: str, queries: Vectors) -> list[list[Hit]]:
        hits = nearest(queries, Npy(str(paths[precision])).parts(), OVERSAMPLING * TOP_K, precision=precision)
        return rescored(queries, hits, Npy(str(paths["float32"])).rows, TOP_K, "cosine")

    return {
        "float32, exact": lambda queries: nearest(queries, Npy(str(paths["float32"])).parts(), TOP_K),
        "int8 first, float32 decides": lambda queries: by_codes("int8", queries),
        "ubinary first, float32 decides": lambda queries: by_codes("ubinary", queries),
    }


def commands(paths: dict[str, Path]) -> dict[str, list[str]]:
    """The files that the command line is given for each way."""
    return {
        "float32, exact": [str(paths["float32"])],
        "int8 first, float32 decides": [str(paths["int8"]), "--rescore", str(paths["float32"])],
        "ubinary first, float32 decides": [str(paths["ubinary"]), "--rescore", str(paths["float32"])],
    }


def recall(found: list[list[Hit]], right: list[list[Hit]]) -> float:
    """The share of what is right that was found."""
    shares = [
        len({hit["corpus_id"] for hit in some} & {hit["corpus_id"] for hit in best}) / len(best)
        for some, best in zip(found, right, strict=True)
    ]
    return float(np.mean(shares))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    busy = machine.busy()
    if busy > machine.QUIET:
        print(f"WARNING: this machine is not quiet: {busy:.0%} of its time goes to others", file=sys.stderr)
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    embedder = Embedder(options.model)
    real = embedder.encode(sentences(options.data, options.texts), truncation="ignore")
    rows = texts.read_queries(options.data)[: options.queries]
    queries = embedder.encode_query(rows, truncation="ignore")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        among_real = ways(make(Path(folder) / "real", real, len(real)))
        right = among_real["float32, exact"](queries)
        paths = make(Path(folder) / "all", real, max(options.rows, len(real)))
        for name, search in ways(paths).items():
            search(queries[:1])  # so that the files lie in the page cache
            figures[name] = {
                "recall": recall(among_real[name](queries), right),
                "seconds": [timed(search, queries[i % len(queries)]) for i in range(ROUNDS)],
                "command_seconds": [],
            }
        environment = {**os.environ, "MINIGTE_MODEL": str(options.model.resolve())}
        for _ in range(COMMANDS):
            for name, files in commands(paths).items():
                start = time.perf_counter()
                command = [sys.executable, "-m", "minigte", "search", QUERY, *files]
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
                figures[name]["command_seconds"].append(time.perf_counter() - start)
    return {
        "started": begun,
        "machine": machine.facts(),
        "busy_before": busy,
        "rows": max(options.rows, len(real)),
        "real": len(real),
        "queries": len(queries),
        "ways": figures,
    }


def timed(search: Callable[[Vectors], list[list[Hit]]], query: Vectors) -> float:
    """Seconds of one query."""
    start = time.perf_counter()
    search(query[None])
    return time.perf_counter() - start


def table(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    lines = [
        f"| {run['rows']:,} vectors | one query, s | the whole command, s "
        f"| found of the {TOP_K} best of {run['real']:,} |",
        "|---|---:|---:|---:|",
    ]
    for name, way in run["ways"].items():
        seconds, command = median(way["seconds"]), median(way["command_seconds"])
        lines.append(f"| {name} | {seconds:.3f} | {command:.2f} | {way['recall']:.3f} |")
    m = run["machine"]
    lines += [
        "",
        f"{run['started'][:10]}, {m['cpu']}, {m['cores']} cores; other processes used "
        f"{run['busy_before']:.0%} of the machine before. {run['real']:,} vectors are of real sentences; "
        f"what {run['queries']} queries find is counted among these. The others lie between two of them, for "
        f"the times: medians of {ROUNDS} queries and {COMMANDS} commands.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the table."""
    shared = ROOT.parent / "shared"
    model = os.environ.get("MINIGTE_MODEL") or shared / "models" / "gte-small"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB folder")
    parser.add_argument("--model", type=Path, default=Path(model), help="model folder (MINIGTE_MODEL)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors that are stored")
    parser.add_argument("--texts", type=int, default=20_000, help="of these, of real sentences")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--work", type=Path, help="where the 2 GB of vectors lie meanwhile")
    options = parser.parse_args()
    run = measure(options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{run['started'][:10]}.json").write_text(json.dumps(run, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(run), encoding="utf-8")


if __name__ == "__main__":
    main()
