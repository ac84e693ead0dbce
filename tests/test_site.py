"""The built site (make docs) stands on its own, its links lead somewhere, and it fits every screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
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
    loads = [target for target in page.loads if urlsplit(target).scheme != "data"]
    assert [target for target in loads if urlsplit(target).netloc or missing(page, target)] == []


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


PARTS = {
    "Guide": ["quick-start", "troubleshooting", "reference"],
    "Course": ["course", "1-from-text-to-ids", "9-threads", "gallery"],
    "Evidence": ["benchmark", "quality", "restricted"],
}


def test_the_navigation_has_three_parts() -> None:
    navigation = (SITE / "index.html").read_text(encoding="utf-8").partition('class="sidebar-tree"')[2]
    for caption, following in zip(PARTS, [*list(PARTS)[1:], "</div>"], strict=True):
        part = navigation.partition(f">{caption}<")[2].partition(f">{following}<")[0]
        for name in PARTS[caption]:
            assert f'href="{name}.html"' in part, (caption, name)


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A tab of a headless Chromium."""
    chromium = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="make docs installs playwright")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


WRITTEN = [
    path for path in PAGES if path.parent == SITE and path.name not in ("genindex.html", "search.html")
]


WIDTHS = [360, 390, 768, 1080, 1199, 1200, 1280, 1311, 1312, 1366, 1440, 1600, 1920]
CUT = """() => [...document.querySelectorAll("article pre")]
    .filter(pre => pre.scrollWidth > pre.clientWidth + 1).map(pre => pre.textContent.slice(0, 60))"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_it_fits_every_screen(tab: Any, path: Path) -> None:
    """No page scrolls sideways, and from 1,080 pixels on no line of code is cut off."""
    tab.goto(path.as_uri())
    found = {}
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 800})
        found[width] = (tab.evaluate(SIDEWAYS), tab.evaluate(CUT) if width >= 1080 else [])
    assert {width: seen for width, seen in found.items() if seen != (0, [])} == {}


@pytest.mark.skipif(
    not (SITE / "try" / "index.html").exists(), reason="no WebAssembly kernels: lld, make docs"
)
@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("[1-6]-*.md")), ids=lambda path: path.name)
def test_the_model_is_tried_in_the_course(tab: Any, path: Path) -> None:
    """It is loaded when it is opened, not before; from files too."""
    tab.goto((SITE / f"{path.stem}.html").as_uri())
    assert len(tab.frames) == 1 or not tab.frames[1].url.endswith("html")
    tab.get_by_text("Try it with your own sentence").click()
    frame = tab.frame_locator("details.try iframe")
    frame.locator("body[data-ready]").wait_for(state="attached", timeout=120_000)
    view = tab.locator("details.try iframe").get_attribute("src").partition("#")[2]
    assert frame.locator(f"#{view}").count() == 1


def test_search_works_from_files(tab: Any) -> None:
    tab.goto((SITE / "search.html").as_uri() + "?q=softmax")
    tab.wait_for_selector("#search-results li a")
    assert "3 Attention" in tab.inner_text("#search-results")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_systems_colours(tab: Any, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto((SITE / "index.html").as_uri())
    red, green, blue = tab.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    )
    assert (red + green + blue > 600) == (scheme == "light")
