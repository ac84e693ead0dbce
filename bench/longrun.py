"""Stream a million short texts and 100,000 documents through ``minigte embed``: ``python bench/longrun.py``.

From JSONL to Parquet, with the process's memory read from /proc every second. Where it was ended it goes on:
give the same command again. At the end the figures are in results/longrun/, and the plot and the section of
docs/restricted.md are made from them; ``--report`` does only that.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import machine
from markers import write_between_markers

from minigte.cli.resumable import DIGEST_BYTES, LENGTH_BYTES, MAGIC
from minigte.embedder import CHUNK_TEXTS

Sample = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "longrun"
PAGE = ROOT / "docs" / "restricted.md"
PICTURE = ROOT / "docs" / "pictures" / "long-runs.png"
BEGIN, END = "<!-- memory: written by bench/longrun.py -->", "<!-- end of memory -->"
COUNTS = {"texts": 1_000_000, "documents": 100_000}
NAMES = {"texts": "short texts", "documents": "documents"}
INTERVAL = 1.0  # seconds between two looks at the memory
POINTS = 400  # of a curve are kept in the JSON
MB = 1_000_000


def sentences(data: Path) -> list[str]:
    """The distinct sentences of all MTEB tasks in ``data`` but NFCorpus."""
    found: dict[str, None] = {}
    for path in sorted(data.glob("*/*.tsv")):
        for row in csv.reader(path.open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE):
            found |= dict.fromkeys(row[1:3])
    for path in sorted(data.glob("*Classification/*.jsonl")):
        found |= dict.fromkeys(json.loads(line)["text"] for line in path.open(encoding="utf-8"))
    return list(found)


def documents(data: Path) -> list[str]:
    """The documents of NFCorpus, each with its title in front."""
    rows = map(json.loads, (data / "NFCorpus" / "corpus.jsonl").open(encoding="utf-8"))
    return [f"{row['title']} {row['text']}".strip() for row in rows]


def write_input(path: Path, texts: list[str], count: int) -> None:
    """``count`` rows of JSONL, the texts over and over, each row with an id of its own."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.islice(itertools.cycle(texts), count)):
            file.write(json.dumps({"id": f"row-{number}", "text": text}, ensure_ascii=False) + "\n")
    part.replace(path)


class Kept:
    """How many texts the file beside an output says are done."""

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(output.name + ".unfinished")
        self._end = len(MAGIC)
        self._chunks = -1  # the first frame holds the options

    def texts(self) -> int:
        """Count the frames that have come since the last call."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while (end := self._next(file)) <= size:
                    self._end = end
                    self._chunks += 1
        except FileNotFoundError:
            pass  # not yet, or no longer
        return max(0, self._chunks) * CHUNK_TEXTS

    def _next(self, file: BinaryIO) -> int:
        file.seek(self._end)
        length = file.read(LENGTH_BYTES)
        return self._end + LENGTH_BYTES + DIGEST_BYTES + (int.from_bytes(length, "little") if length else MB)


def memory(process: int) -> dict[str, int]:
    """The bytes that a process has in memory: in all, and those that no file could give back."""
    status = Path(f"/proc/{process}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|RssAnon|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return {
        "rss": int(found["VmRSS"]) << 10,
        "own": int(found["RssAnon"]) << 10,
        "peak": int(found["VmHWM"]) << 10,
    }


def run(command: list[str], output: Path, log: Path) -> None:
    """Run the command, and add what is seen of it to ``log``, after what an earlier run has seen."""
    before = [json.loads(line) for line in log.open()] if log.exists() else []
    passed = before[-1]["seconds"] if before else 0.0
    number = before[-1]["run"] + 1 if before else 1
    kept = Kept(output)
    start = time.monotonic()
    said = start
    with log.open("a") as file, subprocess.Popen(command) as process:
        while process.poll() is None:
            try:
                now = memory(process.pid)
            except (FileNotFoundError, KeyError):
                break  # it ends
            texts = kept.texts()
            seconds = round(passed + time.monotonic() - start, 2)
            file.write(json.dumps({"run": number, "seconds": seconds, "texts": texts, **now}) + "\n")
            file.flush()
            if time.monotonic() - said > 30:
                said = time.monotonic()
                print(f"  {texts:,} texts, {now['rss'] / MB:.0f} MB", file=sys.stderr, flush=True)
            time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(f"minigte embed ended with {process.returncode}: give the same command to go on")


def thinned(samples: list[Sample]) -> list[Sample]:
    """At most POINTS samples: of equal stretches, the one with the most memory."""
    size = max(1, -(-len(samples) // POINTS))
    stretches = (samples[first : first + size] for first in range(0, len(samples), size))
    return [max(stretch, key=lambda sample: sample["rss"]) for stretch in stretches]


def figures(samples: list[Sample], count: int) -> dict[str, Any]:
    """What is told of one workload."""
    working = [sample for sample in samples if sample["texts"] >= count // 10]
    if len(working) < 2:
        raise SystemExit(f"{count} is too few to tell a half from the other: give {10 * CHUNK_TEXTS} or more")
    half = len(working) // 2
    return {
        "count": count,
        "runs": samples[-1]["run"],
        "seconds": samples[-1]["seconds"],
        "peak": max(sample["peak"] for sample in samples),
        # Of the time from a tenth of the texts on: the middle value in the first and in the second half.
        "first_half": median(sample["rss"] for sample in working[:half]),
        "second_half": median(sample["rss"] for sample in working[half:]),
        "samples": thinned(samples),
    }


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Embed one workload whole; returns its figures."""
    count = getattr(options, name)
    tokens = options.document_tokens if name == "documents" else None
    folder: Path = options.work
    source, output = folder / f"{name}-{count}.jsonl", folder / f"{name}-{count}.parquet"
    if not source.exists():
        write_input(source, (sentences if name == "texts" else documents)(options.data), count)
    print(
        f"{count:,} {NAMES[name]}, {source.stat().st_size / MB:,.0f} MB of JSONL", file=sys.stderr, flush=True
    )
    log = folder / f"{name}-{count}.samples"
    if not output.exists():
        command = [sys.executable, "-m", "minigte", "embed", "--model", str(options.model), "--offline"]
        command += ["--input", str(source), "--output", str(output), "--resume"]
        command += ["--dtype", options.dtype, "--truncation", "ignore"]
        if tokens:
            command += ["--max-seq-length", str(tokens)]
        run(command, output, log)
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(output)
    if table.metadata.num_rows != count:
        raise SystemExit(f"{output} has {table.metadata.num_rows} rows, not {count}")
    return {"max_seq_length": tokens, **figures([json.loads(line) for line in log.open()], count)}


def plot(results: dict[str, Any], path: Path) -> None:
    """Memory by texts done, one panel a workload."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(results), figsize=(11, 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for (name, result), panel in zip(results.items(), panels[0], strict=True):
        minutes = [sample["seconds"] / 60 for sample in result["samples"]]
        panel.plot(
            minutes, [sample["rss"] / MB for sample in result["samples"]], color="#d62728", label="RSS"
        )
        panel.plot(
            minutes,
            [s["own"] / MB for s in result["samples"]],
            color="#7f7f7f",
            lw=1,
            label="of it anonymous",
        )
        panel.set_title(f"{result['count']:,} {NAMES[name]}")
        panel.set_xlabel("minutes")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    panels[0][0].set_ylabel("MB")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def section(document: dict[str, Any]) -> str:
    """The table and the plot, as they stand in docs/restricted.md."""
    lines = [
        f"`minigte embed --dtype {document['dtype']}` from JSONL to Parquet, {document['cores']} cores of "
        f"{document['cpu']}, {document['date']}:",
        "",
        "| what | minutes | texts/s | peak RSS, MB | median RSS, first half, MB | second half, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, result in document["results"].items():
        tokens = result["max_seq_length"]
        cells = [
            f"{result['count']:,} {NAMES[name]}" + (f", cut to {tokens} tokens" if tokens else ""),
            f"{result['seconds'] / 60:.1f}",
            f"{result['count'] / result['seconds']:,.0f}",
            *(f"{result[key] / MB:.0f}" for key in ("peak", "first_half", "second_half")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"![Memory of minigte embed over a long run](pictures/{PICTURE.name})"]
    return "\n".join(lines)


def report() -> None:
    """Draw the plot and write the page's section from the newest figures."""
    document = json.loads(max(RESULTS.glob("*.json")).read_text())
    plot(document["results"], PICTURE)
    write_between_markers(PAGE, BEGIN, END, section(document))


def arguments() -> argparse.Namespace:
    """The command line."""
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in COUNTS.items():
        parser.add_argument(
            f"--{name}", type=int, default=count, metavar="N", help=f"how many {NAMES[name]}; 0: none"
        )
    parser.add_argument(
        "--document-tokens",
        type=int,
        metavar="N",
        help="cut documents to N tokens; by default the model does",
    )
    parser.add_argument("--dtype", default="int8", help="int8 by default")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB's files")
    parser.add_argument(
        "--model", type=Path, default=os.environ.get("MINIGTE_MODEL") or shared / "models" / "gte-small"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "longrun", help="for inputs, outputs and samples"
    )
    parser.add_argument(
        "--report", action="store_true", help="only write the page again from the newest figures"
    )
    return parser.parse_args()


def main() -> None:
    """Measure what is not measured yet, and report."""
    options = arguments()
    if not options.report:
        options.work.mkdir(parents=True, exist_ok=True)
        results = {name: measure(name, options) for name in COUNTS if getattr(options, name)}
        now = datetime.now(timezone.utc)
        document = {
            "date": now.date().isoformat(),
            "dtype": options.dtype,
            **machine.facts(),
            "results": results,
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{now:%Y-%m-%d-%H%M}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        print(path, file=sys.stderr)
    report()


if __name__ == "__main__":
    main()
