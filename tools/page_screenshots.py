"""Take the pictures of docs/page.md: the page of `minigte page` with gte-small, light, dark and on a phone.

`make screenshots` runs it. Needs Chromium, playwright, gte-small (MINIGTE_MODEL, or by name) and the
WebAssembly kernels.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from minigte.loading.sources import find_model
from minigte.page.site import one_file, site

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
STILL = ".typing { position: static !important; }"  # or it would stand in front of what is taken
LAYER, HEAD = 11, 0
WIDE, PHONE = ViewportSize(width=1000, height=900), ViewportSize(width=390, height=844)


def take(browser: Browser, model: str, folder: Path) -> None:
    """One picture of each section; ``folder`` is for the page."""
    path = folder / "gte-small.html"
    path.write_bytes(b"".join(one_file(site(find_model(model), "int8"))))
    for name, size in (("light", WIDE), ("dark", WIDE), ("phone", PHONE)):
        scheme: Literal["dark", "light"] = "dark" if name == "dark" else "light"
        tab = browser.new_page(viewport=size, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
        tab.goto(path.as_uri())
        tab.wait_for_selector("body[data-ready]", state="attached", timeout=120_000)
        tab.locator("#sample").click()
        tab.wait_for_selector("#search-note:has-text('read in')")
        tab.locator("#query").fill("when do we leave?")
        tab.wait_for_selector("#hits li")
        tab.get_by_role("radio", name="capital").click()
        tab.get_by_role("gridcell", name=f"layer {LAYER}, head {HEAD}", exact=True).click()
        tab.get_by_role("button", name="12 layers").click()
        tab.wait_for_timeout(1000)  # until it has scrolled there
        for section in ("way", "inside", "heads", "stream", "neurons", "pair", "compare", "search"):
            target = IMAGES / f"page-{section}-{name}.png"
            tab.locator(f"section[aria-labelledby={section}-title]").screenshot(
                path=target, animations="disabled", style=STILL
            )
            print(target.relative_to(IMAGES.parent.parent), target.stat().st_size, "bytes")
        tab.close()


def main() -> None:
    """Write all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("page_screenshots: error: no chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        take(browser, os.environ.get("MINIGTE_MODEL", "thenlper/gte-small"), Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
