"""What Ray, Spark and Dask add: two workers of each beside one process with two threads, in one run.

    python bench/clusters.py [--texts N] [--rounds N] [--only NAME...] [--data DIR] [--model DIR]

All read the same Parquet files and write Parquet; a worker has one thread. The cluster of each engine runs
while it is measured and no longer, and before it and after it stands the one process. A job of a few texts is
measured as well: what it takes is what any job takes, and the rate is that of the texts beyond it. That all
gave the same bits is checked. The raw figures go to bench/results/clusters, with the table of docs/scale.md.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import search

from minigte import Embedder
from minigte.integrations.pyarrow import embed

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "clusters"
WORKERS = 2
FEW = 64  # texts of the small job
ALONE = "one process, 2 threads"

Job = Callable[[Path, Path], None]  # a folder of texts to a folder of vectors


def one_process(model: str) -> Job:
    """No engine: file by file."""
    embedder = Embedder(model, threads=WORKERS)

    def job(source: Path, target: Path) -> None:
        for path in sorted(source.glob("*.parquet")):
            table = pq.read_table(path)
            vectors = embed(table["text"], embedder, show_progress_bar=False)
            pq.write_table(table.append_column("embedding", vectors), target / path.name)

    return job


@contextlib.contextmanager
def ray_job(model: str) -> Iterator[Job]:
    """Two actors of Ray Data."""
    import ray

    from minigte.integrations.ray import EmbedTexts

    ray.init(
        num_cpus=2 * WORKERS,  # the actors keep theirs, and something must read
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False

    def job(source: Path, target: Path) -> None:
        # Ray reads small files into one block, and a block keeps one actor busy
        files = len(list(source.glob("*.parquet")))
        found = (
            ray.data.read_parquet(str(source))
            .repartition(files)
            .map_batches(
                EmbedTexts,
                fn_constructor_kwargs={"model": model},
                batch_format="pyarrow",
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=WORKERS),
            )
        )
        found.write_parquet(str(target))

    try:
        yield job
    finally:
        ray.shutdown()


@contextlib.contextmanager
def spark_job(model: str) -> Iterator[Job]:
    """Two tasks at a time of a local Spark."""
    from pyspark.sql import SparkSession

    from minigte.integrations.spark import with_embeddings

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master(f"local[{WORKERS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "1000")
        .config("spark.sql.files.maxPartitionBytes", "4m")  # what opening a file counts as: one a partition
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.executorEnv.PYTHONPATH", str(ROOT))
        .getOrCreate()
    )

    def job(source: Path, target: Path) -> None:
        with_embeddings(session.read.parquet(str(source)), model).write.parquet(str(target / "all"))

    try:
        yield job
    finally:
        session.stop()


@contextlib.contextmanager
def dask_job(model: str) -> Iterator[Job]:
    """Two processes of dask.distributed."""
    import dask.dataframe as dd
    import distributed

    from minigte.integrations.dask import with_embeddings

    with (
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):

        def job(source: Path, target: Path) -> None:
            with_embeddings(dd.read_parquet(source), model).to_parquet(target)

        yield job


ENGINES = {"Ray": ray_job, "Spark": spark_job, "Dask": dask_job}
PACKAGES = {"Ray": "ray", "Spark": "pyspark", "Dask": "distributed"}


def write_texts(folder: Path, texts: list[str], files: int) -> Path:
    """Parquet files of about the same number of texts."""
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.array(texts, object), files)):
        # Java's Snappy does not load where both glibc and musl are, and takes Spark's job with it
        pq.write_table(pa.table({"text": part.tolist()}), folder / f"{number:03}.parquet", compression="zstd")
    return folder


def vectors_of(folder: Path) -> dict[str, bytes]:
    """Each text's vector, as its bytes."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        for text, vector in zip(table["text"].to_pylist(), table["embedding"].to_pylist(), strict=True):
            found[text] = np.float32(vector).tobytes()
    return found


def timed(job: Job, source: Path, work: Path) -> tuple[float, dict[str, bytes]]:
    """The seconds of a job, and what it wrote."""
    target = work / "vectors"
    target.mkdir()
    start = time.perf_counter()
    job(source, target)
    seconds = time.perf_counter() - start
    found = vectors_of(target)
    shutil.rmtree(target)
    return seconds, found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    busy = machine.busy()
    if busy > machine.QUIET:
        print(f"WARNING: this machine is not quiet: {busy:.0%} of its time goes to others", file=sys.stderr)
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    model = str(options.model.resolve())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        texts = search.sentences(options.data, options.texts)
        sources = {
            "few": write_texts(work / "few", texts[:FEW], WORKERS),
            "all": write_texts(work / "all", texts, options.files),
        }
        alone = one_process(model)
        _, right = timed(alone, sources["all"], work)
        figures: list[dict[str, Any]] = []

        def rounds(name: str, job: Job) -> None:
            timed(job, sources["few"], work)  # so that whatever stays has been loaded
            seconds: dict[str, list[float]] = {"few": [], "all": []}
            for _, size in itertools.product(range(options.rounds), seconds):
                took, found = timed(job, sources[size], work)
                seconds[size].append(took)
                assert all(right[text] == vector for text, vector in found.items()), name
                assert len(found) == len(set(texts[:FEW] if size == "few" else texts)), name
            figures.append({"name": name, "seconds": seconds})
            print(json.dumps(figures[-1]), file=sys.stderr)

        rounds(ALONE, alone)
        for name in options.only:
            start = time.perf_counter()
            with ENGINES[name](model) as job:
                started = time.perf_counter() - start
                rounds(name, job)
            figures[-1]["start_seconds"] = started
            rounds(ALONE, alone)
    return {
        "started": begun,
        "machine": machine.facts(),
        "busy_before": busy,
        "texts": len(texts),
        "files": options.files,
        "few": FEW,
        "versions": {name: version(PACKAGES[name]) for name in options.only},
        "rounds": figures,
    }


def table(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    beyond = run["texts"] - run["few"]

    def rate(seconds: dict[str, list[float]]) -> float:
        return beyond / (median(seconds["all"]) - median(seconds["few"]))

    lines = [
        "| | texts a second | of one process | a job of 64 texts, s | starting the cluster, s |",
        "|---|---:|---:|---:|---:|",
    ]
    rounds = run["rounds"]
    alone = [one for one in rounds if one["name"] == ALONE]
    rates = [rate(one["seconds"]) for one in alone]
    few = median(seconds for one in alone for seconds in one["seconds"]["few"])
    lines.append(f"| {ALONE} | {median(rates):,.0f} | 1 | {few:.2f} | |")
    for before, one, after in zip(rounds, rounds[1:], rounds[2:], strict=False):
        if one["name"] == ALONE:
            continue
        beside = (rate(before["seconds"]) + rate(after["seconds"])) / 2
        here = rate(one["seconds"])
        lines.append(
            f"| {one['name']} {run['versions'][one['name']]}, 2 workers | {here:,.0f} | {here / beside:.2f} "
            f"| {median(one['seconds']['few']):.2f} | {one['start_seconds']:.1f} |"
        )
    m = run["machine"]
    lines += [
        "",
        f"{run['started'][:10]}, {m['cpu']}, {m['cores']} cores; other processes used "
        f"{run['busy_before']:.0%} of the machine before. {run['texts']:,} sentences in {run['files']} files "
        "of Parquet, float32; each engine beside the one process before and after it. All gave the same "
        "bits.",
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
    parser.add_argument("--texts", type=int, default=6_000)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=tuple(ENGINES), default=list(ENGINES))
    options = parser.parse_args()
    run = measure(options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{run['started'][:10]}.json").write_text(json.dumps(run, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(run), encoding="utf-8")


if __name__ == "__main__":
    main()
