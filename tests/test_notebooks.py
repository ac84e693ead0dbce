"""The notebooks of examples/: every cell runs, and the outputs that are kept are those of the code.

Executing them needs `make notebooks-check`, which installs Jupyter; the other tests run everywhere.
"""

import base64
import importlib
import io
import json
import platform
import re

import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"
NOTEBOOKS = {path.stem: path for path in sorted(EXAMPLES.glob("*.ipynb"))}

# Their corpus comes with Python, and is another one in another release: then they must run, no more.
READS_PYTHON = {"3-attention-heads", "4-semantic-search", "5-quantisation"}
VARIES = {"timing", "layout", "processor"}  # tags of cells whose outputs differ between machines

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?|(?<![\w.])\.\d+")
THUMBNAIL = (48, 48)


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def joined(text):
    return text if isinstance(text, str) else "".join(text)


def texts_of(cell):
    """What a cell printed, and the text of its other outputs that are not pictures."""
    found = [joined(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"]
    data = [output.get("data", {}) for output in cell["outputs"]]
    return "\n".join(found + [joined(d["text/plain"]) for d in data if d and "image/png" not in d])


def pictures_of(cell):
    return [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})]


def unit(number):
    """One in the last digit shown: 0.01 for "3.14", 1 for "1,000", 1e-05 for "2e-05"."""
    mantissa, _, exponent = number.replace(",", "").partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def same_text(kept, fresh):
    """Equal words, and numbers that differ by one in their last digit at most.

    Processors add in different orders, so a number may be rounded the other way; it may not change.
    """
    if "".join(NUMBER.split(kept)).split() != "".join(NUMBER.split(fresh)).split():
        return False
    numbers = [NUMBER.findall(text) for text in (kept, fresh)]
    return all(
        abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= 1.01 * max(unit(a), unit(b))
        for a, b in zip(*numbers, strict=True)
    )


def same_picture(kept, fresh):
    """Whether two PNGs show the same at the size of a stamp, so that another version's fonts do not count."""
    numpy, image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    stamps = []
    for png in (kept, fresh):
        with image.open(io.BytesIO(base64.b64decode(png))) as picture:
            stamps.append(numpy.asarray(picture.convert("RGB").resize(THUMBNAIL), float))
    return abs(stamps[0] - stamps[1]).mean() < 4  # of 255


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_kept(name):
    notebook = load(NOTEBOOKS[name])
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert joined(notebook["cells"][0]["source"]).startswith("# ")
    assert "## Things to try" in joined(notebook["cells"][-1]["source"])
    assert NOTEBOOKS[name].stat().st_size < 600_000
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert "stderr" not in {output.get("name") for output in outputs}
    for cell in code_cells(notebook):
        assert cell["execution_count"] is None
        assert cell["metadata"].keys() <= {"tags"}
        assert not re.search(r"(?<!\w)/(home|root|tmp|usr|work|opt)\b", texts_of(cell))
    assert any(pictures_of(cell) for cell in code_cells(notebook))


def test_the_list_is_complete():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in NOTEBOOKS:
        assert f"]({name}.ipynb)" in listed
        assert f"](pictures/{name}.png)" in listed
        cells = code_cells(load(NOTEBOOKS[name]))
        [png] = [png for c in cells if "picture" in c["metadata"].get("tags", []) for png in pictures_of(c)]
        assert base64.b64decode(png) == (EXAMPLES / "pictures" / f"{name}.png").read_bytes()


def test_the_comparison_sees_a_change():
    assert same_text("score 0.48  [CLS]", "score   0.49 [CLS]")
    assert same_text("3 heads, 1,000 tokens, 2e-05", "3 heads, 1,001 tokens, 3e-05")
    assert not same_text("score 0.48", "score 0.50")
    assert not same_text("length: 1", "length: -1")
    assert not same_text("gzip.open", "bz2.open")
    assert not same_text("2 of 3", "2 of 3\n1 of 3")


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_execution(name, gte_small, prepared, monkeypatch):
    pytest.importorskip("nbclient", reason="make notebooks-check runs the notebooks: Jupyter is not here")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setenv("MINIGTE_MODEL", str(gte_small.resolve()))
    run_notebooks = importlib.import_module("run_notebooks")
    run_notebooks.warm_up()
    kept, fresh = load(NOTEBOOKS[name]), run_notebooks.execute(NOTEBOOKS[name])
    version = kept["metadata"]["language_info"]["version"]
    if name in READS_PYTHON and platform.python_version() != version:
        pytest.skip(f"all cells ran; the outputs kept are those of the texts in Python {version}")
    for old, new in zip(code_cells(kept), code_cells(fresh), strict=True):
        assert joined(old["source"]) == joined(new["source"])
        assert "stderr" not in {output.get("name") for output in new["outputs"]}
        pictures = pictures_of(old), pictures_of(new)
        assert len(pictures[0]) == len(pictures[1])
        if VARIES.isdisjoint(old["metadata"].get("tags", [])):
            assert same_text(texts_of(old), texts_of(new)), f"kept:\n{texts_of(old)}\nnow:\n{texts_of(new)}"
            assert all(map(same_picture, *pictures)), joined(old["source"])
