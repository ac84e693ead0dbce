"""Every script of bench/ and tools/ is run by a test: the table of which, and the short runs that stand here.

Those that need transformers are in tests/parity/test_scripts.py.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
from places import ROOT
from scripts import run, write_texts

from minigte.backend import choose_backend, jit_missing

BENCH = ROOT / "bench"
needs_numba = pytest.mark.skipif(jit_missing() is not None, reason=f"Numba: {jit_missing()}")
SHORT_OPS = "import ops; ops.ROUNDS, ops.SECONDS = 1, 1e-4"

# A script: the file whose test, or target of continuous integration, runs it, and the words that do.
RUN_BY = {
    "bench/bits.py": ("tests/test_scripts.py", '"bits": "bits.'),
    "bench/browser.py": ("tests/page/test_bench_browser.py", "browser.measure("),
    "bench/clusters.py": ("tests/integrations/test_clusters.py", 'run("bench/clusters"'),
    "bench/convert.py": ("bench/run.py", "convert.ensure("),  # which is run in short
    "bench/course.py": ("tests/test_scripts.py", 'run("bench/course"'),
    "bench/export.py": ("tests/parity/test_scripts.py", 'run("bench/export"'),
    "bench/first.py": ("bench/start.py", '"bench" / "first.py"'),
    "bench/imports.py": ("tests/test_scripts.py", 'run("bench/imports"'),
    "bench/kernels.py": ("tests/test_scripts.py", 'run("bench/kernels"'),
    "bench/longrun.py": ("tests/test_scripts.py", 'run("bench/longrun"'),
    "bench/ops.py": ("tests/test_scripts.py", 'run("bench/ops"'),
    "bench/report.py": ("tests/test_scripts.py", 'run("bench/report"'),
    "bench/run.py": ("tests/parity/test_scripts.py", 'run("bench/run"'),
    "bench/rungs.py": ("tests/test_scripts.py", '"rungs": f"'),
    "bench/search.py": ("tests/test_scripts.py", 'run("bench/search"'),
    "bench/serve/measure.py": ("tests/server/test_load.py", '"bench" / "serve" / "measure.py"'),
    "bench/serve/plain.py": ("tests/parity/test_scripts.py", '"bench" / "serve" / "plain.py"'),
    "bench/serve/report.py": ("tests/server/test_load.py", "report.main()"),
    "bench/stragglers.py": ("tests/integrations/test_clusters.py", 'run("bench/stragglers"'),
    "bench/start.py": ("tests/test_scripts.py", 'run("bench/start"'),
    "bench/threads.py": ("tests/test_scripts.py", '"threads": "threads.'),
    "bench/worker.py": ("bench/run.py", '"bench" / "worker.py"'),
    "tools/describe.py": ("tests/test_docs.py", "describe.described("),
    "tools/fetch_mpnet.py": ("Makefile", "python tools/fetch_mpnet.py"),  # 438 MB, by `make mpnet`
    "tools/fit_polynomials.py": ("tests/test_scripts.py", 'run("tools/fit_polynomials"'),
    "tools/gallery.py": ("Makefile", ".venv-dev/bin/python tools/gallery.py"),  # by `make docs`
    "tools/list_messages.py": ("tests/test_messages.py", "listed.tool.messages("),
    "tools/make_golden.py": ("tests/parity/test_scripts.py", 'run("tools/make_golden"'),
    "tools/make_unicode.py": ("tests/page/test_web_page.py", 'run("tools/make_unicode"'),
    "tools/mteb_table.py": ("tests/integrations/test_mteb.py", "tool.main("),
    "tools/page_screenshots.py": ("tests/page/test_browser.py", "page_screenshots.take("),
    "tools/quote.py": ("tests/test_docs.py", "quote.quoted("),
    "tools/release.py": ("tests/test_release.py", "release.prepared("),
    "tools/run_examples.py": ("tests/test_examples.py", '"run_examples").run('),
    "tools/run_notebooks.py": ("tests/test_notebooks.py", "run_notebooks.execute("),
    "tools/screenshots.py": ("tests/explain/test_explain_page.py", 'run("tools/screenshots"'),
    "tools/soak.py": ("tests/test_scripts.py", 'run("tools/soak"'),
    "tools/try_large_model.py": ("tests/test_large_model.py", "script.write_model("),
}


@pytest.mark.files
def test_every_script_is_run() -> None:
    """A script that nothing runs rots: a new one needs a short run, and a row."""
    scripts = {
        path.relative_to(ROOT).as_posix()
        for folder in (BENCH, ROOT / "tools")
        for path in folder.rglob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert scripts == set(RUN_BY)
    for script, (file, words) in RUN_BY.items():
        before, _, rest = (ROOT / file).read_text(encoding="utf-8").partition("RUN_BY = {")
        assert words in before + rest.partition("\n}\n")[2], script  # the table itself runs nothing


@pytest.mark.files
def test_no_two_modules_share_a_name() -> None:
    """Tests import scripts and each other by name alone, so the first of two on the path would be both."""
    folders = [ROOT / "tests", *(ROOT / "tests").iterdir()]
    folders += [BENCH, ROOT / "tools", ROOT / "examples", *(ROOT / "examples").iterdir()]
    modules = [file for folder in folders for file in folder.glob("*.py") if not file.match("test_*")]
    names = Counter(module.stem for module in modules if module.name != "conftest.py")
    assert not [name for name, count in names.items() if count > 1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@needs_numba
def test_the_kernels_are_verified_and_measured(tmp_path: Path) -> None:
    file = tmp_path / "ops.json"
    assert "linear float32" in run("bench/ops", "--json", str(file), short=SHORT_OPS)
    cases = json.loads(file.read_text())["cases"]
    assert all(rate > 0 for case in cases for rate in (*case["rounds"], *case["together"]))


@pytest.mark.slow
@needs_numba
def test_kernels_that_became_slower_are_named() -> None:
    """As if linear layers had been a thousand times as fast before, and the rest just as fast as now."""
    short = f"""
{SHORT_OPS}
measure, before = ops.measure, {{}}
def remembered(cases):
    measured = measure(cases)
    for name, rounds in measured.items():
        before[name] = kernels.median(rounds) * (1000 if name.startswith("linear") else 1)
    return measured
ops.measure = remembered
kernels.report.kept_ops = lambda: ("a day", "a processor", before)
"""
    last = run("bench/kernels", short=short).splitlines()[-1]
    named = last.partition(": linear ")[2].split(", linear ")
    assert len(named) == 24
    assert {"float32 (252, 384) -> 384", "int8 (10, 1536) -> 384"} < set(named)


@needs_numba
def test_the_polynomials_are_those_of_the_engine() -> None:
    from minigte.engine import activations

    lines = run("tools/fit_polynomials").splitlines()
    for line, letter, count in ((lines[1], "G", 15), (lines[3], "E", 6)):
        fitted = [float(coefficient) for coefficient in line.split(",")]
        kept = [getattr(activations, f"{letter}{i}") for i in range(count)]
        np.testing.assert_allclose(fitted, kept, rtol=0, atol=2e-7)


@pytest.mark.slow
@needs_numba
def test_the_courses_figures_are_measured_and_shown(gte_small: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    results = tmp_path / "results"
    shorter = {
        "rungs": f"{SHORT_OPS}; rungs.ROWS = 24",
        "bits": "bits.DOCUMENTS, bits.SAMPLE, bits.LOWEST = 2, 200, 1",
        "threads": "threads.ROUNDS = 1; threads.SENTENCES, threads.DOCUMENTS, threads.SINGLES = 8, 1, 1; "
        "threads.BARRIERS = threads.REGIONS = 20; threads.TEAMS = 5",
    }
    for name, short in shorter.items():
        file = results / name / "2026-01-01.json"
        texts = [] if name == "rungs" else ["--data", str(data), "--model", str(gte_small)]
        run(f"bench/{name}", *texts, "--json", str(file), short=short)
        assert json.loads(file.read_text())["machine"]["cores"] >= 1
    for path in (BENCH / "results").glob("*.json"):  # page 8 shows some of the benchmark's
        shutil.copy(path, results)
    run("bench/course", short=f"course.RESULTS = pathlib.Path({str(results)!r})")
    made = {path.relative_to(results) for path in results.rglob("*") if path.suffix in (".md", ".png")}
    kept = {
        path.relative_to(BENCH / "results")
        for name in shorter
        for path in (BENCH / "results" / name).iterdir()
        if path.suffix in (".md", ".png")
    }
    assert made == kept


@pytest.mark.files
def test_the_pages_show_the_figures_that_are_kept(tmp_path: Path) -> None:
    """What course.py and report.py make of the raw figures is what stands in the repository."""
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    bench = tmp_path / "bench"
    shutil.copytree(BENCH / "results", bench / "results", ignore=shutil.ignore_patterns("*.md", "*.png"))
    for page in ("README.md", "bench/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        between = re.compile(r"(<!-- (results|models): .*? -->).*?(<!-- end of \2 -->)", re.DOTALL)
        (tmp_path / page).write_text(between.sub(r"\1\3", text), encoding="utf-8")
    run("bench/course", short=f"course.RESULTS = pathlib.Path({str(bench / 'results')!r})")
    run("bench/report", short=f"report.HERE = pathlib.Path({str(bench)!r})")
    for path in (tmp_path / "README.md", *bench.rglob("*.md")):
        kept = ROOT / path.relative_to(tmp_path)
        assert path.read_text(encoding="utf-8") == kept.read_text(encoding="utf-8"), kept


@pytest.mark.slow
@pytest.mark.skipif(choose_backend("auto", "float32") == "numpy", reason="there are no kernels")
def test_starts_are_measured_and_shown(gte_small: Path, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for path in (page, page.with_name("readme.md")):
        path.write_text("before\n<!-- start: written by bench/start.py -->\n<!-- end of start -->\nafter\n")
    short = f"""
folder = pathlib.Path({str(tmp_path)!r})
start.RESULTS = folder / "results"
start.PAGES = {{folder / "page.md": start.section, folder / "readme.md": start.summary}}
start.COLD = start.WARM = 1
start.DOCUMENTS = 2
start.equal_bits = lambda *_: {{"int8": None}}  # compiling takes a minute
"""
    options = ["--model", str(gte_small), "--data", str(data), "--onnx", str(gte_small / "config.json")]
    run("bench/start", *options, "--only", "minigte int8", short=short)
    [file] = (tmp_path / "results").iterdir()
    peer = json.loads(file.read_text())["peers"]["minigte int8"]
    assert abs(peer["norm"] - 1) < 1e-5
    assert 0 < peer["private"] < peer["peak"]
    assert "| **minigte int8** |" in page.read_text()
    assert page.read_text().endswith("<!-- end of start -->\nafter\n")
    assert "| minigte int8 | **" in page.with_name("readme.md").read_text()  # of one, the best


@pytest.mark.slow
def test_a_long_run_is_watched_and_shown(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    page = tmp_path / "restricted.md"
    shutil.copy(ROOT / "docs" / "restricted.md", page)
    model = tiny.write_model(tmp_path / "model")
    short = f"""
folder = pathlib.Path({str(tmp_path)!r})
longrun.RESULTS, longrun.PICTURE = folder / "results", folder / "runs.png"
longrun.PAGE = folder / "restricted.md"
longrun.INTERVAL = 0.01
"""
    options = ["--model", str(model), "--data", str(data), "--work", str(tmp_path / "work")]
    run("bench/longrun", *options, "--texts", "20000", "--documents", "3000", short=short)
    [file] = (tmp_path / "results").iterdir()
    results = json.loads(file.read_text())["results"]
    assert [results[name]["count"] for name in ("texts", "documents")] == [20000, 3000]
    assert "20,000 short texts" in page.read_text(encoding="utf-8")
    assert (tmp_path / "runs.png").stat().st_size > 1000


@pytest.mark.files
@pytest.mark.parametrize("name", ["search", "clusters", "stragglers", "imports"])
def test_a_table_is_that_of_the_newest_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "stragglers":
        pytest.importorskip("distributed", reason="dask.distributed is missing: make test-clusters")
    monkeypatch.syspath_prepend(str(BENCH))
    script = importlib.import_module(name)
    newest = max(script.RESULTS.glob("*.json"), default=None)
    waiting = f"Not measured yet: `make bench-{name}` writes this table.\n"
    table = script.table(json.loads(newest.read_text())) if newest else waiting
    assert (script.RESULTS / "table.md").read_text(encoding="utf-8") == table


@pytest.mark.slow
def test_a_search_among_stored_vectors_is_measured(gte_small: Path, data: Path, tmp_path: Path) -> None:
    short = f"search.RESULTS, search.ROUNDS = pathlib.Path({str(tmp_path)!r}), 2; search.COMMANDS = 1"
    options = ["--model", str(gte_small), "--data", str(data), "--rows", "3000", "--texts", "300"]
    run("bench/search", *options, "--queries", "5", short=short)
    [file] = tmp_path.glob("*.json")
    ways = json.loads(file.read_text())["ways"]
    assert ways["float32, exact"]["recall"] == 1
    assert ways["int8 first, float32 decides"]["recall"] > 0.95
    assert ways["ubinary first, float32 decides"]["recall"] > 0.5
    assert "| 3,000 vectors |" in (tmp_path / "table.md").read_text()


def test_what_imports_cost_is_measured(tmp_path: Path) -> None:
    short = f"imports.RESULTS, imports.ROUNDS = pathlib.Path({str(tmp_path)!r}), 1\n"
    short += "imports.PROGRAMS = {'SQLite': imports.PROGRAMS['SQLite']}"
    run("bench/imports", short=short)
    [file] = tmp_path.glob("*.json")
    [alone], [both] = json.loads(file.read_text())["seconds"]["SQLite"].values()
    assert min(alone, both) > 0
    assert "| SQLite |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_threads_and_workers_are_soaked(tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "model")
    short = "soak.THREADS, soak.WORKERS, soak.TEXTS, soak.WORKER_SECONDS = 3, 1, 20, 0.5"
    printed = run("tools/soak", "--model", str(model), "--minutes", "0.05", short=short)
    assert "all equal bit for bit" in printed
    assert not re.search(r"\b0 (calls|vectors|forks)", printed)
