"""Make a version of what is in the repository: ``make release VERSION=0.2.0``, in two steps.

    tools/release.py prepare 0.2.0    the number in version.py and CITATION.cff, the date in CHANGELOG.md
    tools/release.py tag 0.2.0        commits those three files, and tags the commit

Between the two the target builds the sdist and the wheels, tests them and has their metadata checked, so that
nothing is tagged that does not work. Nothing is pushed or uploaded.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("minigte/version.py", "CITATION.cff", "CHANGELOG.md")
UNRELEASED = "## [Unreleased]\n"


def prepared(files: dict[str, str], version: str, day: str) -> dict[str, str]:
    """The three files as they are in this version. Once more, they stay as they are.

    Raises ValueError for a version that is not a later one, and where no change is listed.
    """
    new = dict(files)
    [old] = re.findall(r'__version__ = "(.+)"', files["minigte/version.py"])
    before, found, rest = files["CHANGELOG.md"].partition(UNRELEASED)
    changes = rest.partition("\n## ")[0].strip()
    if version == old and not changes and rest.lstrip().startswith(f"## [{version}] - "):
        return new
    if not re.fullmatch(r"\d+\.\d+\.\d+", version) or _key(version) <= _key(old):
        raise ValueError(f"{version} is not a version after {old}, as 0.2.0 is after 0.1.0")
    if not found or not changes:
        raise ValueError(f"CHANGELOG.md lists no changes under {UNRELEASED.strip()}")
    new["CHANGELOG.md"] = f"{before}{UNRELEASED}\n## [{version}] - {day}\n{rest}"
    new["minigte/version.py"] = files["minigte/version.py"].replace(f'"{old}"', f'"{version}"')
    citation = re.sub(r"(?m)^(date-released|version): .*\n", "", files["CITATION.cff"])
    new["CITATION.cff"] = citation.replace(
        "type: software\n", f"type: software\nversion: {version}\ndate-released: {day}\n"
    )
    return new


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def git(*words: str) -> str:
    """What git prints, run in the repository."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Prepare or tag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["prepare", "tag"])
    parser.add_argument("version")
    arguments = parser.parse_args()
    version: str = arguments.version

    changed = {line[3:] for line in git("status", "--porcelain").splitlines()}
    if changed - set(FILES):
        parser.exit(1, f"not committed: {', '.join(sorted(changed - set(FILES)))}\n")
    if f"v{version}" in git("tag", "--list").splitlines():
        parser.exit(1, f"there is a tag v{version}\n")
    if arguments.step == "tag":
        git("commit", "--quiet", "--message", f"Release {version}", "--", *FILES)
        git("tag", "--annotate", f"v{version}", "--message", f"minigte {version}")
        return
    files = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    try:
        new = prepared(files, version, datetime.date.today().isoformat())
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    for name, text in new.items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
