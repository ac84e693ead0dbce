"""minigte inside the real mteb, on tasks that are fed from this machine: `make quality-test`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from places import ROOT
from servers import Hub

from minigte import Embedder, InputError
from minigte.loading.known_models import find_known
from minigte.vectors.pooling import normalize

mteb = pytest.importorskip("mteb", reason="mteb is not installed: make quality-test installs it")

from datasets import Dataset, DatasetDict  # noqa: E402
from mteb.models import EncoderProtocol  # noqa: E402
from mteb.types import PromptType  # noqa: E402
from pytrec_eval import RelevanceEvaluator  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from minigte.integrations.mteb import EmbedderWrapper  # noqa: E402

DATA = Path(os.environ.get("MINIGTE_MTEB_DATA", ROOT.parent / "shared" / "data" / "mteb"))

# mteb says of every older task that there is a newer one.
pytestmark = [pytest.mark.filterwarnings("ignore:The task .* is superseded"), pytest.mark.slow]

PAIRS = [
    (5.0, "the cat sat on the mat", "a cat sat on a mat"),
    (0.5, "the cat sat on the mat", "dogs run"),
    (3.0, "a dog", "the dogs"),
    (1.0, "running, running, running!", "passage 42"),
    (4.0, "query: the dog", "the dog"),
    (2.0, "mats", "the mat: 1.50"),
]


@pytest.fixture(scope="module")
def tool():
    """tools/mteb_table.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("mteb_table")


def pair_task():
    task = mteb.get_task("STSBenchmark", eval_splits=["test"])
    columns = dict(zip(("score", "sentence1", "sentence2"), zip(*PAIRS, strict=True), strict=True))
    task.dataset = DatasetDict(test=Dataset.from_dict(columns))
    task.data_loaded = True
    return task


def scores(model, task, **options):
    options = {"cache": None, "show_progress_bar": False, "co2_tracker": False, **options}
    return mteb.evaluate(model, task, **options).task_results[0].scores["test"][0]


def tiny_model(folder, **options):
    return tiny.write_sentence_transformers(tiny.write_model(folder, seed=5), **options)


def cosine_spearman(embedder, pairs):
    gold, first, second = zip(*pairs, strict=True)
    a, b = (embedder.encode(texts, truncation="ignore").astype(np.float64) for texts in (first, second))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return spearmanr(gold, cosines).statistic


@pytest.mark.parametrize("seed", range(3))
def test_mteb_scores_the_vectors_of_this_model(tmp_path, seed):
    folder = tiny.write_model(tmp_path, seed=seed)
    embedder = Embedder(folder)
    got = scores(EmbedderWrapper(embedder), pair_task())
    assert got["cosine_spearman"] == pytest.approx(cosine_spearman(embedder, PAIRS), abs=1e-6)
    assert got["main_score"] == got["cosine_spearman"]


def test_gte_small_on_stsbenchmark(embedder, tool):
    """The number of the model card, from mteb; and equal to the one computed without mteb."""
    if not (DATA / "STSBenchmark").is_dir():
        pytest.skip(f"STSBenchmark is not in {DATA} (MINIGTE_MTEB_DATA names another folder)")
    task, _ = tool.load_task("STSBenchmark", DATA)
    split = task.dataset["test"]
    pairs = list(zip(split["score"], split["sentence1"], split["sentence2"], strict=True))
    assert len(pairs) == 1379
    got = scores(EmbedderWrapper(embedder), task)
    assert got["main_score"] == pytest.approx(cosine_spearman(embedder, pairs), abs=1e-6)
    assert abs(100 * got["main_score"] - tool.PUBLISHED["thenlper/gte-small"]["STSBenchmark"]) < 0.05


def test_queries_and_documents_get_their_prompts(tmp_path, tool):
    """mteb's nDCG of a retrieval task is the one of the ranking by prompted vectors, computed here."""
    prompts = {"query": "query: ", "document": "the passage "}
    embedder = Embedder(tiny_model(tmp_path / "model", normalize=False, prompts=prompts))
    texts = [
        "cats",
        "a dog sat",
        "mat 1",
        "mat 2",
        "the dogs run",
        "é",
        "query",
        "sat on cats",
        "42",
        "mats run",
    ]
    documents = {f"d{i}": {"title": "a" * (i % 2), "text": text} for i, text in enumerate(texts)}
    queries = {"q0": "the cat", "q1": "a mat", "q2": "run, dog!"}
    relevant = {"q0": {"d0": 2, "d7": 1}, "q1": {"d2": 1, "d3": 1}, "q2": {"d4": 2, "d1": 1}}
    folder = tmp_path / "data" / "NFCorpus"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", {q: {"text": t} for q, t in queries.items()})):
        lines = (json.dumps({"_id": key, **row}) for key, row in rows.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    lines = (f"{q}\t{d}\t{grade}" for q, grades in relevant.items() for d, grade in grades.items())
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))

    def ndcg(query_prompt, document_prompt):
        read = [f"{row['title']} {row['text']}".strip() for row in documents.values()]
        similar = (
            normalize(embedder.encode(list(queries.values()), prompt=query_prompt))
            @ normalize(embedder.encode(read, prompt=document_prompt)).T
        )
        run = {
            query: {document: float(s) for document, s in zip(documents, row, strict=True)}
            for query, row in zip(queries, similar, strict=True)
        }
        found = RelevanceEvaluator(relevant, {"ndcg_cut.10"}).evaluate(run)
        return np.mean([of["ndcg_cut_10"] for of in found.values()])

    task, _ = tool.load_task("NFCorpus", tmp_path / "data")
    got = scores(EmbedderWrapper(embedder), task)["ndcg_at_10"]
    assert got == pytest.approx(ndcg("query: ", "the passage "), abs=1e-5)  # mteb rounds to five digits
    assert abs(got - ndcg("", "")) > 1e-3

    # a prompt of the task itself goes before those of its kind
    embedder = Embedder(embedder.source.folder, prompts={"NFCorpus-query": "dog dog "})
    task, _ = tool.load_task("NFCorpus", tmp_path / "data")
    assert scores(EmbedderWrapper(embedder), task)["ndcg_at_10"] == pytest.approx(
        ndcg("dog dog ", "the passage "), abs=1e-5
    )


def test_equal_texts_are_computed_once_and_come_back_in_order(tmp_path):
    embedder = Embedder(tiny.write_model(tmp_path))
    wrapper = EmbedderWrapper(embedder)
    batches = [{"text": ["a dog", "cats", "a dog"]}, {"text": ["mat", "cats"]}]
    where = {"task_metadata": pair_task().metadata, "hf_split": "test", "hf_subset": "default"}
    got = wrapper.encode(batches, prompt_type=PromptType.document, **where)
    np.testing.assert_array_equal(got, embedder.encode(["a dog", "cats", "a dog", "mat", "cats"]))
    assert wrapper.encode([], **where).shape == (0, 20)
    with pytest.raises(InputError, match="STSBenchmark has image: choose a text task"):
        wrapper.encode([{"image": [None]}], **where)


@pytest.fixture
def by_name(gte_small, tmp_path, monkeypatch):
    """minigte's cache, in which gte-small lies as npm brings it."""
    known = find_known("gte-small")
    link = tmp_path / f"npm--{known.name.replace('/', '--')}--{known.npm.version}"
    link.symlink_to(gte_small.resolve(), target_is_directory=True)
    monkeypatch.setenv("MINIGTE_CACHE", str(tmp_path))


@pytest.mark.usefixtures("by_name")
def test_the_metadata_are_facts():
    embedder = Embedder("gte-small", dtype="int8")
    meta = EmbedderWrapper(embedder).mteb_model_meta
    published = mteb.get_model_meta("thenlper/gte-small")
    for same in (
        *("name", "revision", "embed_dim", "max_tokens", "n_embedding_parameters", "similarity_fn_name"),
        *("license", "open_weights", "languages", "reference", "release_date", "citation"),
    ):
        assert getattr(meta, same) == getattr(published, same), same
    # the pooler and the position ids, which mteb counts, take no part in an embedding
    assert meta.n_parameters == published.n_parameters - 384 * 384 - 384 - 512
    assert meta.framework == ["NumPy"]
    assert meta.experiment_kwargs == {"dtype": "int8", "backend": embedder.backend_name}
    json.dumps(meta.to_dict())


@pytest.mark.usefixtures("by_name")
def test_mteb_loads_it_from_its_metadata():
    """``mteb_model_meta`` is a recipe: mteb makes the same model of it."""
    wrapper = EmbedderWrapper(Embedder("thenlper/gte-small", dtype="int8", max_seq_length=99))
    loaded = wrapper.mteb_model_meta.load_model(device="cpu")
    assert loaded.model.backend.dtype == "int8"
    assert loaded.model.max_seq_length == 99
    assert loaded.mteb_model_meta.experiment_name == wrapper.mteb_model_meta.experiment_name
    np.testing.assert_array_equal(loaded.model.encode("a"), wrapper.model.encode("a"))


def test_a_folder_is_named_by_what_is_in_it(tmp_path):
    one = EmbedderWrapper(str(tiny.write_model(tmp_path / "a" / "mine", seed=1))).mteb_model_meta
    two = EmbedderWrapper(str(tiny.write_model(tmp_path / "b" / "mine", seed=2))).mteb_model_meta
    again = EmbedderWrapper(str(tiny.write_model(tmp_path / "c" / "mine", seed=1))).mteb_model_meta
    assert one.name == two.name == "local/mine"
    assert one.revision == again.revision != two.revision
    pooled = tiny.write_sentence_transformers(
        tiny.write_model(tmp_path / "d" / "mine", seed=1), modes=("cls",)
    )
    assert EmbedderWrapper(str(pooled)).mteb_model_meta.revision != one.revision


@pytest.mark.filterwarnings("ignore::minigte.TruncationWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int8"},
        {"backend": "numpy"},
        {"truncate_dim": 7},
        {"max_seq_length": 9},
        {"prompts": {"STS": "a "}},
    ],
    ids=str,
)
def test_cached_scores_are_never_taken_for_those_of_another_setting(tmp_path, options):
    folder = tiny.write_model(tmp_path / "model", seed=1)
    cache = mteb.ResultCache(tmp_path / "cache")
    plain, other = (Embedder(folder, **given) for given in ({}, options))
    for embedder in (plain, other, plain):
        got = scores(EmbedderWrapper(embedder), pair_task(), cache=cache)
        alone = scores(EmbedderWrapper(embedder), pair_task())
        assert got["cosine_pearson"] == pytest.approx(
            alone["cosine_pearson"], abs=1e-6
        )  # six digits are kept
    assert len(list(tmp_path.glob("cache/results/local__model/*/experiments/*/STSBenchmark.json"))) == 2


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_the_models_own_similarity(tmp_path, name):
    folder = tiny_model(tmp_path, normalize=False, similarity_fn_name=name)
    wrapper = EmbedderWrapper(str(folder))
    assert isinstance(wrapper, EncoderProtocol)
    assert wrapper.mteb_model_meta.similarity_fn_name.value == name
    got = scores(wrapper, pair_task())
    gold, first, second = zip(*PAIRS, strict=True)
    pairwise = wrapper.similarity_pairwise(wrapper.model.encode(first), wrapper.model.encode(second))
    assert got["spearman"] == pytest.approx(spearmanr(gold, pairwise).statistic, abs=1e-6)


def test_what_it_refuses(tmp_path):
    folder = tiny.write_model(tmp_path)
    with pytest.raises(InputError, match="on the CPU, not on device 'cuda'"):
        EmbedderWrapper(str(folder), device="cuda")
    with pytest.raises(InputError, match="give them to the Embedder"):
        EmbedderWrapper(Embedder(folder), dtype="int8")


def write_local_data(data: Path) -> None:
    """A few texts of every kind of task, in the layout of tools/mteb_table.py."""
    for name in ("BIOSSES", "TwitterURLCorpus"):
        (data / name).mkdir(parents=True)
    (data / "BIOSSES" / "test.tsv").write_text("".join(f"{s}\t{a}\t{b}\n" for s, a, b in PAIRS))
    (data / "TwitterURLCorpus" / "test.tsv").write_text(
        "".join(f"{int(s > 2)}\t{a}\t{b}\n" for s, a, b in PAIRS)
    )
    for name, prefix in (("Banking77Classification", ""), ("AmazonCounterfactualClassification", "en.")):
        (data / name).mkdir()
        for split, words in (("train", ("cat", "dog")), ("test", ("cats", "dogs"))):
            rows = [{"text": f"{word} {n}", "label": word[:3]} for n in range(40) for word in words]
            (data / name / f"{prefix}{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "NFCorpus" / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{n}", "title": "", "text": f"the cat {n} sat on mat {n * n}"} for n in range(15)]
    queries = [{"_id": f"q{n}", "text": f"cat {n}"} for n in range(4)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (data / "NFCorpus" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(3))  # and not the fourth
    (data / "NFCorpus" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


# mteb calls sentence-transformers, and itself, by names that both have given up.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_table_is_measured_resumed_and_written(tmp_path, tool, monkeypatch, capsys):
    write_local_data(tmp_path / "data")
    folder = tiny_model(tmp_path / "model")
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tool, "PAGE", tmp_path / "quality.md")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PUBLISHED", {str(folder): {"BIOSSES": 50.0}})
    tool.PAGE.write_text(f"before\n\n{tool.BEGIN}\nold\n{tool.END}\nafter\n")
    command = ["--data", str(tmp_path / "data"), "--models", str(folder)]

    tool.main([*command, "--runs", "float32", "--tasks", "BIOSSES"])
    first = json.loads((tmp_path / "results" / "model.json").read_text())
    assert "1 of 1: BIOSSES" in (said := capsys.readouterr()).err
    assert said.out.startswith(f"BIOSSES  {folder}  float32  ")
    assert first["results"]["BIOSSES"]["float32"]["score"] == pytest.approx(
        100 * cosine_spearman(Embedder(folder), PAIRS), abs=1e-4
    )

    tool.main(command)  # all else; what is there stays
    results = json.loads((tmp_path / "results" / "model.json").read_text())["results"]
    assert "BIOSSES, " + str(folder) + ", float32: already measured" in capsys.readouterr().err
    assert results["BIOSSES"]["float32"] == first["results"]["BIOSSES"]["float32"]
    assert {name: set(runs) for name, runs in results.items()} == {
        name: {run for run, tasks in tool.RUNS.items() if tasks is None or name in tasks}
        for name in (
            "BIOSSES",
            "AmazonCounterfactualClassification",
            "Banking77Classification",
            "NFCorpus",
            "TwitterURLCorpus",
        )
    }
    embedder = Embedder(folder)
    texts = [f"the cat {n} sat on mat {n * n}" for n in range(15)]
    for query, found in results["NFCorpus"]["float32"]["first documents"].items():
        [hits] = embedder.semantic_search(f"cat {query[1:]}", texts, top_k=10)
        assert found.split() == [f"d{hit['corpus_id']}" for hit in hits]
    assert results["NFCorpus"]["float32"]["first documents"].keys() == {"q0", "q1", "q2"}
    for name in tool.CLASSIFICATION:  # the same draws and the same vectors
        ours, theirs = (
            results[name][run]["scores"]["scores_per_experiment"] for run in ("float32", "transformers")
        )
        assert len(ours) == 10
        assert [draw["accuracy"] for draw in ours] == [draw["accuracy"] for draw in theirs]

    page = tool.PAGE.read_text()
    assert page.startswith(f"before\n\n{tool.BEGIN}\n\n## ")
    assert page.endswith(f"\n\n{tool.END}\nafter\n")
    assert f"{results['BIOSSES']['int8']['score']:.3f}" in page

    (tmp_path / "data" / "BIOSSES" / "test.tsv").write_text("1\tcat\tdog\n2\tmat\tdog\n3\tcats\tcat\n")
    tool.main([*command, "--runs", "float32", "--tasks", "BIOSSES"])  # other texts are measured anew
    assert "already" not in capsys.readouterr().err

    monkeypatch.setattr(tool, "arithmetic_of", lambda embedder: "another")
    tool.main([*command, "--runs", "float32", "--tasks", "BIOSSES"])  # so is what is computed in another way
    assert "already" not in capsys.readouterr().err


def test_the_arithmetic_of_a_dtype_is_its_own(tmp_path, tool):
    folder = tiny_model(tmp_path / "model")
    seen = [tool.arithmetic_of(Embedder(folder, dtype=dtype)) for dtype in ("float32", "bfloat16", "int8")]
    assert len(set(seen)) == 3
    assert tool.arithmetic_of(Embedder(folder, dtype="int8", threads=1)) == seen[2]


class DatasetHub(Hub):
    """The Hub's other kind of repository; its addresses only say so in one more word."""

    def reply(self, path):
        return super().reply(path.replace("/api/datasets/", "/api/models/").replace("/datasets/", "/", 1))


def download_and_measure(tmp_path, endpoint):
    """`mteb_table.py --download` on BIOSSES, in a process that takes ``endpoint`` for the Hub."""
    (tmp_path / "quality.md").write_text("")
    code = f"""if True:
        import sys; sys.path.insert(0, {str(ROOT / "tools")!r})
        import mteb_table as tool
        tool.ROOT = tool.Path({str(tmp_path)!r})
        tool.RESULTS, tool.PAGE = tool.ROOT / "results", tool.ROOT / "quality.md"
        tool.main("--download --tasks BIOSSES --runs float32 --models {tmp_path / "model"}".split())
    """
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)


def test_the_table_from_mtebs_own_downloads(tmp_path):
    embedder = Embedder(tiny_model(tmp_path / "model"))
    repository = tmp_path / "repository"
    repository.mkdir()
    keys = ("score", "sentence1", "sentence2")
    rows = (json.dumps(dict(zip(keys, pair, strict=True))) for pair in PAIRS)
    (repository / "test.jsonl").write_text("\n".join(rows))
    dataset = mteb.get_task("BIOSSES").metadata.dataset
    with DatasetHub(dataset["path"], repository, dataset["revision"]).running() as hub:
        process = download_and_measure(tmp_path, hub.url)
    assert process.returncode == 0, process.stderr
    measured = json.loads((tmp_path / "results" / "model.json").read_text())["results"]["BIOSSES"]["float32"]
    assert measured["score"] == pytest.approx(100 * cosine_spearman(embedder, PAIRS), abs=1e-4)
    assert measured["of"]["texts"] == f"{dataset['path']} at {dataset['revision']}"


def test_a_download_that_fails_is_named(tmp_path):
    tiny_model(tmp_path / "model")
    process = download_and_measure(tmp_path, "http://127.0.0.1:9")  # nobody listens there
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("mteb_table.py: mteb could not download BIOSSES (")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BIOSSES/test.tsv", "1\tcat", r"test.tsv: line 1 has 2 columns, not 3"),
        ("BIOSSES/test.tsv", None, r"there is no file .*test.tsv: see --help for what .*BIOSSES holds"),
        ("Banking77Classification/train.jsonl", "{", r"train.jsonl is not JSON lines"),
        ("ArguAna/test.tsv", None, r"there is no file .*qrels/test.tsv: see --help"),
        ("TwentyNewsgroupsClustering/test.tsv", "", "is a Clustering task, which --data has no layout for"),
        ("NoTask/test.tsv", "", "mteb has no task 'NoTask'"),
    ],
)
def test_bad_data_is_named(tmp_path, tool, name, text, message):
    path = tmp_path / name
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)
    command = ["--data", str(tmp_path), "--tasks", path.parent.name, "--models", str(tmp_path)]
    with pytest.raises(SystemExit, match=message):
        tool.main(command)


@pytest.mark.usefixtures("by_name")
def test_the_example_of_the_page_runs(monkeypatch):
    """Word for word, but that the task has its texts already."""
    example = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8").partition("```python\n")[2]
    tasks = {"STSBenchmark": pair_task()}
    monkeypatch.setattr(mteb, "get_task", tasks.__getitem__)
    monkeypatch.setattr(mteb.evaluate, "__kwdefaults__", {**mteb.evaluate.__kwdefaults__, "cache": None})
    names = {}
    exec(example.partition("```")[0], names)
    assert names["results"].task_results[0].get_score() > 0
