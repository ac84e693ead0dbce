"""``minigte rerank``: what ``CrossEncoder.rank`` gives, printed."""

import json
import os
import subprocess
import sys

import pytest
import tiny

from minigte import CrossEncoder

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
