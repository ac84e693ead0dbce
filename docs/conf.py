"""Sphinx's settings. ``make docs`` builds the site, which needs no network to be read."""

from pathlib import Path

import ziamath
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

project = "minigte"
author = "the minigte maintainers"
html_title = "minigte"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]
html_theme = "furo"
# Few systems have a font with the measures that formulas need, so the site brings the one of this package.
html_static_path = ["_static", str(Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf")]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_extra_path = ["_build/pages"]  # tools/gallery.py writes the pages that the gallery's pictures lead to

# What `make docs` puts there where the WebAssembly kernels are, and the view of it for a page of the course.
TRY = Path(__file__).parent / "_build" / "pages" / "try" / "index.html"
VIEWS = {
    "1-from-text-to-ids": "inside-title",
    "2-embeddings": "inside-title",
    "3-attention": "heads-title",
    "4-feed-forward-and-gelu": "neurons-title",
    "5-residuals-and-layernorm": "stream-title",
    "6-pooling-and-similarity": "pair-title",
}
TRIED = """<details class="try"><summary>Try it with your own sentence</summary>
<p>The model itself, in this page: {size:.0f} MB, and nothing you type leaves it.
<a href="try/index.html#{view}">Open it on its own</a></p>
<iframe src="try/index.html#{view}" loading="lazy" title="The model in this page"></iframe></details>"""


def mathml(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    """A formula as MathML, which browsers draw themselves: no script, no fonts to fetch."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        getLogger(__name__).warning("formula: %s", error, location=node)
        return ""


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula inside a line."""
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def link_gallery(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """In the gallery, let each picture lead to the page that it is of."""
    for image in list(doctree.findall(nodes.image)) if name == "gallery" else []:
        page = Path(image["uri"]).stem.removeprefix("gallery-")
        image.replace_self(nodes.reference("", "", image.deepcopy(), refuri=f"gallery/{page}.html"))


def let_try(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """In the pages of the course that the model can be tried beside, put it in front of the exercises."""
    if name in VIEWS and TRY.exists():
        code = TRIED.format(view=VIEWS[name], size=TRY.stat().st_size / 1e6)
        for section in doctree.findall(nodes.section):
            if "exercises" in section["ids"]:
                section.parent.insert(section.parent.index(section), nodes.raw("", code, format="html"))
                return


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, the gallery's pictures as links, and the model into the course."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("doctree-resolved", link_gallery)
    app.connect("doctree-resolved", let_try)


html_math_renderer = "mathml"
