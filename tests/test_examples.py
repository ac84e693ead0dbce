"""The scripts of examples/ print what examples/outputs and docs/examples.md show."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"
OUTPUTS = sorted((EXAMPLES / "outputs").glob("*.txt"))

pytestmark = pytest.mark.usefixtures("model_by_name")


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS, ids=lambda path: path.stem)
def test_a_script_prints_what_is_kept(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (EXAMPLES / f"{output.stem}.py").read_text(encoding="utf-8")
    for package in re.findall(r"^(?:import|from) (sklearn|bm25s)", script, re.MULTILINE):
        pytest.importorskip(package, reason="pip install 'minigte[examples]'")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    kept = output.read_text(encoding="utf-8")
    assert f"$ python examples/{output.stem}.py " in kept
    assert importlib.import_module("run_examples").run(kept) == kept, "make examples"


@pytest.mark.files
def test_each_script_is_shown_with_its_output() -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    scripts = {path.stem for path in EXAMPLES.glob("*.py")} - {"demo", "python_texts"}
    assert scripts == {path.stem for path in OUTPUTS}
    for name in scripts:
        assert f"<!-- quote examples/{name}.py -->" in page
        assert f"<!-- quote examples/outputs/{name}.txt -->" in page
        assert f"({name}.py)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.files
def test_the_search_fits_in_thirty_lines() -> None:
    assert len((EXAMPLES / "search_notes.py").read_text(encoding="utf-8").splitlines()) <= 30
