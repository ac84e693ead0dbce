"""Ray, Spark and Dask, each with a real local cluster of two workers: `make test-clusters`.

What they give must have the bits of one process, whatever the partitioning, also where a worker is killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from pages import EXAMPLE
from places import ROOT
from scripts import run, write_texts

from minigte import Embedder, InputError

pytestmark = pytest.mark.skipif(
    not os.environ.get("MINIGTE_CLUSTERS"), reason="starts clusters: make test-clusters"
)

TEXTS = [f"the cat {n} sat on {n * n} mats" + " and ran" * (n % 7) for n in range(400)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.write_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def right(model: str) -> dict[str, list[float]]:
    return dict(zip(TEXTS, Embedder(model, threads=2).encode(TEXTS).tolist(), strict=True))


# Ray


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="ray is missing: make test-clusters")
    ray.init(
        num_cpus=4,  # two for the workers; they would leave none for what reads
        include_dashboard=False,
        _temp_dir=str(tmp_path_factory.mktemp("r")),
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2])])}},
    )
    yield ray
    ray.shutdown()


def ray_rows(ray: Any, model: str, partitions: int, batch_size: int, mapper: Any = None) -> dict[str, Any]:
    from minigte.integrations.ray import EmbedTexts

    dataset = ray.data.from_items([{"text": text} for text in TEXTS], override_num_blocks=partitions)
    found = dataset.map_batches(
        mapper or EmbedTexts,
        fn_constructor_kwargs={"model": model},
        batch_format="pyarrow",
        batch_size=batch_size,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    return {row["text"]: list(row["embedding"]) for row in found.take_all()}


@pytest.mark.parametrize(("partitions", "batch_size"), [(1, 400), (7, 33)])
def test_ray(ray: Any, model: str, right: dict, partitions: int, batch_size: int) -> None:
    assert ray_rows(ray, model, partitions, batch_size) == right


def test_ray_with_a_worker_killed(ray: Any, model: str, right: dict, tmp_path: Path) -> None:
    from minigte.integrations.ray import EmbedTexts

    flag = str(tmp_path / "killed")

    class Killed(EmbedTexts):
        def __call__(self, batch: Any) -> Any:
            result = super().__call__(batch)
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return result
            os.kill(os.getpid(), signal.SIGKILL)
            return result

    assert ray_rows(ray, model, 8, 20, Killed) == right
    assert Path(flag).exists()


def test_ray_gives_the_threads(ray: Any, model: str) -> None:
    from minigte.integrations.ray import EmbedTexts

    class Threads(EmbedTexts):
        def __call__(self, batch: Any) -> Any:
            threads = self._embedder.backend.threads
            return batch.append_column("threads", [[threads] * len(batch)])

    for cpus in (1, 2):
        dataset = ray.data.from_items([{"text": "a"}]).map_batches(
            Threads,
            fn_constructor_kwargs={"model": model},
            batch_format="pyarrow",
            num_cpus=cpus,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        assert [row["threads"] for row in dataset.take_all()] == [cpus]


# Spark


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is missing: make test-clusters")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)  # else it is the python3 of PATH
    session = (
        sql.SparkSession.builder.master("local[2,3]")  # three attempts at a task
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "512m")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "50")
        .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parents[2]))
        .getOrCreate()
    )
    yield session
    session.stop()
    patch.undo()


@pytest.mark.parametrize("partitions", [1, 5])
def test_spark(spark: Any, model: str, right: dict, partitions: int) -> None:
    from minigte.integrations.spark import embed_udf, with_embeddings

    frame = spark.createDataFrame([(text,) for text in TEXTS], "text string").repartition(partitions)
    for embedded in (
        frame.withColumn("embedding", embed_udf(model)("text")),
        with_embeddings(frame, model),
    ):
        assert {row.text: list(row.embedding) for row in embedded.collect()} == right


def test_spark_with_a_worker_killed(spark: Any, model: str, right: dict, tmp_path: Path) -> None:
    from minigte.integrations.spark import with_embeddings

    flag = str(tmp_path / "killed")

    def die_once(batches: Any) -> Any:
        for batch in batches:
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                yield batch
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    frame = spark.createDataFrame([(text,) for text in TEXTS], "text string").repartition(4)
    embedded = with_embeddings(frame.mapInPandas(die_once, frame.schema), model)
    assert {row.text: list(row.embedding) for row in embedded.collect()} == right
    assert Path(flag).exists()


def test_spark_nulls(spark: Any, model: str) -> None:
    from minigte.integrations.spark import embed_udf, with_embeddings

    frame = spark.createDataFrame([("a",), (None,)], "text string").repartition(1)
    kept = frame.withColumn("embedding", embed_udf(model, nulls="keep")("text")).collect()
    assert [row.embedding is None for row in kept] == [row.text is None for row in kept]
    with pytest.raises(Exception, match="is null"):
        frame.withColumn("embedding", embed_udf(model)("text")).collect()
    with pytest.raises(InputError, match="columns: text"):
        with_embeddings(frame, model, "body")


# Dask


@pytest.fixture(scope="module")
def dask_client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="dask.distributed is missing: make test-clusters")
    pytest.importorskip("dask.dataframe", reason="dask[dataframe] is missing: make test-clusters")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def dask_rows(found: Any) -> dict[str, list[float]]:
    return {text: list(vector) for text, vector in zip(found["text"], found["embedding"], strict=True)}


@pytest.mark.parametrize("partitions", [1, 7])
def test_dask(dask_client: Any, model: str, right: dict, partitions: int) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from minigte.integrations.dask import with_embeddings

    frame = dd.from_pandas(pd.DataFrame({"text": TEXTS}), npartitions=partitions)
    found = with_embeddings(frame, model).compute()
    assert found["text"].tolist() == TEXTS
    assert {
        text: list(vector) for text, vector in zip(found["text"], found["embedding"], strict=True)
    } == right


def test_dask_with_a_worker_killed(dask_client: Any, model: str, right: dict, tmp_path: Path) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from minigte.integrations.dask import with_embeddings

    flag = str(tmp_path / "killed")

    def die_once(part: Any) -> Any:
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return part
        os.kill(os.getpid(), signal.SIGKILL)
        return part

    frame = dd.from_pandas(pd.DataFrame({"text": TEXTS}), npartitions=8)
    found = with_embeddings(frame.map_partitions(die_once, meta=frame._meta), model, dimension=20).compute()
    assert {
        text: list(vector) for text, vector in zip(found["text"], found["embedding"], strict=True)
    } == right
    assert Path(flag).exists()


def test_what_is_sent_to_workers_has_no_weights(model: str) -> None:
    pickle = pytest.importorskip("cloudpickle", reason="cloudpickle is missing: make test-clusters")
    pytest.importorskip("dask.dataframe", reason="dask[dataframe] is missing: make test-clusters")
    import dask.dataframe as dd
    import pandas as pd

    from minigte.integrations.dask import with_embeddings

    frame = dd.from_pandas(pd.DataFrame({"text": TEXTS[:2]}), npartitions=1)
    assert len(pickle.dumps(with_embeddings(frame, model))) < 20_000


def test_options_are_texts_and_numbers(model: str) -> None:
    from minigte.integrations.workers import loaded

    with pytest.raises(InputError, match="sent to workers"):
        loaded(model, {"prompts": {1j}}, 1)
    first = loaded(model, {"truncate_dim": 8}, 1)
    assert loaded(model, {"truncate_dim": 8}, 1) is first
    assert first.backend.threads == 1
    assert np.shape(first.encode("a")) == (8,)


def test_the_engines_are_measured(model: str, tmp_path: Path) -> None:
    for package in ("ray", "pyspark", "distributed"):
        pytest.importorskip(package, reason=f"{package} is missing: make test-clusters")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    data = write_texts(tmp_path / "data")
    short = f"clusters.RESULTS = pathlib.Path({str(tmp_path)!r})"
    options = ["--texts", "200", "--files", "4", "--rounds", "1"]
    run("bench/clusters", "--model", model, "--data", str(data), *options, short=short)
    table = (tmp_path / "table.md").read_text()
    assert re.findall(r"^\| (Ray|Spark|Dask) [\d.]+, 2 workers \|", table, re.MULTILINE) == [
        "Ray",
        "Spark",
        "Dask",
    ]


def test_lost_workers_are_tried(model: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is missing: make test-clusters")
    short = f"stragglers.RESULTS = pathlib.Path({str(tmp_path)!r})"
    options = ["--workers", "4", "--seconds", "0.2", "--shares", "4"]
    run("bench/stragglers", "--model", model, *options, short=short)
    [file] = tmp_path.glob("*.json")
    cases = json.loads(file.read_text())["cases"]
    assert len(cases) == 4
    assert cases["nothing, 4"]["again"] == 0
    assert all(case["took"] >= case["least"] for case in cases.values())
    assert "4 workers, 1 of them" in (tmp_path / "table.md").read_text()


@pytest.mark.usefixtures("model_by_name")
@pytest.mark.parametrize("title", ["Ray", "Spark", "Dask", "What fails"])
def test_the_page(
    title: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """The examples of docs/scale.md print what it shows."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    [section] = [part for part in re.split(r"^## ", page, flags=re.MULTILINE) if part.startswith(title)]
    [(code, shown)] = EXAMPLE.findall(section)
    if title in ("Ray", "Spark"):  # Dask's own scheduler of threads runs where there is no cluster
        request.getfixturevalue(title.lower())
    monkeypatch.chdir(tmp_path)
    code = code.replace("ray.init(num_cpus=4)\n", "")  # it runs already
    capsys.readouterr()
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == shown
