"""The measurement beside transformers.js, in short and without it: its packages are 475 MB."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from places import ROOT
from test_browser import CHROMIUM

pytestmark = [pytest.mark.page, pytest.mark.usefixtures("web_kernels")]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_is_measured(
    gte_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not here: make test-page")
    pytest.importorskip("packaging", reason="packaging is not here")
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    import browser

    monkeypatch.setattr(browser, "LOAD", {browser.OURS: browser.LOAD[browser.OURS]})
    monkeypatch.setattr(browser, "ROUNDS", 1)
    monkeypatch.setattr(browser, "TIMES", 1)
    package = tmp_path / "@huggingface" / "transformers" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "none"}')
    nothing = tmp_path / "absent.onnx"
    run = browser.measure(gte_small, nothing, nothing, tmp_path, CHROMIUM)
    for dtype, cosine in (("int8", 0.999), ("float32", 0.99999)):
        [found] = run["runs"][dtype][browser.OURS]
        assert found["cosine"] > cosine
        assert 40e6 < found["fetched"] < 100e6
        assert 0 < found["code"] < 1e6
        assert found["first"] > 0
    assert "| **minigte int8** |" in browser.table(json.loads(json.dumps(run)))
