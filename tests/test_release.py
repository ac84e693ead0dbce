"""A release dates the changelog, and gives one number to all files that have it."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import pytest
from places import ROOT

import minigte

DAY = "2027-01-31"


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("release")


@pytest.fixture
def files(release) -> dict[str, str]:  # type: ignore[no-untyped-def]
    kept = {name: (ROOT / name).read_text(encoding="utf-8") for name in release.FILES}
    kept["CHANGELOG.md"] = kept["CHANGELOG.md"].replace(
        release.UNRELEASED, release.UNRELEASED + "\n- A change.\n", 1
    )
    return kept


def test_all_files_have_the_number_and_the_day(release, files) -> None:  # type: ignore[no-untyped-def]
    new = release.prepared(files, "99.0.0", DAY)
    assert '\n__version__ = "99.0.0"\n' in new["minigte/version.py"]
    assert f"\nversion: 99.0.0\ndate-released: {DAY}\n" in new["CITATION.cff"]
    assert minigte.__version__ not in new["CITATION.cff"]
    assert f"## [Unreleased]\n\n## [99.0.0] - {DAY}\n\n- A change.\n" in new["CHANGELOG.md"]
    assert release.prepared(new, "99.0.0", "another day") == new
    [*_, later] = [release.prepared(files | new, "99.0.0", DAY)[name] for name in release.FILES]
    assert later.count("99.0.0") == 1


@pytest.mark.parametrize("version", ["0.0.9", "0.1.0", minigte.__version__, "99.0", "v99.0.0", "99.0.0rc1"])
def test_what_is_no_later_version_is_refused(version: str, release, files) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=f"{version} is not a version after"):
        release.prepared(files, version, DAY)


def test_no_changes_are_no_release(release, files) -> None:  # type: ignore[no-untyped-def]
    files["CHANGELOG.md"] = "# Changelog\n\n## [Unreleased]\n\n## [0.0.1] - 2026-01-01\n\n- A change.\n"
    with pytest.raises(ValueError, match=r"CHANGELOG\.md lists no changes"):
        release.prepared(files, "99.0.0", DAY)


def test_a_repository_is_prepared_and_tagged(
    release,  # type: ignore[no-untyped-def]
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "All")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "git", git)
    for step in ("prepare", "prepare", "tag"):
        monkeypatch.setattr("sys.argv", ["release.py", step, "99.0.0"])
        release.main()
    assert git("status", "--porcelain") == ""
    assert git("describe").strip() == "v99.0.0"
    assert '"99.0.0"' in git("show", "v99.0.0:minigte/version.py")
    (tmp_path / "other").touch()
    with pytest.raises(SystemExit):
        release.main()
