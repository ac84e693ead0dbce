"""docs/quality.md shows what was measured, and what was measured is within the bounds."""

from __future__ import annotations

import importlib
import math

import pytest
from places import ROOT

pytestmark = pytest.mark.files

BOUNDS = {"float32": 0.05, "bfloat16": 0.05, "int8": 0.3}  # points of a hundred


@pytest.fixture(scope="module")
def tool():
    """tools/mteb_table.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("mteb_table")


def test_the_page_shows_the_raw_scores(tool):
    page = tool.PAGE.read_text(encoding="utf-8")
    _, _, generated = page.partition(tool.BEGIN)
    sections = [tool.section(model, tool.read_results(model)) for model in tool.PUBLISHED]
    assert generated.partition(tool.END)[0].strip() == "\n\n".join(sections)


@pytest.mark.parametrize("run", BOUNDS)
def test_gte_small_has_the_scores_of_its_card(tool, run):
    results = tool.read_results("thenlper/gte-small")
    published = tool.PUBLISHED["thenlper/gte-small"]
    differences = {
        name: tool.score(name, runs[run]) - published[name]
        for name, runs in results.items()
        if name not in tool.CLASSIFICATION
    }
    assert {name: by for name, by in differences.items() if abs(by) > BOUNDS[run]} == {}


def test_classification_is_that_of_transformers(tool):
    for model in tool.PUBLISHED:
        for name, runs in tool.read_results(model).items():
            if "transformers" in runs:
                assert abs(runs["float32"]["score"] - runs["transformers"]["score"]) <= 0.05, name


def test_classification_is_within_chance_of_what_was_published(tool):
    for model, compared in tool.CLASSIFIED.items():
        published = tool.PUBLISHED[model]
        for name in tool.CLASSIFICATION:
            measured = tool.read_results(model).get(name, {}).get(compared)
            if measured is not None:
                chance = math.sqrt(2) * tool.standard_error(measured)  # both are means of ten draws
                assert abs(measured["score"] - published[name]) <= 2 * chance, (model, name)


def test_twitter_before_the_norm_is_the_cards_euclid(tool):
    """85.080: what the page says of vectors before the norm."""
    scores = tool.read_results("thenlper/gte-small")["TwitterURLCorpus"]["no norm"]["scores"]
    assert round(100 * scores["euclidean_ap"], 3) == 85.080
    assert scores["max_ap"] == scores["euclidean_ap"]


def test_agreement_counts_what_both_find(tool):
    one = {"a": "1 2 3 4", "b": "5 6 7 8"}
    assert tool.agreement(one, one) == (1, 1)
    assert tool.agreement(one, {"a": "4 3 2 9", "b": "5 6 8 7"}) == ((3 / 4 + 1) / 2, 1 / 2)


@pytest.mark.parametrize(("run", "overlap", "first"), [("bfloat16", 0.985, 0.97), ("int8", 0.95, 0.9)])
def test_fewer_bits_find_the_same_documents(tool, run, overlap, first):
    runs = tool.read_results("thenlper/gte-small")["NFCorpus"]
    found = {name: runs[name]["first documents"] for name in ("float32", run)}
    assert len(found[run]) == 323  # all queries that are judged
    assert {len(set(ids.split())) for ids in found[run].values()} == {tool.FIRST}
    measured = tool.agreement(found["float32"], found[run])
    assert measured[0] >= overlap
    assert measured[1] >= first
