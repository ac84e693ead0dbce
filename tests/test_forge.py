"""The files that a forge reads: their make targets exist, and the version is this one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

import minigte

pytestmark = pytest.mark.files


@pytest.mark.parametrize(("name", "targets"), [("ci.yml", 6), ("nightly.yml", 4)])
def test_a_workflow_runs_targets_that_exist(name: str, targets: int) -> None:
    run = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    makefiles = [ROOT / "Makefile", ROOT / "bench" / "bench.mk"]
    known = {
        target
        for path in makefiles
        for target in re.findall(r"^([a-z-]+):(?!=)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    asked = re.findall(r"^ +- run: .*\bmake ([a-z-]+)", run, re.MULTILINE)
    assert len(asked) >= targets
    assert set(asked) - known == set()


def test_the_workflow_runs_all_that_continuous_integration_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    for command in re.findall(r"^make .+$", script, re.MULTILINE):
        assert command in workflow, command


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").iterdir()), ids=lambda path: path.name)
def test_a_lock_names_versions_alone(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line), (
            f"{line}: no address, no path, no option: make lock"
        )


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {minigte.__version__}\n" in citation
