"""Half a core and little memory, by control group."""

import json

import numpy as np
import pytest
from places import ROOT

DOCUMENTS = 3633
PAGES = 60


@pytest.fixture
def nfcorpus(tmp_path):
    corpus = ROOT.parent / "shared" / "data" / "mteb" / "NFCorpus" / "corpus.jsonl"
    if not corpus.exists():
        pytest.skip("NFCorpus is not here: ../shared/data/mteb/NFCorpus/corpus.jsonl")
    with corpus.open() as lines, (tmp_path / "nfcorpus.jsonl").open("w") as out:
        for document in map(json.loads, lines):
            out.write(
                json.dumps({"id": document["_id"], "text": f"{document['title']} {document['text']}"}) + "\n"
            )


def half_a_core(place, tmp_path, what, name, count):
    """Embed the texts of $TMP/``name`` within half a core and 512 MB."""
    done = place(
        f"half a core and 512 MB: int8 embeds {what}",
        "python tests/restricted/cgroup.py --cores 0.5 --memory 512M minigte embed --model $MODEL "
        f"--dtype int8 --truncation ignore --input $TMP/{name} --output $TMP/vectors.npy && "
        "python -c 'import numpy, sys; print(numpy.load(sys.argv[1]).shape)' $TMP/vectors.npy",
    )
    assert done.returncode == 0, done.stderr
    vectors = np.load(tmp_path / "vectors.npy")
    assert vectors.shape == (count, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_half_a_core_pages(place, tmp_path):
    """Texts that are here everywhere: the course, in pieces of 512 tokens and more."""
    course = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    pieces = [course[start : start + 3000] for start in range(0, len(course) - 3000, 500)][:PAGES]
    with (tmp_path / "pages.jsonl").open("w") as out:
        out.writelines(json.dumps(piece) + "\n" for piece in pieces)
    half_a_core(place, tmp_path, f"{PAGES} texts of 512 tokens", "pages.jsonl", PAGES)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_half_a_core_nfcorpus(place, nfcorpus, tmp_path):
    half_a_core(place, tmp_path, "NFCorpus, 3,633 documents", "nfcorpus.jsonl", DOCUMENTS)


@pytest.mark.parametrize(("dtype", "memory"), [("float32", "128M"), ("int8", "96M")])
def test_too_little_memory(place, tmp_path, dtype, memory):
    (tmp_path / "vectors.npy").write_bytes(b"what stood here before")
    done = place(
        f"{memory}B, too little for {dtype} packed in memory: a clear MemoryError, no kill",
        f"MINIGTE_CACHE=/dev/null python tests/restricted/cgroup.py --memory {memory} "
        f"minigte embed --model $MODEL --dtype {dtype} --output $TMP/vectors.npy hello",
    )
    assert done.returncode == 1
    assert f" in {dtype} needs about " in done.stderr
    assert f"but its control group allows this process {memory[:-1]} MB: allow it more" in done.stderr
    assert (tmp_path / "vectors.npy").read_bytes() == b"what stood here before"
    assert list(tmp_path.glob(".vectors*")) == []


def test_mapped_weights_need_no_memory(place):
    done = place(
        "160 MB, float32: the weights are mapped from a file",
        "cp -rL $MODEL $TMP/model && minigte pack $TMP/model --output $TMP/model/float32.packed && "
        "python tests/restricted/cgroup.py --memory 160M "
        "python tests/restricted/first_vector.py $TMP/model float32",
    )
    assert done.returncode == 0, done.stderr
    assert "0.8669 (" in done.stdout


def test_too_little_memory_to_compile(place):
    done = place(
        "200 MB, int8, and no kernels compiled before",
        "cp -r minigte $TMP/minigte && find $TMP/minigte -name '*.kernel' -delete && PYTHONPATH=$TMP "
        "python tests/restricted/cgroup.py --memory 200M .venv-dev/bin/minigte embed --model $MODEL "
        "--dtype int8 --backend jit hello",
    )
    assert done.returncode == 1
    assert "compiling the kernels needs about " in done.stderr
    assert "run 'minigte warmup' where there is more" in done.stderr


def test_address_space(place):
    done = place(
        "ulimit -v, 260 MB of addresses",
        "MINIGTE_CACHE=/dev/null prlimit --as=272629760 minigte embed --model $MODEL --dtype int8 hello",
    )
    assert done.returncode == 1
    assert "but its limit of address space allows this process 260 MB: allow it more" in done.stderr
