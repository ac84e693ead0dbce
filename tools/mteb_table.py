"""Score minigte on MTEB's tasks with mteb itself, and write docs/quality.md beside the published scores.

    python tools/mteb_table.py --data ../shared/data/mteb
    python tools/mteb_table.py --download                      (mteb fetches its own data)
    python tools/mteb_table.py --data DIR --models thenlper/gte-small --tasks STS12 STS13 --runs float32 int8
    python tools/mteb_table.py --page                          (measure nothing, write the page again)

Every score goes into bench/results/quality/MODEL.json as soon as it is there. A run that was stopped goes on
where it stopped: scores of the same versions, weights, texts and arithmetic are kept, but with --again.

--data holds one folder a task, under mteb's name of it:

    STS12/test.tsv                        score <TAB> sentence 1 <TAB> sentence 2      (any STS task)
    TwitterURLCorpus/test.tsv             label <TAB> sentence 1 <TAB> sentence 2      (pair classification)
    Banking77Classification/train.jsonl   {"text": ..., "label": ...} a line           (classification)
    Banking77Classification/test.jsonl
    AmazonCounterfactualClassification/en.train.jsonl, en.test.jsonl                 (a subset by its name)
    NFCorpus/corpus.jsonl                 {"_id": ..., "title": ..., "text": ...}    (retrieval, BEIR's form)
    NFCorpus/queries.jsonl                {"_id": ..., "text": ...}
    NFCorpus/qrels/test.tsv               a line of names, then query-id <TAB> corpus-id <TAB> score

It needs `pip install 'minigte[mteb]'`; `make quality` makes the environment and runs all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import logging
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import minigte  # noqa: E402
from minigte import Embedder, InputError, MinigteError  # noqa: E402
from minigte.backend import DTYPES  # noqa: E402
from minigte.loading.hashes import sha256_of  # noqa: E402
from minigte.loading.weights import find_weights  # noqa: E402
from minigte.runtime.replacing import replacing  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "quality"
PAGE = ROOT / "docs" / "quality.md"
BEGIN = "<!-- results: written by tools/mteb_table.py -->"
END = "<!-- end of results -->"

# The smallest first, so that a run which is stopped has most of the table.
TASKS = (
    "BIOSSES",
    "STSBenchmark",
    "AmazonCounterfactualClassification",
    "STS13",
    "STS12",
    "Banking77Classification",
    "SICK-R",
    "NFCorpus",
    "TwitterURLCorpus",
)
CLASSIFICATION = ("AmazonCounterfactualClassification", "Banking77Classification")
RETRIEVAL = ("NFCorpus",)
FIRST = 10  # documents of a query that dtypes are compared by
SUBSETS = {"AmazonCounterfactualClassification": ["en"]}  # the one of the model cards' tables

# What is measured, and on which tasks; None is all of them.
RUNS: Mapping[str, Sequence[str] | None] = {
    "float32": None,
    "int8": None,
    "bfloat16": None,
    "transformers": CLASSIFICATION,  # the same draws of training texts, encoded by transformers
    # Vectors before the L2 norm, which a classifier and Euclid's distance tell from those after it.
    "no norm": (*CLASSIFICATION, "TwitterURLCorpus"),
    "numpy": ("BIOSSES", "STSBenchmark", "AmazonCounterfactualClassification", "STS13"),
}

# The score that is compared, where it is not the main one: that of TwitterURLCorpus is the best of four
# distances, and the best of gte-small's card is Euclid's before the L2 norm.
COMPARED = {"TwitterURLCorpus": "cosine_ap"}

# Main scores, or those of COMPARED, in percent.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    # The model card of thenlper/gte-small at 17e1f347.
    "thenlper/gte-small": {
        "BIOSSES": 88.171,
        "STSBenchmark": 85.570,
        "AmazonCounterfactualClassification": 73.224,
        "STS13": 85.087,
        "STS12": 75.122,
        "Banking77Classification": 84.084,
        "SICK-R": 77.930,
        "NFCorpus": 34.769,
        "TwitterURLCorpus": 84.919,
    },
    # MTEB's repository of results: revision 8b3219a9, made with mteb 1.12.75.
    "sentence-transformers/all-MiniLM-L6-v2": {
        "BIOSSES": 81.640,
        "STSBenchmark": 82.033,
        "AmazonCounterfactualClassification": 63.642,
        "STS13": 80.603,
        "STS12": 72.369,
        "Banking77Classification": 80.042,
        "SICK-R": 77.583,
        "NFCorpus": 31.594,
        "TwitterURLCorpus": 84.702,
    },
    # The table of MTEB's paper and leaderboard, which has two digits.
    "sentence-transformers/all-mpnet-base-v2": {
        "BIOSSES": 80.43,
        "STSBenchmark": 83.42,
        "STS13": 83.48,
        "STS12": 72.63,
        "SICK-R": 80.59,
        "NFCorpus": 33.29,
        "TwitterURLCorpus": 85.11,
    },
}
# What the published classification scores are of: gte-small's card has them of vectors before the L2 norm.
CLASSIFIED = {"thenlper/gte-small": "no norm", "sentence-transformers/all-MiniLM-L6-v2": "float32"}
METRICS = {
    "cosine_spearman": "Spearman of cosine",
    "cosine_ap": "average precision of cosine",
    "accuracy": "accuracy",
    "ndcg_at_10": "nDCG@10",
}

Rows = list[dict[str, Any]]
Results = dict[str, dict[str, dict[str, Any]]]  # task -> run -> what was measured


# Short and long texts, whose vectors say whether the arithmetic is what it was.
ARITHMETIC = ["a cat", "How many people live in Berlin?", "Les vecteurs ont les mêmes bits. " * 40]


def say(message: str) -> None:
    """One line of progress."""
    print(message, file=sys.stderr, flush=True)


def read_tsv(path: Path, columns: int) -> list[list[str]]:
    """The lines of a file, each cut at its tabs; InputError where a line has another number of columns."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise InputError(f"{path}: line {number} has {len(row)} columns, not {columns}")
    return rows


def read_jsonl(path: Path) -> Rows:
    """One JSON object a line."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except ValueError as error:
        raise InputError(f"{path} is not JSON lines: {error}") from error


def read_pairs(folder: Path, label: str) -> Any:
    """test.tsv, as mteb's STS and pair classification tasks have it after loading."""
    from datasets import Dataset, DatasetDict

    rows = read_tsv(folder / "test.tsv", 3)
    number = float if label == "score" else int
    columns = {
        label: [number(row[0]) for row in rows],
        "sentence1": [row[1] for row in rows],
        "sentence2": [row[2] for row in rows],
    }
    return DatasetDict(test=Dataset.from_dict(columns))


def read_classification(folder: Path, prefix: str) -> Any:
    """train.jsonl and test.jsonl; labels that are names become their numbers in alphabetical order."""
    from datasets import Dataset, DatasetDict

    splits = {split: read_jsonl(folder / f"{prefix}{split}.jsonl") for split in ("train", "test")}
    labels = sorted({row["label"] for rows in splits.values() for row in rows})
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "text": [row["text"] for row in rows],
                    "label": [labels.index(row["label"]) for row in rows],
                }
            )
            for split, rows in splits.items()
        }
    )


def read_retrieval(folder: Path) -> Any:
    """BEIR's files, as mteb's retrieval tasks have them after loading."""
    from datasets import Dataset

    relevant: dict[str, dict[str, int]] = {}
    for query, document, score in read_tsv(folder / "qrels" / "test.tsv", 3)[1:]:
        relevant.setdefault(query, {})[document] = int(score)
    corpus = [
        {"id": row["_id"], "title": row["title"], "text": row["text"]}
        for row in read_jsonl(folder / "corpus.jsonl")
    ]
    queries = [
        {"id": row["_id"], "text": row["text"]}
        for row in read_jsonl(folder / "queries.jsonl")
        if row["_id"] in relevant
    ]
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": relevant,
        "top_ranked": None,
    }
    return {"default": {"test": split}}


def load_task(name: str, data: Path | None) -> tuple[Any, str]:
    """mteb's task of this name, and what identifies its texts; from a folder of ``data``, or left to mteb."""
    import mteb
    from mteb.abstasks import (
        AbsTaskClassification,
        AbsTaskPairClassification,
        AbsTaskRetrieval,
        AbsTaskSTS,
    )

    try:
        task = mteb.get_task(name, eval_splits=["test"], hf_subsets=SUBSETS.get(name))
    except KeyError as error:
        raise InputError(f"mteb has no task {name!r}: see mteb.get_tasks()") from error
    if data is None:
        source = task.metadata.dataset
        try:
            task.load_data()
        except OSError as error:  # the Hub is out of reach, or does not have it
            raise InputError(f"mteb could not download {name} ({error}): use --data") from error
        return task, f"{source['path']} at {source['revision']}"
    folder = data / name
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: see --help for what it holds, or use --download")
    try:
        if isinstance(task, AbsTaskSTS):
            task.dataset = read_pairs(folder, "score")
        elif isinstance(task, AbsTaskPairClassification):
            task.dataset = read_pairs(folder, "labels")
        elif isinstance(task, AbsTaskClassification) and name in SUBSETS:
            task.dataset = {subset: read_classification(folder, f"{subset}.") for subset in task.hf_subsets}
        elif isinstance(task, AbsTaskClassification):
            task.dataset = read_classification(folder, "")
        elif isinstance(task, AbsTaskRetrieval):
            task.dataset = read_retrieval(folder)
        else:
            raise InputError(
                f"{name} is a {task.metadata.type} task, which --data has no layout for: use --download"
            )
    except FileNotFoundError as error:
        raise InputError(f"there is no file {error.filename}: see --help for what {folder} holds") from error
    task.data_loaded = True  # mteb then downloads nothing
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".tsv", ".jsonl"):
            digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return task, f"files with sha256 {digest.hexdigest()}"


def load_transformers(embedder: Embedder) -> Any:
    """The same model folder in transformers, float32, under sentence-transformers' pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    config = embedder.config
    modules: list[Any] = [
        Transformer(
            str(embedder.source.folder),
            model_kwargs={"dtype": torch.float32},
            max_seq_length=config.max_seq_length,
            do_lower_case=config.do_lower_case,
        ),
        Pooling(config.spec.hidden_size, config.pooling_modes),
    ]
    if config.normalize:
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, device="cpu").eval()


def arithmetic_of(embedder: Embedder) -> str:
    """What tells apart two ways of computing: the sha256 of the vectors of some texts."""
    vectors = embedder.encode(ARITHMETIC, truncation="ignore")
    return hashlib.sha256(vectors.tobytes()).hexdigest()


def load_run(run: str, model: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """What mteb evaluates, its ``encode_kwargs``, and what tells apart two computations.

    minigte's version does not do that alone: between two releases its arithmetic can change, and that of a
    processor with matrix registers is another.
    """
    from minigte.integrations.mteb import EmbedderWrapper

    dtype = run if run in DTYPES else "float32"
    embedder = Embedder(model, dtype=dtype, backend="numpy" if run in ("numpy", "transformers") else "auto")
    if run == "no norm":
        # What cannot be assigned, because it is the model's own, is what this run is about.
        vars(embedder)["config"] = dataclasses.replace(embedder.config, head=())
        embedder.head = ()
    weights = find_weights(embedder.source.folder / embedder.config.transformer)
    assert weights is not None  # the Embedder has read them
    computed = {"weights": sha256_of(weights)}
    if run == "transformers":
        import torch
        import transformers

        computed |= {"torch": torch.__version__, "transformers": transformers.__version__}
        return load_transformers(embedder), {"batch_size": 32}, computed
    computed |= {"minigte": minigte.__version__, "arithmetic": arithmetic_of(embedder)}
    return EmbedderWrapper(embedder), {"batch_size": 256, "truncation": "ignore"}, computed


def measure(task: Any, encoder: Any, encode_kwargs: dict[str, Any]) -> dict[str, Any]:
    """mteb's scores of one task, and the seconds they took."""
    import mteb

    start = time.monotonic()
    name = task.metadata.name
    with tempfile.TemporaryDirectory() as folder:
        result = mteb.evaluate(
            encoder,
            task,
            cache=None,
            co2_tracker=False,
            encode_kwargs={"show_progress_bar": sys.stderr.isatty(), **encode_kwargs},
            prediction_folder=folder if name in RETRIEVAL else None,
            show_progress_bar=False,
        )
        first = {"first documents": first_documents(Path(folder), name)} if name in RETRIEVAL else {}
    (scores,) = result.task_results[0].scores["test"]  # one subset of one split
    return {
        "score": 100 * scores["main_score"],
        "seconds": round(time.monotonic() - start, 1),
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        "scores": {name: value for name, value in scores.items() if not _is_nan(value)},
        **first,
    }


def first_documents(folder: Path, name: str) -> dict[str, str]:
    """The ids of the FIRST documents of each query, best first, from what mteb has written of a task."""
    predictions = json.loads((folder / f"{name}_predictions.json").read_text(encoding="utf-8"))
    ranked = {
        query: sorted(similar, key=lambda document: (-similar[document], document))
        for query, similar in predictions["default"]["test"].items()
    }
    return {query: " ".join(documents[:FIRST]) for query, documents in ranked.items()}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def results_path(model: str) -> Path:
    """Where a model's scores are kept."""
    return RESULTS / f"{model.rpartition('/')[2]}.json"


def read_results(model: str) -> Results:
    """What was measured of a model before."""
    path = results_path(model)
    if not path.exists():
        return {}
    results: Results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


def write_results(model: str, results: Results) -> None:
    """Put the scores in the place of those before, in the order of the table."""
    order = {name: i for i, name in enumerate(TASKS)}
    results = dict(sorted(results.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
    RESULTS.mkdir(parents=True, exist_ok=True)
    with replacing(results_path(model)) as file:
        file.write((json.dumps({"model": model, "results": results}, indent=1) + "\n").encode())


def plan(models: Sequence[str], tasks: Sequence[str], runs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(task, model, run), the smallest tasks first."""
    for task in tasks:
        for run in runs:
            only = RUNS[run]
            if only is None or task in only:
                for model in models:
                    if run != "no norm" or CLASSIFIED.get(model, run) == run:
                        yield task, model, run


def measure_all(
    models: Sequence[str], tasks: Sequence[str], runs: Sequence[str], data: Path | None, *, again: bool
) -> None:
    """Measure what is not measured yet; each score is printed, and written before the next one is begun."""
    import mteb

    logging.getLogger("mteb").setLevel(logging.ERROR)  # of every older task it says that there is a newer
    warnings.filterwarnings("ignore", "The task '.*' is superseded")
    todo = list(plan(models, tasks, runs))
    loaded = load_task(todo[0][0], data) if todo else None
    for number, (name, model, run) in enumerate(todo, 1):
        if loaded is None or loaded[0].metadata.name != name:
            loaded = load_task(name, data)
        task, texts = loaded
        encoder, encode_kwargs, computed = load_run(run, model)
        of = {"mteb": mteb.__version__, "texts": texts, **computed}
        where = f"{number} of {len(todo)}: {name}, {model}, {run}"
        results = read_results(model)
        before = results.get(name, {}).get(run)
        whole = name not in RETRIEVAL or "first documents" in (before or {})
        if before is not None and before["of"] == of and whole and not again:
            say(f"{where}: already measured")
            continue
        say(f"{where} ...")
        measured = {"of": of, "metric": task.metadata.main_score, **measure(task, encoder, encode_kwargs)}
        results = read_results(model)
        results.setdefault(name, {})[run] = measured
        write_results(model, results)
        published = PUBLISHED.get(model, {}).get(name)
        beside = "" if published is None else f"  published {published:.3f}"
        print(
            f"{name}  {model}  {run}  {score(name, measured):.3f}{beside}  {measured['seconds']:.0f} s",
            flush=True,
        )


def standard_error(measured: Mapping[str, Any]) -> float:
    """How far chance moves the mean over the draws of a classification task, in percent."""
    draws = [100 * draw["accuracy"] for draw in measured["scores"]["scores_per_experiment"]]
    return statistics.stdev(draws) / math.sqrt(len(draws))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def score(name: str, measured: Mapping[str, Any]) -> float:
    """The score of a task that is compared, in percent."""
    value: float = 100 * measured["scores"][COMPARED[name]] if name in COMPARED else measured["score"]
    return value


def compared_metric(name: str, runs: Mapping[str, Any]) -> str:
    """mteb's name for what ``score`` gives."""
    return COMPARED.get(name) or next(iter(runs.values()))["metric"]


def beside(name: str, measured: Mapping[str, Any] | None, published: float | None) -> str:
    """A score, and how far it is from the published one."""
    if measured is None:
        return "not measured"
    value = score(name, measured)
    return f"{value:.3f}" + ("" if published is None else f" ({value - published:+.3f})")


def classification_table(
    results: Mapping[str, Mapping[str, Any]], published: Mapping[str, float], compared: str
) -> str:
    """Scores that depend on draws; the one that is ``compared`` has its distance from the published score."""
    columns = [
        run
        for run in ("float32", "bfloat16", "int8", "no norm", "transformers")
        if any(run in runs for runs in results.values())
    ]
    rows = [
        [
            name,
            f"{published[name]:.3f}" if name in published else "",
            *(
                beside(name, runs.get(run), published.get(name) if run == compared else None)
                for run in columns
            ),
            f"{standard_error(runs[compared]):.2f}" if compared in runs else "",
        ]
        for name, runs in results.items()
    ]
    return table(["task", "published", *columns, "chance"], rows)


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[float, float]:
    """Of the documents that two runs find first: the mean share that both have; how often the best is one.

    The first is called overlap@10, the second is a share of the queries.
    """
    pairs = [(one[query].split(), other[query].split()) for query in one]
    overlap = statistics.fmean(len(set(a) & set(b)) / len(a) for a, b in pairs)
    return overlap, statistics.fmean(a[0] == b[0] for a, b in pairs)


def agreement_table(results: Results) -> str | None:
    """How far fewer bits find what float32 finds; None where that was not measured."""
    rows = []
    for name, runs in results.items():
        found = {run: runs[run]["first documents"] for run in runs if "first documents" in runs[run]}
        for run in ("bfloat16", "int8"):
            if {"float32", run} <= found.keys():
                overlap, first = agreement(found["float32"], found[run])
                rows.append([name, run, f"{len(found[run]):,}", f"{overlap:.4f}", f"{100 * first:.1f} %"])
    return table(["task", "dtype", "queries", "overlap@10", "same first"], rows) if rows else None


def section(model: str, results: Results) -> str:
    """One model's tables."""
    published = PUBLISHED.get(model, {})
    exact = {name: runs for name, runs in results.items() if name not in CLASSIFICATION}
    drawn = {name: runs for name, runs in results.items() if name in CLASSIFICATION}
    rows = [
        [
            f"{name}, {METRICS.get(metric := compared_metric(name, runs), metric)}",
            f"{published[name]:.3f}" if name in published else "",
            *(beside(name, runs.get(run), published.get(name)) for run in ("float32", "bfloat16", "int8")),
        ]
        for name, runs in exact.items()
    ]
    parts = [f"## {model}", table(["task", "published", "float32", "bfloat16", "int8"], rows)]
    if (agreed := agreement_table(results)) is not None:
        parts += [
            "The documents that each query finds, beside those that it finds in float32: *overlap@10* is the "
            "mean share of the first ten that both have, and *same first* counts the queries whose best "
            "document is the same:",
            agreed,
        ]
    if drawn:
        parts += [
            "Accuracy over ten draws of training texts; transformers computes in float32, "
            + (
                "*no norm* is float32 before the L2 norm, "
                if any("no norm" in runs for runs in drawn.values())
                else ""
            )
            + "and *chance* is the standard error of a mean of ten draws:",
            classification_table(drawn, published, CLASSIFIED.get(model, "float32")),
        ]
    rows = [
        [name, f"{runs['float32']['score']:.5f}", f"{runs['numpy']['score']:.5f}"]
        for name, runs in results.items()
        if {"float32", "numpy"} <= runs.keys()
    ]
    if rows:
        parts += ["Both backends in float32:", table(["task", "compiled", "numpy"], rows)]
    versions = sorted(
        {
            f"{what} {version}"
            for runs in results.values()
            for measured in runs.values()
            for what, version in measured["of"].items()
            if what not in ("texts", "weights", "arithmetic")
        }
    )
    dates = sorted({measured["date"] for runs in results.values() for measured in runs.values()})
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    raw = f"`bench/results/quality/{results_path(model).name}`"
    parts.append(f"Measured {when} with {', '.join(versions)}; raw scores: {raw}.")
    return "\n\n".join(parts)


def write_page() -> None:
    """Write the tables of every model that has scores between the page's markers."""
    sections = [section(model, results) for model in PUBLISHED if (results := read_results(model))]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    with replacing(PAGE) as file:
        file.write("\n\n".join([f"{before}{BEGIN}", *sections, f"{END}{after}"]).encode())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="DIR", help="one folder a task, as above")
    source.add_argument("--download", action="store_true", help="let mteb download its data")
    source.add_argument("--page", action="store_true", help="only write docs/quality.md from the scores")
    parser.add_argument("--models", nargs="+", default=list(PUBLISHED), metavar="MODEL", help="(both)")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="mteb's names (all nine that --data has)")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="(all)")
    parser.add_argument("--again", action="store_true", help="measure also what has been measured")
    options = parser.parse_args(arguments)
    if options.data is not None and not options.data.is_dir():
        parser.error(f"there is no folder {options.data}")
    if options.tasks is None:
        options.tasks = [name for name in TASKS if options.data is None or (options.data / name).is_dir()]
        if not options.tasks:
            parser.error(f"{options.data} has no folder with the name of a task: see --help")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page."""
    options = parse(arguments)
    try:
        if not options.page:
            measure_all(options.models, options.tasks, options.runs, options.data, again=options.again)
        write_page()
    except MinigteError as error:
        raise SystemExit(f"mteb_table.py: {error}") from error
    say(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
