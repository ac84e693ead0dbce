"""What a program costs before it has computed anything: size, time to the first vector, memory.

``python bench/start.py`` measures minigte beside other programs, writes the figures to bench/results/start,
and rewrites the tables in README.md, bench/README.md and docs/restricted.md that show the newest.

Every measured start is a process of its own that imports one peer, loads the model, embeds one query and says
so; the time is from its start until then. Peers take turns, so that whatever the machine does over the
minutes it does to all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from typing import Any

import convert
import machine
import numpy as np
import texts
from markers import write_between_markers
from peers import PEERS, Files, Peer

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigte-bench"
RESULTS = ROOT / "bench" / "results" / "start"
BEGIN, END = "<!-- start: written by bench/start.py -->", "<!-- end of start -->"
OURS = "minigte"
MEASURED = (
    *("minigte float32", "minigte int8", "ONNX Runtime float32", "ONNX Runtime int8"),
    *("fastembed float32", "sentence-transformers float32", "llama.cpp float32", "llama.cpp int8"),
)
THREADS = 2
COLD, WARM = 3, 15  # starts of each kind
DOCUMENTS = 256
QUERY = "what is the capital of China?"
PATIENCE = 300  # seconds


class StartError(Exception):
    """A peer's process did not do what it was asked."""


class Process:
    """A process that has embedded its first text; it does more on request."""

    def __init__(self, peer: Peer, files: Files, caches: Path) -> None:
        request = {"key": peer.key, "threads": THREADS, "text": QUERY, **asdict(files)}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(caches)}
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench" / "first.py"), json.dumps(request, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.facts = self._answer()
        self.seconds = time.perf_counter() - start

    def encode(self, texts: Path) -> dict[str, Any]:
        """Let it encode the texts that a file lists, and say how much memory it has and has had."""
        assert self._process.stdin is not None
        print(texts, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print too
                answer: dict[str, Any] = json.loads(line)
                return answer
        _, said = self._process.communicate(timeout=PATIENCE)
        raise StartError((said.strip() or "it ended without a word").splitlines()[-1])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)


def measure_peer(
    peer: Peer, files: Files, installed: list[Path], caches: Path, documents: Path
) -> dict[str, Any]:
    """All of one peer but for its warm starts."""
    nothing = documents.with_name("nothing.json")
    nothing.write_text("[]")
    folders = [files.model_dir, *files.converted.values()]
    result: dict[str, Any] = {"cold": [], "warm": []}
    if peer.name == OURS:  # what the very first start on a machine takes, with nothing packed yet
        with tempfile.TemporaryDirectory() as empty, Process(peer, files, Path(empty)) as process:
            result["first_ever"] = process.seconds
    with Process(peer, files, caches) as process:  # packs, where that is still to be done
        result["norm"] = process.facts["norm"]
    os.sync()
    for _ in range(COLD):
        models = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        machine.forget([*installed, *models, files.onnx, *caches.rglob("*.packed")])
        with Process(peer, files, caches) as process:
            result["cold"].append(process.seconds)
    with Process(peer, files, caches), Process(peer, files, caches) as second:
        result["private"] = second.encode(nothing)["private"]
    with Process(peer, files, caches) as process:
        result["peak"] = process.encode(documents)["peak"]
    return result


def import_seconds(rounds: int) -> dict[str, float]:
    """The median seconds of a process that imports NumPy, and of one that imports minigte after it."""
    seen: dict[str, list[float]] = {"import numpy": [], "import numpy, minigte": []}
    for _ in range(rounds):
        for code, seconds in seen.items():
            start = time.perf_counter()
            # Isolated: what is installed, not what the current folder holds.
            subprocess.run([sys.executable, "-I", "-c", code], check=True)
            seconds.append(time.perf_counter() - start)
    return {code: median(seconds) for code, seconds in seen.items()}


def equal_bits(model: Path, documents: list[str]) -> dict[str, bool | None]:
    """Whether built kernels and those compiled here give the same bits; None where one is missing."""
    from minigte import Embedder, MissingDependencyError

    equal: dict[str, bool | None] = {}
    for dtype in ("float32", "bfloat16", "int8"):
        try:
            one, other = (
                Embedder(model, dtype=dtype, backend=backend).encode(documents, truncation="ignore")
                for backend in ("built", "jit")
            )
            equal[dtype] = bool(np.array_equal(one, other))
        except MissingDependencyError:
            equal[dtype] = None
    return equal


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    busy = machine.busy()
    if busy > machine.QUIET:
        say(f"WARNING: this machine is not quiet: {busy:.0%} of its time goes to others; measure when it is")
    corpus = texts.load(options.data, options.model)
    documents = [corpus.texts[i] for part in corpus.workload("documents").parts for i in part][:DOCUMENTS]
    source = convert.Sources(
        *(str(p.resolve()) for p in (options.model, options.onnx, options.data)), str(CACHE)
    )
    kept = CACHE / convert.fingerprint(source)
    peers: dict[str, Any] = {}
    ready: dict[str, tuple[Peer, Files]] = {}
    with tempfile.TemporaryDirectory() as work:
        caches, listed = Path(work) / "caches", Path(work) / "documents.json"
        listed.write_text(json.dumps(documents))
        for peer in PEERS:
            if peer.key not in (options.only or MEASURED):
                continue
            say(peer.key)
            try:
                found = machine.closure(peer.distributions)
                installed = [path for one in found.values() for path in machine.files(one)]
                made = {kind: convert.ensure(kind, source, kept)[0] for kind in peer.converted}
                files = Files(options.model.resolve(), options.onnx.resolve(), made)
                peers[peer.key] = {
                    "versions": {name: found[name].version for name in peer.distributions},
                    "installed": sum(path.stat().st_size for path in installed),
                    **measure_peer(peer, files, installed, caches, listed),
                }
                ready[peer.key] = peer, files
            except (StartError, PackageNotFoundError, ImportError, OSError, RuntimeError) as error:
                peers[peer.key] = {"error": " ".join(str(error).split())}
        for number in range(WARM):
            say(f"warm starts, {number + 1} of {WARM}")
            for key, (peer, files) in ready.items():
                with Process(peer, files, caches) as process:
                    peers[key]["warm"].append(process.seconds)
    ours = machine.files(distribution(OURS))
    kernels = sum(path.stat().st_size for path in ours if path.match("kernels-*.so"))
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "busy_before": busy,
        "peers": peers,
        "imports": import_seconds(WARM),
        "kernels": kernels,
        "equal_bits": equal_bits(options.model, documents[:32]),
    }


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def section(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    rows = [
        "| | installed, MB | first vector: never run, cold page cache, s | again, s "
        "| private memory of a second process, MB | peak on 256 documents, 16 a batch, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for key, peer in run["peers"].items():
        if "error" in peer:
            continue
        name = f"**{key}**" if key.startswith(OURS) else key
        cells = [
            f"{peer['installed'] / 1e6:,.0f}",
            f"{median(peer['cold']):.2f}",
            f"{median(peer['warm']):.2f}",
            f"{peer['private'] / 1e6:,.0f}",
            f"{peer['peak'] / 1e6:,.0f}",
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    imports, bits, m = run["imports"], run["equal_bits"], run["machine"]
    beyond = imports["import numpy, minigte"] - imports["import numpy"]
    compared = [f"{dtype} {'yes' if equal else 'NO'}" for dtype, equal in bits.items() if equal is not None]
    first = [
        f"{key.removeprefix(OURS + ' ')} {peer['first_ever']:.2f} s"
        for key, peer in run["peers"].items()
        if "first_ever" in peer
    ]
    notes = [
        f"The very first start, which packs and keeps the weights: {', '.join(first) or 'not measured'}.",
        f"`import minigte` beyond NumPy: {beyond:.3f} s.",
        f"Kernels: {run['kernels'] / 1e6:.1f} MB for all levels of a platform.",
        f"Built kernels and those compiled here give the same bits: {', '.join(compared) or 'not compared'}.",
        "Peak memory is that of batches of 16 texts, in every program. One text at a time takes less: the "
        "runs of the benchmark show each program with its best batch.",
        *(f"{key} did not run: `{p['error']}`" for key, p in run["peers"].items() if "error" in p),
    ]
    versions = sorted({f"{k} {v}" for p in run["peers"].values() for k, v in p.get("versions", {}).items()})
    where = (
        f"{run['started'][:16].replace('T', ' ')} UTC, {m['cpu']}, {m['cores']} cores, {m['system']}, "
        f"Python {m['python']}; other processes used {run['busy_before']:.0%} of the machine before. "
        f"Medians of {COLD} and {WARM} starts, {THREADS} threads each. {', '.join(versions)}."
    )
    return "\n".join([*rows, "", *(f"- {note}" for note in notes), "", where])


def summary(run: dict[str, Any]) -> str:
    """What the repository's README shows of a run; the least of a column is bold."""
    peers = {key: peer for key, peer in run["peers"].items() if "error" not in peer}
    figures = {
        key: (peer["installed"] / 1e6, median(peer["cold"]), median(peer["warm"]), peer["peak"] / 1e6)
        for key, peer in peers.items()
    }
    least = [min(column) for column in zip(*figures.values(), strict=True)]
    rows = [
        "| | installed, MB | first vector, cold page cache, s | again, s "
        "| peak memory on documents, 16 a batch, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for key, values in figures.items():
        shown = (
            f"{value:{form}}" for value, form in zip(values, (",.0f", ".2f", ".2f", ",.0f"), strict=True)
        )
        cells = [f"**{s}**" if v == low else s for s, v, low in zip(shown, values, least, strict=True)]
        rows.append(f"| {key} | {' | '.join(cells)} |")
    columns = ("installed size", "first vector from a cold page cache", "first vector again", "peak memory")
    ahead = [
        f"{what} ({key})"
        for i, (what, low) in enumerate(zip(columns, least, strict=True))
        for key, values in figures.items()
        if values[i] == low and not key.startswith(OURS)
    ]
    rows += ["", f"Where another of these is ahead: {', '.join(ahead)}."] if ahead else []
    where = f"{THREADS} threads of {run['machine']['cpu']}, {run['started'][:10]}"
    title = "What a process costs on disk, until its first vector, and in memory; the least is bold."
    return "\n".join([f"{title} {where}:", "", *rows])


PAGES: dict[Path, Callable[[dict[str, Any]], str]] = {
    ROOT / "README.md": summary,
    ROOT / "bench" / "README.md": section,
    ROOT / "docs" / "restricted.md": section,
}


def report() -> None:
    """Show the newest run in the pages."""
    newest = max(RESULTS.glob("*.json"), default=None)
    for page, show in PAGES.items():
        shown = "Not measured yet." if newest is None else show(json.loads(newest.read_text()))
        write_between_markers(page, BEGIN, END, shown)


def main() -> None:
    """Measure, and show the figures."""
    shared = ROOT.parent / "shared"
    model = os.environ.get("MINIGTE_MODEL") or shared / "models" / "gte-small"
    onnx = os.environ.get("MINIGTE_BENCH_ONNX") or CACHE / "model.onnx"
    parser = argparse.ArgumentParser(description="What a program costs before it computes.")
    parser.add_argument("--only", nargs="+", choices=MEASURED, metavar="NAME", help="these peers alone")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB folder")
    parser.add_argument("--model", type=Path, default=Path(model), help="model folder (MINIGTE_MODEL)")
    parser.add_argument("--onnx", type=Path, default=Path(onnx), help="its ONNX export (MINIGTE_BENCH_ONNX)")
    parser.add_argument("--report", action="store_true", help="only show the newest figures again")
    options = parser.parse_args()
    if not options.report:
        run = measure(options)
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{run['started'][:16].replace(':', '').replace('T', '-')}.json"
        path.write_text(json.dumps(run, indent=1) + "\n")
        say(f"written: {path}")
    report()


if __name__ == "__main__":
    main()
