"""What slow and lost workers cost, by Dask's own scheduler over minigte's own partitions.

    python bench/stragglers.py [--workers N] [--seconds S] [--model DIR]

Workers are threads here, and one has a core in name only: it embeds a text of each partition, writes the
partition's file, and sleeps for what the others would take, which a slow worker does twice as long. Lost ones
are closed in the middle, all of a machine at once. What is written is compared with one process, bit for bit.
The raw figures go to bench/results/stragglers, with the table that docs/scale.md quotes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import distributed
import machine
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from minigte import Embedder
from minigte.integrations.dask import with_embeddings
from minigte.integrations.workers import loaded

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "stragglers"
SHARES = (2, 4, 16)  # partitions a worker
MACHINE = 4  # workers of one machine are 1 / MACHINE of all
WAVE = 4  # partitions a worker that are begun before the next are


def pretend(part: pd.DataFrame, seconds: float, slow: int, log: str) -> pd.DataFrame:
    """Take as long as the partition would on this worker, and put a line into a file."""
    with open(log, "a") as file:  # noqa: PTH123 - this function is sent to workers, and Path is not
        file.write(".")
    time.sleep(seconds * (2 if distributed.get_worker().name == slow else 1))
    return part


class Run:
    """One job on one cluster."""

    def __init__(self, options: argparse.Namespace, share: int) -> None:
        self.partitions = share * options.workers
        self.seconds = options.seconds * max(SHARES) / share  # the same work, whatever its parts
        self.model = str(options.model.resolve())
        self.workers = options.workers
        self.dimension = loaded(self.model, {}, 1).embedding_dimension  # all workers are in this process
        self.texts = [f"text {number}" for number in range(self.partitions)]

    def measure(self, *, slow: bool, lost: bool, waves: bool) -> dict[str, Any]:
        """The seconds it took, and how many partitions were computed more than once."""
        per_wave = WAVE * self.workers if waves else self.partitions
        given = pd.DataFrame({"text": self.texts, "number": range(self.partitions)})
        with (
            tempfile.TemporaryDirectory() as folder,
            distributed.LocalCluster(
                n_workers=self.workers, threads_per_worker=1, processes=False, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
        ):
            names = list(cluster.workers)
            log = Path(folder) / "computed"
            frame = dd.from_pandas(given, npartitions=self.partitions, sort=False)
            vectors = with_embeddings(frame, self.model, dimension=self.dimension)
            pretended = vectors.map_partitions(
                pretend, self.seconds, names[0] if slow else -1, str(log), meta=vectors._meta
            )
            half = self.partitions * self.seconds / self.workers / 2
            timer = threading.Timer(half, self._lose, (cluster, names[-self.workers // MACHINE :]))
            start = time.perf_counter()
            if lost:
                timer.start()
            for first in range(0, self.partitions, per_wave):
                chosen = list(range(first, min(first + per_wave, self.partitions)))
                pretended.partitions[chosen].to_parquet(
                    folder, name_function=lambda i, chosen=chosen: f"part.{chosen[i]}.parquet"
                )
            took = time.perf_counter() - start
            timer.cancel()
            self._check(Path(folder))
            return {"took": took, "again": log.stat().st_size - self.partitions}

    @staticmethod
    def _lose(cluster: Any, names: list[Any]) -> None:
        """Take a machine's workers from the scheduler at once, with all they hold."""
        for name in names:
            address = cluster.workers[name].address
            cluster.sync(cluster.scheduler.remove_worker, address, stimulus_id="lost")

    def _check(self, folder: Path) -> None:
        """Every partition is there once, with the bits of one process."""
        tables = [pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet"))]
        found = {
            text: np.float32(vector)
            for table in tables
            for text, vector in zip(table["text"].to_pylist(), table["embedding"].to_pylist(), strict=True)
        }
        assert sum(map(len, tables)) == len(found) == self.partitions
        right = Embedder(self.model, threads=1).encode(self.texts, show_progress_bar=False)
        assert all((found[text] == vector).all() for text, vector in zip(self.texts, right, strict=True))

    def least(self, *, slow: bool, lost: bool) -> float:
        """The seconds that it would take if no worker ever waited and nothing were computed again."""
        work = self.partitions * self.seconds
        if lost:  # half is done by all, half by those that are left
            return work / self.workers / 2 * (1 + 1 / (1 - 1 / MACHINE))
        return work / (self.workers - (0.5 if slow else 0))


CASES = {
    "nothing": {"slow": False, "lost": False, "waves": False},
    "a worker half as fast": {"slow": True, "lost": False, "waves": False},
    "a machine lost at half time": {"slow": False, "lost": True, "waves": False},
    "the same, in waves": {"slow": False, "lost": True, "waves": True},
}


def table(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    lines = [
        "| what happens | " + " | ".join(f"{share} partitions a worker" for share in run["shares"]) + " |",
        "|---|" + "---:|" * len(run["shares"]),
    ]
    for case in CASES:
        cells = []
        for share in run["shares"]:
            found = run["cases"][f"{case}, {share}"]
            cell = f"{found['took'] / found['least']:.2f}"
            cells.append(cell + (f" ({found['again']} again)" if "lost" in case or "same" in case else ""))
        lines.append(f"| {case} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{run['started'][:10]}, distributed {run['distributed']}, {run['workers']} workers, "
        f"{run['workers'] // MACHINE} of them on the machine that is lost. Seconds taken, of the least that "
        "is possible with the workers there are; in brackets the partitions that were computed once more. "
        f"{run['work']:g} seconds of work a worker; scheduling and writing are in it, so that many small "
        "partitions look worse here than where each takes a minute.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all cases, and write the table."""
    model = os.environ.get("MINIGTE_MODEL") or ROOT.parent / "shared" / "models" / "gte-small"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path(model), help="model folder (MINIGTE_MODEL)")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2, help="of a partition, where they are smallest")
    parser.add_argument("--shares", type=int, nargs="+", choices=SHARES, default=SHARES)
    options = parser.parse_args()
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    cases: dict[str, Any] = {}
    for case, what in CASES.items():
        for share in options.shares:
            run = Run(options, share)
            least = run.least(slow=what["slow"], lost=what["lost"])
            cases[f"{case}, {share}"] = {"least": least, **run.measure(**what)}
            print(case, share, cases[f"{case}, {share}"], flush=True)
    result = {
        "started": begun,
        "machine": machine.facts(),
        "distributed": version("distributed"),
        "workers": options.workers,
        "shares": options.shares,
        "work": options.seconds * max(SHARES),
        "cases": cases,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{begun[:10]}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(result), encoding="utf-8")


if __name__ == "__main__":
    main()
