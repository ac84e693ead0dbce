"""The built site (make docs) stands on its own: it loads nothing from elsewhere, its links lead somewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from places import ROOT

SITE = ROOT / "docs" / "_build" / "html"
if not (SITE / "index.html").exists():
    pytest.skip("the site is not built: make docs", allow_module_level=True)

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What one page loads, links to and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids.add(attributes.get("id", ""))
        if LOADS.get(tag) in attributes:
            self.loads.append(attributes[LOADS[tag]])
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])


PAGES = {path: Page(path) for path in sorted(SITE.rglob("*.html"))}
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.path.name)


def missing(page: Page, target: str) -> bool:
    """Whether a link inside the site leads nowhere."""
    parts = urlsplit(target)
    path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if path.is_dir():
        path /= "index.html"
    if not path.is_file():
        return True
    return bool(parts.fragment) and path in PAGES and unquote(parts.fragment) not in PAGES[path].ids


@each_page
def test_it_loads_only_its_own_files(page: Page) -> None:
    assert [target for target in page.loads if urlsplit(target).netloc or missing(page, target)] == []


@each_page
def test_its_links_lead_somewhere(page: Page) -> None:
    inside = [target for target in page.links if not urlsplit(target).scheme and target != "#"]
    assert [target for target in inside if missing(page, target)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("[1-9]-*.md")), ids=lambda path: path.name)
def test_every_page_of_the_course_is_there_with_its_formulas(path: Path) -> None:
    page = PAGES[SITE / f"{path.stem}.html"]
    formulas = path.read_text(encoding="utf-8").count("$$") // 2
    assert page.tags.count("math") >= formulas
    assert str(path.stem) in "".join(PAGES[SITE / "index.html"].links)


def test_css_loads_nothing_from_elsewhere() -> None:
    for path in SITE.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "url(http" not in text, path
        assert "@import" not in text, path
