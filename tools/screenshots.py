"""Take the pictures of docs/explain.md and docs/gallery.md: views of the page of `minigte explain`.

`make screenshots` runs it. Needs Chromium, playwright, matplotlib and gte-small (MINIGTE_MODEL, or by name).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from gallery import write
from playwright.sync_api import Page, sync_playwright

from minigte import Embedder
from minigte.explain.files import write_png
from minigte.explain.page import page

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
TEXTS = ("what is the capital of China?", "Beijing is the capital city of China.")
LAYER, HEAD = 3, 7  # in gte-small it gathers from the next token
TOKENS = {"capital": 1, "bank": 2, "film": 1, "keys": 6, "pieces": 2}  # of the gallery: which one is chosen
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def take(tab: Page, scheme: str) -> None:
    """One picture of each section."""
    for name, heading, view in (
        ("tokens", "Tokens", "matrix"),
        ("attention", "Attention", "matrix"),
        ("arcs", "Attention", "arcs"),
        ("stream", "The residual stream: who wrote what", "matrix"),
        ("neurons", "The feed-forward: which neurons answer", "matrix"),
        ("way", "The vector's way through the layers", "matrix"),
        ("similarity", "Similarity", "matrix"),
    ):
        tab.get_by_role("radio", name=view).check()
        tab.get_by_role("option").nth(4).click()  # "capital"
        tab.wait_for_selector(f"body[data-shown='0 {LAYER} {HEAD} 4']")
        section = tab.locator("section").filter(has=tab.get_by_role("heading", name=heading, exact=True))
        path = IMAGES / f"explain-{name}-{scheme}.png"
        section.screenshot(path=path, animations="disabled")
        print(path.relative_to(IMAGES.parent.parent), path.stat().st_size, "bytes")


def take_gallery(tab: Page, folder: Path) -> None:
    """One picture of each page of the gallery: the attention, or for "film" the parts of the score."""
    for name, path in write(folder).items():
        tab.goto(path.as_uri())
        tab.get_by_role("option").nth(TOKENS[name]).click()
        heading = "Similarity" if name == "film" else "Attention"
        section = tab.locator("section").filter(has=tab.get_by_role("heading", name=heading, exact=True))
        target = IMAGES / f"gallery-{name}.png"
        box = section.bounding_box()
        assert box is not None
        clip = {**box, "height": min(box["height"], 760)}  # the film's tables go on for long
        tab.screenshot(path=target, clip=clip, full_page=True, animations="disabled")
        print(target.relative_to(IMAGES.parent.parent), target.stat().st_size, "bytes")


def main() -> None:
    """Write all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshots: error: no chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    embedder = Embedder(os.environ.get("MINIGTE_MODEL", "thenlper/gte-small"), backend="numpy")
    explained = embedder.explain_similarity(*TEXTS)
    with (IMAGES / "explain-plot.png").open("wb") as file:
        write_png(explained.a, file, layer=LAYER, head=HEAD)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(page(explained, layer=LAYER, head=HEAD), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            tab = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme=scheme)
            tab.goto(path.as_uri())
            take(tab, scheme)
        take_gallery(browser.new_page(viewport={"width": 1000, "height": 900}), Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
