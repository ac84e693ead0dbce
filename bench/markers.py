"""The parts of pages that scripts write."""

from __future__ import annotations

from pathlib import Path


def write_between_markers(page: Path, begin: str, end: str, *sections: str) -> None:
    """Replace what stands between a page's two markers."""
    before, marker, rest = page.read_text(encoding="utf-8").partition(begin)
    if not marker:
        raise SystemExit(f"{page} has no line {begin}")
    after = rest.partition(end)[2]
    parts = [f"{before}{begin}", *(section.strip() for section in sections), f"{end}{after}"]
    page.write_text("\n\n".join(parts), encoding="utf-8")
