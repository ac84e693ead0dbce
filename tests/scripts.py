"""Scripts of bench/ and tools/, run in short, and real English texts in the layout of MTEB's folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from places import ROOT

SENTENCES, DOCUMENTS, QUERIES = 220, 24, 60
DOCUMENT_WORDS = 500  # more than 512 tokens


def run(script: str, *arguments: str, short: str = "", **variables: str) -> str:
    """The script's main function, after the lines ``short`` that make less of its work; what it prints."""
    folder, name = script.split("/")
    code = (
        f"import pathlib, sys; sys.path[:0] = [{str(ROOT / folder)!r}]; sys.argv = {[name, *arguments]!r}\n"
        f"import {name}\n{short}\n{name}.main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **variables}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def write_texts(data: Path) -> Path:
    """STSBenchmark and NFCorpus in small, made of the course's own words; returns ``data``."""
    course = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("[0-9]-*.md")))
    words = re.findall(r"[A-Za-z]+", course)
    (data / "STSBenchmark").mkdir(parents=True)
    (data / "NFCorpus" / "qrels").mkdir(parents=True)
    pieces = [" ".join(words[9 * i : 9 * i + 4 + i % 9]) for i in range(2 * SENTENCES + QUERIES)]
    pairs = zip(pieces[:SENTENCES], pieces[SENTENCES : 2 * SENTENCES], strict=True)
    (data / "STSBenchmark" / "test.tsv").write_text(
        "".join(f"{i % 6}\t{a}\t{b}\n" for i, (a, b) in enumerate(pairs))
    )
    bodies = [" ".join(words[100 * i : 100 * i + DOCUMENT_WORDS]) for i in range(DOCUMENTS)]
    documents = [{"_id": f"d{i}", "title": pieces[i], "text": body} for i, body in enumerate(bodies)]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(pieces[2 * SENTENCES :])]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (data / "NFCorpus" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    judged = "".join(f"q{i}\td{i % DOCUMENTS}\t1\n" for i in range(QUERIES))
    (data / "NFCorpus" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return data
