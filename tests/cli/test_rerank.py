"""``minigte rerank``: what ``CrossEncoder.rank`` gives, printed."""

import json
import os
import subprocess
import sys

import pytest
import tiny

from minigte import CrossEncoder
from minigte.cli.rerank import rerank
from minigte.runtime import progress

pytestmark = pytest.mark.slow

TEXTS = ["the cat sat", "a dog", "the mat, the mat", "run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_cross_encoder(tmp_path_factory.mktemp("reranker"))


@pytest.fixture
def run(folder, tmp_path):
    def run(*args, stdin=""):
        environment = {**os.environ, "MINIGTE_RERANKER": str(folder)}
        command = [sys.executable, "-m", "minigte", "rerank", *args, "--backend", "numpy"]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    return run


def test_the_order_is_that_of_rank(run, folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    ranked = CrossEncoder(folder, backend="numpy").rank("a cat", TEXTS, return_documents=True)
    process = run("a cat", "texts.txt")
    assert process.stderr == ""
    assert process.stdout.splitlines() == [
        f"{hit['score']:.4f}\t{hit['corpus_id']}\t{hit['text']}" for hit in ranked
    ]
    process = run("a cat", "-", "--top-k", "2", "--json", stdin="\n".join(TEXTS))
    assert [json.loads(line) for line in process.stdout.splitlines()] == [
        {"id": hit["corpus_id"], "score": hit["score"], "text": hit["text"]} for hit in ranked[:2]
    ]


def test_ids_and_columns(run, tmp_path):
    lines = [json.dumps({"key": f"t{i}", "body": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    process = run("cat", "texts.jsonl", "--column", "body", "--id-column", "key", "-k", "1", "--json")
    answer = json.loads(process.stdout)
    assert TEXTS[int(answer["id"][1])] == answer["text"]


def test_one_warning_for_all_texts(run, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(["cat " * 60] * 3000 + ["dog"]))
    process = run("cat", "texts.txt")
    assert len(process.stdout.splitlines()) == 3001
    assert process.stderr == (
        "minigte: warning: 3000 of 3001 pairs have more than 32 tokens and were cut there\n"
    )
    assert run("cat", "texts.txt", "-k", "2").stderr == process.stderr


def test_one_bar_for_all_texts(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    monkeypatch.setattr(progress, "PROGRESS_DELAY", 0)
    (tmp_path / "texts.txt").write_text("cat\n" * 2100)
    args = ["cat", str(tmp_path / "texts.txt"), "--model", str(folder), "--backend", "numpy", "-k", "1"]
    rerank.main(args, standalone_mode=False)
    *drawn, end = capsys.readouterr().err.removesuffix("\n").split("\r")
    assert "\n" not in "".join(drawn)
    assert "2100text" in end


def test_a_model_of_several_labels(run, tmp_path):
    (tmp_path / "texts.txt").write_text("cat\n")
    tiny.write_cross_encoder(tmp_path / "three", num_labels=3)
    process = run("cat", "texts.txt", "--model", "three")
    assert (process.returncode, process.stdout) == (1, "")
    [line] = process.stderr.splitlines()
    assert "three gives a pair 3 scores (LABEL_0, LABEL_1, LABEL_2)" in line
    assert line.endswith("another model with --model, or get all scores from /predict of minigte serve")


def test_what_is_refused(run, tmp_path):
    process = run("cat", "missing.txt")
    assert process.returncode == 1
    assert "missing.txt" in process.stderr
    (tmp_path / "texts.txt").write_text("cat\n")
    tiny.write_model(tmp_path / "embedding")
    process = run("cat", "texts.txt", "--model", "embedding")
    assert process.returncode == 1
    assert "use Embedder" in process.stderr
    assert process.stdout == ""
    process = run("cat", "texts.txt", "--max-length", "2")
    assert process.returncode == 1
    assert "error: max_length 2 is too short" in process.stderr
