"""minigte explain's page in a real headless Chromium: what it shows is what the trace holds.

`make test-page` installs what these tests need; elsewhere the tests of the browser are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from places import ROOT
from scripts import run

from minigte import Embedder
from minigte.explain import SimilarityTrace, Trace
from minigte.explain.page import page

TEXT = "the cat sat on the mat"
OTHER = "a dog, the dog"
EVIL = (
    "</script><script>alert(1)</script><!--<script> {{data}} \u2028 & <img src=x onerror=alert(2)> \\u003c 中"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(sys.prefix) / "axe.min.js"
FLAGS = (
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(tiny.write_model(tmp_path_factory.mktemp("model")), backend="numpy")


@pytest.fixture(scope="module")
def pair(embedder: Embedder) -> SimilarityTrace:
    return embedder.explain_similarity(TEXT, OTHER)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not here: make test-page")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Opened:
    """One page in the browser, and everything it complained of or asked the network for."""

    def __init__(self, browser: Any, content: str, folder: Path, **options: Any) -> None:
        path = folder / "page.html"
        path.write_text(content, encoding="utf-8")
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.shown(0, 0, 0, 0)

    def shown(self, text: int, layer: int, head: int, token: int) -> None:
        """Wait until the page shows this."""
        self.page.wait_for_selector(f"body[data-shown='{text} {layer} {head} {token}']")

    def table(self, name: str) -> list[list[str]]:
        """The cells of a table's body, or of what stands in its rows."""
        return self.page.eval_on_selector_all(
            f"#{name} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").text_content()


@pytest.fixture
def opened(browser: Any, pair: SimilarityTrace, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(browser, page(pair), tmp_path)
    yield opened
    assert opened.complaints == []
    assert len(opened.requests) == 1, "the page itself and nothing else"
    assert opened.requests[0].startswith("file:")
    opened.page.close()


def assert_row_shown(opened: Opened, trace: Trace, layer: int, head: int, token: int) -> None:
    """The table of the chosen token holds the trace's probabilities, largest first."""
    rows = opened.table("row")
    probs = trace.attentions[layer, head, token]
    assert sorted(int(row[1]) for row in rows) == list(range(len(trace.tokens)))
    for word, place, shown in rows:
        assert word == trace.tokens[int(place)]
        assert abs(float(shown) - probs[int(place)]) <= 0.5e-4 + 1e-9
    values = [float(row[2]) for row in rows]
    assert values == sorted(values, reverse=True)
    caption = opened.page.locator("#row caption").text_content()
    assert caption == f"Layer {layer}, head {head}: {trace.tokens[token]} ({token})"


# Without a browser


def data_of(content: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', content, re.DOTALL)
    return json.loads(found)


def test_a_text_cannot_break_out_of_the_page(embedder: Embedder) -> None:
    content = page(embedder.explain(EVIL, truncation="ignore"))
    assert len(re.findall("<script", content)) == 2
    assert (
        "alert(1)"
        not in re.sub(r'<script type="application/json".*?</script>', "", content).partition("<body>")[2]
    )
    assert "\u2028" not in content.partition("<body>")[2]
    assert data_of(content)["texts"][0]["text"] == EVIL


def test_the_page_names_no_address_on_the_network(pair: SimilarityTrace) -> None:
    content = page(pair)
    assert set(re.findall(r"https?://[^\s\"']+", content)) == {
        "http://www.w3.org/2000/svg",  # names of XML's vocabularies, which nobody fetches
        "http://www.w3.org/1999/xhtml",
    }
    assert "default-src 'none'" in content


# In the browser


def test_tokens_and_ids(opened: Opened, pair: SimilarityTrace) -> None:
    shown = opened.page.get_by_role("option").all_inner_texts()
    want = [f"{token}\n{i}" for token, i in zip(pair.a.tokens, pair.a.input_ids, strict=True)]
    assert shown == want
    assert opened.text("text") == TEXT
    assert not opened.page.locator("#cut").is_visible()


@pytest.mark.parametrize("view", ["matrix", "arcs"])
def test_every_row_of_every_head_equals_the_trace(opened: Opened, pair: SimilarityTrace, view: str) -> None:
    opened.page.get_by_role("radio", name=view).check()
    layers, heads, tokens, _ = pair.a.attentions.shape
    for layer in range(layers):
        opened.page.get_by_role("slider", name="Layer").fill(str(layer))
        for head in range(heads):
            opened.page.get_by_role("slider", name="Head").fill(str(head))
            for token in (0, tokens // 2, tokens - 1):
                opened.page.get_by_role("option").nth(token).click()
                opened.shown(0, layer, head, token)
                assert_row_shown(opened, pair.a, layer, head, token)


def test_cells_of_the_matrix_by_mouse_and_keys(opened: Opened, pair: SimilarityTrace) -> None:
    matrix = opened.page.locator("#matrix")
    probs, tokens = pair.a.attentions[0, 0], pair.a.tokens
    matrix.focus()
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("ArrowRight")
    opened.shown(0, 0, 0, 2)
    assert opened.text("matrix-readout") == f"{tokens[2]} (2) gathers {probs[2, 1]:.4f} from {tokens[1]} (1)"
    opened.page.keyboard.press("End")
    opened.page.keyboard.press("PageDown")
    last = len(tokens) - 1
    opened.shown(0, 0, 0, last)
    assert f"gathers {probs[last, last]:.4f} from" in opened.text("matrix-readout")
    opened.page.keyboard.press("ArrowDown")  # there is no further
    assert f"gathers {probs[last, last]:.4f} from" in opened.text("matrix-readout")

    box = matrix.bounding_box()
    cell = 36  # of so short a text
    left, top = box["width"] - 2 - cell * len(tokens), box["height"] - 2 - cell * len(tokens)
    for i, j in ((0, 0), (3, 5), (last, 0)):
        place = {"x": left + (j + 0.5) * cell, "y": top + (i + 0.5) * cell}
        matrix.hover(position=place)
        want = f"{tokens[i]} ({i}) gathers {probs[i, j]:.4f} from {tokens[j]} ({j})"
        assert opened.text("matrix-readout") == want
        matrix.click(position=place)
        opened.shown(0, 0, 0, i)
        assert_row_shown(opened, pair.a, 0, 0, i)


def test_the_colour_follows_the_probability(opened: Opened, pair: SimilarityTrace) -> None:
    """Where the probability is larger the cell is darker, for every two cells that differ visibly."""
    probs = pair.a.attentions[0, 0]
    n, cell = len(probs), 36
    pixels = opened.page.evaluate(
        """([n, cell]) => { const canvas = document.getElementById("matrix"), width = canvas.width;
        const pixels = canvas.getContext("2d").getImageData(0, 0, width, canvas.height).data;
        const red = pixels.filter((_, i) => i % 4 === 0);
        const left = width - 2 - cell * n, top = canvas.height - 2 - cell * n;
        return [...Array(n * n).keys()].map((k) => red[left + (k % n + 0.5) * cell
          + width * (top + (Math.floor(k / n) + 0.5) * cell)]); }""",
        [n, cell],
    )
    want = 247 + np.sqrt(probs.reshape(-1)) * (8 - 247)
    np.testing.assert_allclose(pixels, want, atol=2)


def test_arcs(opened: Opened, pair: SimilarityTrace) -> None:
    opened.page.get_by_role("radio", name="arcs").check()
    probs = pair.a.attentions[0, 0]
    chosen = opened.page.locator("#arcs path.chosen")
    assert chosen.count() == (np.round(probs[0], 4) >= 0.005).sum()
    assert (
        opened.page.locator("#arcs path").count() == chosen.count() + (np.round(probs[1:], 4) >= 0.05).sum()
    )
    opened.page.locator("#arcs [data-token='3']").click()
    opened.shown(0, 0, 0, 3)
    titles = opened.page.locator("#arcs path.chosen title").all_text_contents()
    tokens = pair.a.tokens
    assert titles == [
        f"{tokens[3]} (3) gathers {p:.4f} from {tokens[j]} ({j})"
        for j, p in enumerate(probs[3])
        if round(float(p), 4) >= 0.005
    ]


def test_keys_alone_reach_everything(opened: Opened, pair: SimilarityTrace) -> None:
    """Tab goes through the controls in their order; arrows change them."""
    order = []
    for _ in range(20):
        opened.page.keyboard.press("Tab")
        order.append(
            opened.page.evaluate(
                "document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.name"
            )
        )
    wanted = ["text", "tokens", "layer", "head", "view", "matrix", "stream", "pairs"]
    assert [name for name in order if name in wanted] == wanted
    opened.page.locator("#tokens").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.shown(0, 0, 0, 1)
    opened.page.keyboard.press("End")
    opened.shown(0, 0, 0, len(pair.a.tokens) - 1)
    opened.page.get_by_role("slider", name="Layer").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.shown(0, 1, 0, len(pair.a.tokens) - 1)
    opened.page.get_by_role("slider", name="Head").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.shown(0, 1, 1, len(pair.a.tokens) - 1)
    assert_row_shown(opened, pair.a, 1, 1, len(pair.a.tokens) - 1)


def test_the_residual_stream(opened: Opened, pair: SimilarityTrace) -> None:
    trace = pair.a
    opened.page.get_by_role("option").nth(3).click()
    opened.shown(0, 0, 0, 3)
    writers = [
        "embeddings",
        "attention 0",
        "feed-forward 0",
        "attention 1",
        "feed-forward 1",
        "biases of norms",
    ]
    lengths = [np.linalg.norm(trace.hidden_states[0, 3]), *np.linalg.norm(trace.added[:, 3], axis=-1)]
    opened.page.locator("#stream").focus()
    for state, key in ((2, "PageUp"), (1, "ArrowLeft")):
        opened.page.keyboard.press(key)
        opened.page.wait_for_selector(f"#stream-table caption:has-text('after layer {state - 1}')")
        rows = opened.table("stream-table")
        assert sorted(row[0] for row in rows) == sorted([*writers[: 1 + 2 * state], writers[-1]])
        for name, length, share in rows:
            k = writers.index(name)
            wanted = 100 * trace.written[state, k, 3]
            assert abs(float(share.replace("−", "-").removesuffix("\u00a0%")) - wanted) <= 0.06
            assert length == "–" or abs(float(length) - lengths[k]) <= 0.0051
    assert opened.text("stream-readout").startswith(
        f"embeddings: {rows[[r[0] for r in rows].index('embeddings')][2]}"
    )
    assert trace.stage("encoder.layer.0.output.dense").source in opened.text("stream-lines")


def test_the_neurons_that_answer_most(opened: Opened, pair: SimilarityTrace) -> None:
    for layer, token in ((0, 2), (1, 5)):
        opened.page.get_by_role("slider", name="Layer").fill(str(layer))
        opened.page.get_by_role("option").nth(token).click()
        opened.shown(0, layer, 0, token)
        answers = pair.a.layers[layer].intermediate.intermediate_act_fn[token]
        order = np.argsort(-np.abs(answers))[:12]
        listed = opened.page.locator("#neurons small").all_text_contents()
        assert listed == [f"neuron {n}" for n in order]
        shown = [float(x.replace("−", "-")) for x in opened.page.locator("#neurons span").all_text_contents()]
        np.testing.assert_allclose(shown, answers[order], atol=0.6e-4, rtol=0)
        assert f"; {(answers > 0.5).sum()} answer above 0.5" in opened.text("neurons-count")
    assert pair.a.stage("encoder.layer.0.intermediate.intermediate_act_fn").source in opened.text(
        "neurons-lines"
    )


def test_the_way_through_the_layers(opened: Opened, pair: SimilarityTrace) -> None:
    opened.page.get_by_role("option").nth(2).click()
    opened.shown(0, 0, 0, 2)
    rows = opened.table("way")
    states = pair.a.hidden_states.astype(float)
    assert [row[0] for row in rows] == ["embeddings", "layer 0", "layer 1"]
    for state, (_, *shown) in zip(states, rows, strict=True):
        mean, last = state.mean(axis=0), states[-1].mean(axis=0)
        token, end = state[2], states[-1][2]
        want = [
            np.linalg.norm(mean),
            mean @ last / np.linalg.norm(mean) / np.linalg.norm(last),
            np.linalg.norm(token),
            token @ end / np.linalg.norm(token) / np.linalg.norm(end),
        ]
        np.testing.assert_allclose([float(x) for x in shown], want, atol=0.6e-4, rtol=0)


def test_similarity(opened: Opened, pair: SimilarityTrace) -> None:
    assert f"{pair.score:.4f}" in opened.text("score")
    rows = opened.table("top")
    assert len(rows) == min(20, pair.pairs.size)
    for (a, b, shown), (_, _, part) in zip(rows, pair.top_pairs(20), strict=True):
        assert abs(float(shown) - part) <= 0.5e-6 + 1e-12
        places = [int(re.search(r"\((\d+)\)$", cell)[1]) for cell in (a, b)]
        assert abs(pair.pairs[tuple(places)] - part) <= 1e-6  # equal ones may change places
        assert (a, b) == tuple(
            f"{text.tokens[i]} ({i})" for text, i in zip((pair.a, pair.b), places, strict=True)
        )
    for k, axis in ((0, 1), (1, 0)):
        shown = [float(row[2]) for row in opened.table(f"shares-{k}")]
        np.testing.assert_allclose(shown, pair.pairs.sum(axis=axis), atol=0.6e-6, rtol=0)
        assert abs(sum(shown) - pair.score) <= 1e-5
    growth = [float(row[1]) for row in opened.table("growth")]
    np.testing.assert_allclose(growth, pair.by_layer, atol=0.6e-4, rtol=0)
    opened.page.locator("#pairs").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        opened.page.keyboard.press(key)
    want = f"{pair.a.tokens[1]} (1) with {pair.b.tokens[2]} (2): {pair.pairs[1, 2]:.6f}"
    assert opened.text("pairs-readout") == want


def test_the_second_text(opened: Opened, pair: SimilarityTrace) -> None:
    opened.page.get_by_role("radio", name="second").check()
    opened.shown(1, 0, 0, 0)
    assert opened.text("text") == OTHER
    assert opened.page.get_by_role("option").count() == len(pair.b.tokens)
    assert_row_shown(opened, pair.b, 0, 0, 0)


def test_one_text_has_no_similarity(browser: Any, embedder: Embedder, tmp_path: Path) -> None:
    opened = Opened(browser, page(embedder.explain(TEXT)), tmp_path)
    assert opened.page.get_by_role("heading", name="Similarity").count() == 0
    assert opened.page.get_by_role("radio", name="second").count() == 0
    assert opened.complaints == []


def test_a_hostile_text_is_shown_and_does_nothing(browser: Any, embedder: Embedder, tmp_path: Path) -> None:
    opened = Opened(browser, page(embedder.explain(EVIL, truncation="ignore")), tmp_path)
    assert opened.text("text") == EVIL
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_it_opens_at_the_layer_and_head_asked_for(browser: Any, embedder: Embedder, tmp_path: Path) -> None:
    content = page(embedder.explain(TEXT), layer=1, head=3)
    (tmp_path / "page.html").write_text(content, encoding="utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_selector("body[data-shown='0 1 3 0']")


def luminance(colour: str) -> float:
    """The relative luminance of "rgb(r, g, b)", by WCAG 2."""
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser: Any, pair: SimilarityTrace, tmp_path: Path, scheme: str) -> None:
    opened = Opened(browser, page(pair), tmp_path, color_scheme=scheme)
    for selector in ("body", ".faint", "h2", "#tokens-help", "#row caption"):
        text, back = opened.page.evaluate(
            """s => [getComputedStyle(document.querySelector(s)).color,
            getComputedStyle(document.body).backgroundColor]""",
            selector,
        )
        lighter, darker = sorted((luminance(text), luminance(back)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, selector
        assert (luminance(back) > 0.5) == (scheme == "light")
    assert opened.complaints == []


def test_a_change_of_scheme_draws_the_matrix_anew(opened: Opened) -> None:
    drawn = "document.getElementById('matrix').toDataURL()"
    light = opened.page.evaluate(drawn)
    opened.page.emulate_media(color_scheme="dark")
    opened.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    dark = opened.page.evaluate(drawn)
    assert dark != light


def test_paper_is_white(browser: Any, pair: SimilarityTrace, tmp_path: Path) -> None:
    opened = Opened(browser, page(pair), tmp_path, color_scheme="dark")
    drawn = """[getComputedStyle(document.body).backgroundColor,
      ...["matrix", "stream", "pairs"].map((id) => document.getElementById(id).toDataURL())]"""
    dark = opened.page.evaluate(drawn)
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = opened.page.evaluate(drawn)
    assert printed[0] == "rgb(255, 255, 255)"
    assert all(a != b for a, b in zip(dark, printed, strict=True))
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate(drawn) == dark
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["matrix", "arcs"])
def test_axe_finds_nothing(
    browser: Any, pair: SimilarityTrace, tmp_path: Path, scheme: str, view: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here: make test-page fetches it with npm")
    opened = Opened(browser, page(pair), tmp_path, color_scheme=scheme)
    opened.page.get_by_role("radio", name=view).check()
    opened.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = opened.page.evaluate("axe.run()")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]] == []


def test_names_and_roles(opened: Opened) -> None:
    for role, name in (
        ("listbox", "Tokens"),
        ("slider", re.compile("^Layer")),
        ("slider", re.compile("^Head")),
        ("radio", "matrix"),
        ("table", re.compile("Layer 0, head 0")),
        ("region", "The strongest pairs as a table"),
        ("img", re.compile("^Score by layer: embeddings ")),
        ("application", re.compile("attention of 8 tokens")),
    ):
        assert opened.page.get_by_role(role, name=name).count() == 1, (role, name)


def test_gte_small_at_128_tokens(browser: Any, gte_small: Path, tmp_path: Path) -> None:
    trace = Embedder(gte_small, max_seq_length=128, backend="numpy").explain(
        "Parking is free, and dogs are welcome. " * 40, truncation="ignore"
    )
    content = page(trace)
    assert len(content) < 5e6
    opened = Opened(browser, content, tmp_path)
    opened.page.get_by_role("slider", name="Layer").fill("11")
    opened.page.get_by_role("slider", name="Head").fill("7")
    opened.page.get_by_role("option").nth(100).click()
    opened.shown(0, 11, 7, 100)
    assert_row_shown(opened, trace, 11, 7, 100)
    opened.page.get_by_role("radio", name="arcs").check()
    assert opened.page.locator("#cut").is_visible()
    assert opened.complaints == []


def test_512_tokens(browser: Any, tmp_path: Path) -> None:
    config = tiny.config(max_position_embeddings=512, num_attention_heads=4, hidden_size=16)
    embedder = Embedder(tiny.write_model(tmp_path / "model", config), backend="numpy")
    pair = embedder.explain_similarity("dog " * 510, "the cat " * 255)
    assert pair.a.attentions.shape == (2, 4, 512, 512)
    opened = Opened(browser, page(pair), tmp_path)
    opened.page.get_by_role("option").nth(400).click()
    opened.page.get_by_role("slider", name="Head").fill("3")
    opened.shown(0, 0, 3, 400)
    assert_row_shown(opened, pair.a, 0, 3, 400)
    opened.page.get_by_role("radio", name="arcs").check()
    assert f"{pair.score:.4f}" in opened.text("score")
    assert opened.complaints == []


def test_the_pictures_of_the_pages_are_taken(browser: Any, gte_small: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    images = tmp_path / "docs" / "images"
    images.parent.mkdir()
    short = f"screenshots.IMAGES = pathlib.Path({str(images)!r})"
    run("tools/screenshots", short=short, MINIGTE_MODEL=str(gte_small))
    kept = {path.name for path in (ROOT / "docs" / "images").glob("explain-*.png")}
    kept |= {path.name for path in (ROOT / "docs" / "images").glob("gallery-*.png")}
    assert {path.name for path in images.iterdir()} == kept
    assert all(path.stat().st_size > 5000 for path in images.iterdir())
