"""The page of ``minigte page`` in a real headless Chromium, served from a folder and opened as one file.

`make test-page` installs what these tests need; elsewhere they are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
import tiny
from places import ROOT
from test_web_page import TEXTS, baseline, make

from minigte import Embedder
from minigte.loading.weights import load_weights

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(sys.prefix) / "axe.min.js"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)
EMBED = """async ([texts, batch]) => {
  const { Embedder } = await import("./minigte.js");
  const embedder = await Embedder.load("./");
  const vectors = [];
  for (let i = 0; i < texts.length; i += batch) {
    vectors.push(...(await embedder.embed(texts.slice(i, i + batch))));
  }
  embedder.close();
  return vectors.map((vector) => [...vector]);
}"""

pytestmark = pytest.mark.usefixtures("web_kernels")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    module = pytest.importorskip("playwright.sync_api", reason="playwright is not here: make test-page")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with module.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, web_kernels: None) -> Path:
    """The page of a small model, as a folder and, beside it, as one file."""
    at = tmp_path_factory.mktemp("pages")
    model = tiny.write_model(at / "model")
    make(model, "-o", at / "page")
    make(model, "-o", at / "page.html")
    return at / "page"


class Opened:
    """One page, and everything it complained of or asked the network for."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.cut: list[str] = []  # what is said of long texts
        self.requests: list[str] = []
        self.page.on("console", lambda message: self._of(message.text).append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def _of(self, message: str) -> list[str]:
        return self.cut if message.endswith("were cut there") else self.complaints

    def ready(self) -> Opened:
        self.page.wait_for_selector("body[data-ready]", state="attached")
        return self

    def until(self, expression: str) -> None:
        """Wait until this is true in the page; Playwright's own way needs a page that allows eval."""
        deadline = time.monotonic() + 60
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)

    def failed(self) -> str:
        """What the page says of its failure."""
        self.page.wait_for_selector("#state.failed")
        return str(self.page.locator("#state").text_content())


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_page_asks_for_its_own_files_alone(form: str, browser: Any, folder: Path, serve: Any) -> None:
    url = serve(folder) if form == "folder" else folder.with_suffix(".html").as_uri()
    opened = Opened(browser, url).ready()
    assert opened.complaints == []
    asked = [request for request in opened.requests if not request.startswith("blob:")]
    assert all(request.startswith(url) for request in asked)
    if form == "file":
        assert asked == [url]
    opened.page.close()


def test_vectors_have_the_bits_of_the_baseline(
    browser: Any, gte_small: Path, serve: Any, tmp_path: Path
) -> None:
    make(gte_small, "-o", tmp_path / "page")
    wanted = baseline(gte_small, "int8", tmp_path)
    opened = Opened(browser, serve(tmp_path / "page")).ready()
    for batch in (1, len(TEXTS)):
        found = np.array(opened.page.evaluate(EMBED, [TEXTS, batch]), np.float32)
        assert np.array_equal(found, wanted)
    assert opened.complaints == []
    assert [text.split(" tokens")[0] for text in opened.cut] == [
        f"1 of {texts} texts have more than 512" for texts in (1, len(TEXTS))
    ]
    opened.page.close()


def test_similarities_follow_what_is_typed(browser: Any, folder: Path, serve: Any) -> None:
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    assert page.locator("#similarities th[scope=row]").count() == 4
    page.locator("#texts").fill("the cat\nthe cat\na dog \ud83d 👍\n\n")
    opened.until("document.querySelectorAll('#similarities th[scope=row]').length === 3")
    rows = page.eval_on_selector_all(
        "#similarities tr",
        "rows => rows.slice(1).map(row => [...row.cells].slice(1).map(c => c.textContent))",
    )
    assert rows[0][:2] == rows[1][:2] == ["1.000", "1.000"]
    assert rows[0][2] == rows[2][0] != "1.000"
    page.locator("#texts").fill("\n".join(f"text {i}" for i in range(20)))
    opened.until("document.querySelectorAll('#similarities th[scope=row]').length === 12")
    page.locator("#texts").fill("word " * 20_000)  # 100 kB, pasted
    opened.until("document.querySelectorAll('#similarities th[scope=row]').length === 1")
    page.locator("#texts").fill("")
    opened.until("document.querySelectorAll('#similarities th[scope=row]').length === 0")
    assert opened.complaints == []
    page.close()


def test_notes_are_searched(browser: Any, folder: Path, serve: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "sub").mkdir(parents=True)
    (notes / "a.md").write_text("# Pets\n\nthe cat sat on the mat\n\na dog", encoding="utf-8")
    (notes / "sub" / "b.txt").write_bytes(b"the mat \xff\xfe broken\n")
    (notes / "picture.png").write_bytes(b"\x89PNG")
    (notes / ".hidden.md").write_text("no", encoding="utf-8")
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    page.locator("#folder").set_input_files(notes)
    opened.until("document.getElementById('search-note').textContent.startsWith('3 passages of 2 files')")
    assert "2 other files left alone" in page.locator("#search-note").text_content()
    page.locator("#query").fill("the cat sat on the mat")
    page.wait_for_selector("#hits li")
    assert page.locator("#hits li").count() == 3
    assert "notes/" in page.locator("#hits li small").first.text_content()
    page.locator("#query").fill("")
    opened.until("!document.querySelector('#hits li')")
    page.locator("#sample").click()
    opened.until("document.getElementById('search-note').textContent.includes('of 3 files, read')")
    page.locator("#files").set_input_files(notes / "picture.png")
    opened.until("document.getElementById('search-note').textContent.startsWith('Nothing to read')")
    assert opened.complaints == []
    page.close()


def test_a_thousand_notes(browser: Any, folder: Path, serve: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(
        "\n\n".join(f"note number {i}" for i in range(1000)), encoding="utf-8"
    )
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    page.locator("#files").set_input_files(tmp_path / "notes.txt")
    opened.until("document.getElementById('search-note').textContent.startsWith('1,000 passages of 1 file')")
    page.locator("#query").fill("note number 777")
    page.wait_for_selector("#hits li")
    assert page.locator("#hits li p").first.text_content() == "note number 777"
    page.close()


def test_tokens_are_chosen_with_the_keyboard(browser: Any, folder: Path, serve: Any) -> None:
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    page.locator("#text").fill("the cat")
    opened.until("document.querySelectorAll('#tokens [role=radio]').length === 5")
    page.get_by_role("radio", name="whole text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.firstChild.textContent") == "the"
    assert page.locator("#tokens").get_by_role("radio", checked=True).count() == 1
    assert page.get_by_role("img", name="layer 1: 20 numbers, cosine 1.000 with the last").count() == 1
    page.close()


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, web_kernels: None) -> tuple[Path, Embedder]:
    """The page of a small model that computes in float32, and the model itself."""
    at = tmp_path_factory.mktemp("exact")
    model = tiny.write_model(at / "model")
    make(model, "--dtype", "float32", "-o", at / "page")
    return at / "page", Embedder(model, backend="numpy")


TYPED, OTHER = "the cat sat on the mat", "a dog sat on the mat"
TABLE = """id => [...document.querySelectorAll(`#${id} tbody tr`)].map(
  row => [...row.cells].map(cell => cell.textContent))"""


def type_both(opened: Opened) -> None:
    opened.page.locator("#text").fill(TYPED)
    opened.page.locator("#other").fill(OTHER)
    opened.until(
        "document.querySelectorAll('#tokens [role=radio]').length === 9 && "
        "document.getElementById('links').textContent.includes('dog')"
    )


def test_attention_is_that_of_explain(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    folder, embedder = exact
    trace = embedder.explain(TYPED)
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    type_both(opened)
    assert page.get_by_role("gridcell").count() == trace.attentions.shape[0] * trace.attentions.shape[1]
    page.get_by_label("Leave out the tokens that every text has, [CLS]").uncheck()
    for layer, head in ((0, 0), (1, 3), (1, 2)):
        page.get_by_role("gridcell", name=f"layer {layer}, head {head}", exact=True).click()
        assert page.locator("#head-title").text_content() == f"Layer {layer}, head {head}"
        page.locator("#matrix").focus()
        for key in ("PageUp", "Home", "ArrowDown", "ArrowDown", "ArrowRight"):
            page.keyboard.press(key)
        attention = trace.layers[layer].attention.self
        probs, scores = attention.probs[head, 2], attention.scores[head, 2]
        size = trace.config.spec.head_size
        wanted = attention.query[2, head * size :][:size] * attention.key[1, head * size :][:size]
        rows = page.evaluate(TABLE, "row")
        assert len(rows) == len(trace.tokens)
        for token, place, score, _, probability in rows:
            assert token == trace.tokens[int(place)]
            assert abs(float(score) - scores[int(place)]) < 2e-4
            assert abs(float(probability) - probs[int(place)]) < 2e-4
        terms = page.locator("#terms li span").all_text_contents()
        np.testing.assert_allclose([float(x.replace("−", "-")) for x in terms], wanted, rtol=0, atol=0.0051)
        assert page.locator("#softmax").text_content().endswith(f"= {probs[1]:.4f}")
        assert f"gathers {probs[1]:.4f} from" in page.locator("#matrix-readout").text_content()
    code = page.locator("#lines").text_content()
    for name in ("scores", "probs"):
        stage = trace.stage(f"encoder.layer.0.attention.self.{name}")
        assert stage.source in code
        assert f"minigte/{stage.where}" in code
    assert opened.complaints == []
    page.close()


def test_special_tokens_are_left_out(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    folder, embedder = exact
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    type_both(opened)
    probs = embedder.explain(TYPED).attentions[0, 0]
    canvas = "document.querySelector('#grid canvas').width"
    opened.until(f"{canvas} === {len(probs) - 2}")
    assert page.locator("#matrix-most").text_content() == f"{probs[1:-1, 1:-1].max():.2f}"
    left = 100 * (1 - probs[1:-1, 1:-1].sum(axis=1).mean())
    assert page.locator("#apart-note").text_content().startswith(f"{left:.0f} %")
    page.get_by_label("Leave out the tokens that every text has, [CLS]").uncheck()
    opened.until(f"{canvas} === {len(probs)}")
    assert page.locator("#matrix-most").text_content() == "1"
    page.locator("#matrix").focus()
    page.keyboard.press("PageUp")
    page.get_by_role("radio", name="arcs").check()
    drawn = page.locator("#arcs path").count()
    assert drawn == (probs[0] >= 0.005).sum() + (probs[1:] >= 0.05).sum()
    page.locator("#text").fill("")  # nothing but special tokens
    opened.until("document.querySelectorAll('#tokens [role=radio]').length === 3")
    opened.until(f"{canvas} === 2")
    assert opened.complaints == []
    page.close()


def test_a_view_is_asked_for_by_its_name(browser: Any, folder: Path, serve: Any) -> None:
    opened = Opened(browser, f"{serve(folder)}#pair-title").ready()
    top = "document.getElementById('pair-title').getBoundingClientRect().top"
    opened.until(f"0 <= {top} && {top} < innerHeight")
    assert opened.complaints == []
    opened.page.close()


def numbers(texts: list[str]) -> list[float]:
    """The numbers as the page writes them."""
    return [float(text.replace("−", "-").removesuffix("\u00a0%")) for text in texts]


def test_the_residual_stream_is_that_of_explain(
    browser: Any, exact: tuple[Path, Embedder], serve: Any
) -> None:
    folder, embedder = exact
    trace = embedder.explain(TYPED)
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    type_both(opened)
    page.locator("#stream-token").select_option("4")
    opened.until("document.getElementById('stream-title-sum').textContent.includes('(4)')")
    writers = ["embeddings", "attention 0", "feed-forward 0", "attention 1", "feed-forward 1"]
    lengths = [np.linalg.norm(trace.hidden_states[0, 4]), *np.linalg.norm(trace.added[:, 4], axis=-1)]
    page.locator("#stream").focus()
    for state, keys in ((2, ["PageUp", "End"]), (1, ["ArrowLeft"]), (0, ["ArrowLeft"])):
        for key in keys:
            page.keyboard.press(key)
        shown = [row[0] for row in page.evaluate(TABLE, "stream-table")]
        there = [*writers[: 1 + 2 * state], "biases of norms"]
        assert sorted(shown) == sorted(there)
        wanted = 100 * trace.written[state, :, 4]
        for name, length, _, share in page.evaluate(TABLE, "stream-table"):
            k = [*writers, "biases of norms"].index(name)
            assert abs(numbers([share])[0] - wanted[k]) < 0.06
            assert length == "–" or abs(float(length) - lengths[k]) < 0.006
        terms = numbers(page.locator("#stream-terms span").all_text_contents())
        np.testing.assert_allclose(sum(terms), 100, atol=0.4)
    page.keyboard.press("End")
    assert f"{writers[0]}: " in page.locator("#stream-readout").text_content()
    page.get_by_role("radio", name="one number").check()
    page.get_by_role("spinbutton", name="Number").first.fill("7")
    assert (
        page.locator("#stream-sum")
        .text_content()
        .endswith(f"= {trace.hidden_states[2, 4, 7]:.4f}".replace("-", "−"))
    )
    terms = numbers(page.locator("#stream-terms span").all_text_contents())
    np.testing.assert_allclose(sum(terms), trace.hidden_states[2, 4, 7], atol=0.006)
    page.get_by_role("button", name="attention 1").click()
    norm = trace.layers[1].attention.output.LayerNorm[4]
    assert page.locator("#stream-formula").text_content().endswith(f"= {norm[7]:.4f}".replace("-", "−"))
    assert f"after the norm {np.linalg.norm(norm):.2f}" in page.locator("#stream-lengths").text_content()
    for name in ("attention.output.sum", "attention.output.LayerNorm"):
        assert trace.stage(f"encoder.layer.0.{name}").source in page.locator("#stream-lines").text_content()
    assert opened.complaints == []
    page.close()


def test_neurons_are_those_of_explain(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    folder, embedder = exact
    trace = embedder.explain(TYPED)
    weights = load_weights(embedder.source.folder, embedder.config)
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    type_both(opened)
    page.locator("#neurons-token").select_option("4")
    opened.until("document.getElementById('neuron-title').textContent.includes('(4)')")
    for layer in (1, 0):
        page.locator("#neurons-layer").select_option(str(layer))
        opened.until(f"document.getElementById('neuron-title').textContent.includes('layer {layer}')")
        of, w = trace.layers[layer], weights.layers[layer]
        answers = of.intermediate.intermediate_act_fn[4]
        reach = np.abs(answers) * np.linalg.norm(w.output_weight, axis=0)
        listed = page.locator("#neurons-strongest small").all_text_contents()
        strongest = [int(re.search(r"neuron (\d+)", text)[1]) for text in listed]
        assert strongest == np.argsort(-reach)[:12].tolist()
        shown = numbers(page.locator("#neurons-strongest span").all_text_contents())
        np.testing.assert_allclose(shown, reach[strongest], atol=0.006)
        page.locator("#neurons-strongest button").nth(2).click()
        neuron = strongest[2]
        opened.until(f"document.getElementById('neuron-title').textContent.startsWith('Neuron {neuron} ')")
        assert (
            page.locator("#neuron-title")
            .text_content()
            .endswith(f": {answers[neuron]:.4f}".replace("-", "−"))
        )
        row = of.attention.output.LayerNorm[4]
        products = row * w.intermediate_weight[neuron]
        terms = numbers(page.locator("#neuron-terms span").all_text_contents())
        largest = products[np.argsort(-np.abs(products))][:11]
        np.testing.assert_allclose(terms[:11], largest, atol=0.0006)
        before = of.intermediate.dense[4, neuron]
        np.testing.assert_allclose(sum(terms), before, atol=0.01)
        assert page.locator("#neuron-sum").text_content().endswith(f"= {before:.4f}".replace("-", "−"))
        assert f"{reach[neuron]:.2f} long" in page.locator("#neuron-note").text_content()
        page.get_by_role("spinbutton", name="Number").last.fill("3")
        opened.until("document.getElementById('number-title').textContent.startsWith('Number 3 ')")
        terms = numbers(page.locator("#number-terms span").all_text_contents())
        products = answers * w.output_weight[3]
        np.testing.assert_allclose(terms[:11], products[np.argsort(-np.abs(products))][:11], atol=0.0006)
        np.testing.assert_allclose(sum(terms), of.output.dense[4, 3], atol=0.01)
        assert (
            page.locator("#number-sum")
            .text_content()
            .endswith(f"= {of.output.dense[4, 3]:.4f}".replace("-", "−"))
        )
    page.locator("#neurons").focus()
    for key in ("PageUp", "Home", "ArrowRight"):
        page.keyboard.press(key)
    opened.until("document.getElementById('neuron-title').textContent.startsWith('Neuron 1 ')")
    code = page.locator("#neuron-lines").text_content() + page.locator("#number-lines").text_content()
    for name in ("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"):
        assert trace.stage(f"encoder.layer.0.{name}").source in code
    page.get_by_role("gridcell", name="layer 0, head 2", exact=True).click()
    page.locator("#switch-layer").click()
    opened.until("document.getElementById('neurons-view').hidden")
    assert "switched off" in page.locator("#neurons-note").text_content()
    assert opened.complaints == []
    page.close()


def test_a_feed_forward_opens_from_the_stream(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    opened = Opened(browser, serve(exact[0])).ready()
    page = opened.page
    page.get_by_role("button", name="feed-forward 0").click()
    opened.until("document.getElementById('neuron-title').textContent.includes('layer 0')")
    page.get_by_role("radio", name="the").first.click()  # of the tokens: all views follow
    opened.until("document.getElementById('neuron-title').textContent.includes('at the (')")
    assert "the (" in page.locator("#stream-title-sum").text_content()
    assert opened.complaints == []
    page.close()


def test_pairs_are_those_of_explain(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    folder, embedder = exact
    opened = Opened(browser, serve(folder)).ready()
    page = opened.page
    type_both(opened)
    wanted = embedder.explain_similarity(TYPED, OTHER)
    assert abs(float(page.locator("#pair-score").text_content()) - wanted.score) < 2e-4
    page.get_by_label("Leave out the tokens that every text has", exact=True).uncheck()
    rows = page.evaluate(TABLE, "top")
    assert len(rows) == 20
    for a, b, part in rows:
        i, j = (int(cell.rpartition("(")[2][:-1]) for cell in (a, b))
        assert a == f"{wanted.a.tokens[i]} ({i})"
        assert abs(float(part.replace("−", "-")) - wanted.pairs[i, j]) < 2e-4
    assert 0 < page.locator("#links path").count() <= 24
    assert f"add up to {wanted.score:.4f}" in page.locator("#pair-note").text_content()
    assert opened.complaints == []
    page.close()


def test_heads_and_layers_are_switched(browser: Any, exact: tuple[Path, Embedder], serve: Any) -> None:
    opened = Opened(browser, serve(exact[0])).ready()
    page = opened.page
    type_both(opened)
    score = page.locator("#pair-score")
    before = score.text_content()
    page.get_by_role("gridcell", name="layer 0, head 2", exact=True).click()
    page.locator("#switch-head").click()
    opened.until("document.getElementById('pair-off').textContent.startsWith('with 1 head off')")
    one = score.text_content()
    assert f"everything on {before}" in page.locator("#pair-off").text_content()
    assert page.get_by_role("gridcell", name="layer 0, head 2, switched off").count() == 1
    page.locator("#switch-layer").click()
    opened.until("document.getElementById('pair-off').textContent.startsWith('with 1 layer and 1 head off')")
    assert len({before, one, score.text_content()}) == 3
    assert page.locator("#layers").text_content().count("off") == 1
    page.locator("#neurons-layer").select_option("0")
    assert page.locator("#neurons-note").text_content() == "Layer 0 is switched off: it adds nothing."
    page.emulate_media(color_scheme="dark")  # all that is there is drawn again
    page.locator("#all-on").click()
    opened.until("document.getElementById('pair-off').textContent.startsWith('Switch')")
    assert score.text_content() == before
    assert opened.complaints == []
    page.close()


def test_the_way_is_walked_by_click_key_and_scroll(
    browser: Any, exact: tuple[Path, Embedder], serve: Any
) -> None:
    folder, embedder = exact
    opened = Opened(browser, serve(folder), reduced_motion="reduce").ready()
    page = opened.page
    type_both(opened)
    trace = embedder.explain(TYPED)
    current = "document.querySelector('#steps [aria-current]').firstChild.textContent"
    names = page.locator("#steps b").all_text_contents()
    assert names == ["Text", "Tokens", "Embeddings", "2 layers", "Pooling", "Vector"]
    tokens, width = trace.hidden_states.shape[1:]
    shapes = [f"{len(TYPED)} characters", f"({tokens},) ids", *2 * [f"({tokens}, {width})"], f"({width},)"]
    assert page.locator("#steps .pipe small").all_text_contents() == shapes
    page.locator("#next").click()
    assert page.evaluate(current) == "Tokens"
    page.get_by_role("button", name="Pooling").click()
    assert page.evaluate(current) == "Pooling"
    shown = page.get_by_role("region", name="Step 5 of 6: Pooling").locator(".formula").text_content()
    assert shown.endswith(f" = {trace['pooled'][0]:.4f}".replace("-", "−"))
    page.keyboard.press("ArrowRight")
    assert page.evaluate(current) == "Vector"
    assert f" = {trace.vector[0]:.4f}".replace("-", "−") in page.locator(".panel").last.text_content()
    page.evaluate("document.getElementById('panels').scrollTo({ left: 0, behavior: 'instant' })")
    opened.until(f"{current} === 'Text'")
    for link in page.locator("#panels a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert opened.complaints == []
    page.close()


def test_a_text_of_128_tokens_and_one_of_more(
    browser: Any, gte_small: Path, serve: Any, tmp_path: Path
) -> None:
    make(gte_small, "-o", tmp_path / "page")
    opened = Opened(browser, serve(tmp_path / "page")).ready()
    page = opened.page
    page.locator("#text").fill("word " * 126)
    opened.until("document.querySelector('#grid canvas').width === 126")
    opened.until("document.getElementById('neuron-title').textContent.includes('word')")
    assert page.evaluate("document.getElementsByTagName('*').length") < 4000
    page.get_by_role("radio", name="arcs").check()
    assert page.locator("#arcs path").count() <= 200 + 128
    # No click waits until all heads are painted: that is done a layer at a time.
    widths = "[...document.querySelectorAll('#grid canvas')].map((canvas) => canvas.width)"
    opened.until(f"{widths}.every((width) => width === 126)")
    clicked = page.evaluate(f"document.getElementById('apart').click(), {widths}")
    assert set(clicked) == {126}
    opened.until(f"{widths}.every((width) => width === 128)")
    page.locator("#text").fill("word " * 200)
    opened.until("document.getElementById('heads-view').hidden")
    assert "202 tokens" in page.locator("#heads-note").text_content()
    page.locator("#text").fill("a word")
    opened.until("!document.getElementById('heads-view').hidden")
    assert opened.complaints == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_axe_finds_nothing(browser: Any, folder: Path, scheme: str, width: int, media: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here: make test-page fetches it with npm")
    size = {"width": width, "height": 800}
    opened = Opened(browser, folder.with_suffix(".html").as_uri(), color_scheme=scheme, viewport=size).ready()
    page = opened.page
    page.locator("#sample").click()
    page.locator("#query").fill("bread")
    page.wait_for_selector("#hits li")
    page.locator("#switch-head").click()
    page.get_by_role("radio", name="arcs").check()
    opened.until("document.getElementById('pair-off').textContent.startsWith('with 1 head off')")
    page.get_by_role("radio", name="one number").check()
    page.locator("#neurons-layer").select_option("1")
    page.locator("#switch-layer").click()
    opened.until("document.getElementById('pair-off').textContent.includes('1 layer and 1 head off')")
    page.emulate_media(media=media)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]] == []
    page.close()


def test_paper_is_white(browser: Any, folder: Path, serve: Any) -> None:
    """What is printed in dark colours, with a head off, has the colours of paper in all its pictures."""
    opened = Opened(browser, serve(folder), color_scheme="dark").ready()
    page = opened.page
    page.locator("#switch-head").click()
    opened.until("document.getElementById('pair-off').textContent.startsWith('with 1 head off')")
    drawn = """[getComputedStyle(document.body).backgroundColor, ...["matrix", "stream", "neurons"].map(
      (id) => document.getElementById(id).toDataURL()),
      ...[...document.querySelectorAll("#grid canvas")].map((canvas) => canvas.toDataURL())]"""
    dark = page.evaluate(drawn)
    printed = page.evaluate(f"(dispatchEvent(new Event('beforeprint')), {drawn})")
    assert printed[0] == "rgb(253, 253, 251)"
    assert all(a != b for a, b in zip(dark, printed, strict=True))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    opened.until(f"JSON.stringify({drawn}) === {json.dumps(json.dumps(dark, separators=(',', ':')))}")
    assert opened.complaints == []
    page.close()


# --- What may be missing ---------------------------------------------------------------------------------


def test_a_folder_that_was_opened_from_a_disk(browser: Any, folder: Path) -> None:
    opened = Opened(browser, (folder / "index.html").as_uri())
    message = opened.failed()
    assert "http.server" in message
    assert "-o page.html" in message
    opened.page.close()


@pytest.mark.parametrize("size", [0, 1000, -1])
def test_weights_that_are_cut(size: int, browser: Any, folder: Path, serve: Any, tmp_path: Path) -> None:
    broken = shutil.copytree(folder, tmp_path / "page")
    whole = (folder / "weights.bin").read_bytes()
    (broken / "weights.bin").write_bytes(whole[:size])
    message = Opened(browser, serve(broken)).failed()
    assert f"{len(whole[:size])} of {len(whole)} bytes" in message


@pytest.mark.parametrize("context", ["secure", "not secure"])
def test_weights_that_are_damaged(
    context: str, browser: Any, folder: Path, serve: Any, tmp_path: Path
) -> None:
    """A page from a plain http address has no crypto.subtle."""
    broken = shutil.copytree(folder, tmp_path / "page")
    whole = bytearray((folder / "weights.bin").read_bytes())
    whole[len(whole) // 2] ^= 1
    (broken / "weights.bin").write_bytes(whole)
    url = serve(broken)
    if context == "not secure":
        url = url.replace("127.0.0.1", "0.0.0.0")
        assert Opened(browser, serve(folder).replace("127.0.0.1", "0.0.0.0")).ready()
    assert "damaged" in Opened(browser, url).failed()


def test_a_file_that_is_missing(browser: Any, folder: Path, serve: Any, tmp_path: Path) -> None:
    broken = shutil.copytree(folder, tmp_path / "page")
    (broken / "kernels.wasm").unlink()
    message = Opened(browser, serve(broken)).failed()
    assert "kernels.wasm" in message
    assert "404" in message


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--no-enable-sse4-1 --no-enable-ssse3 --no-enable-avx", "SIMD"),
        ("--wasm-max-mem-pages=3", "MB of memory"),
    ],
)
def test_browsers_that_lack_something(flags: str, named: str, playwright: Any, folder: Path) -> None:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, f"--js-flags={flags}"])
    try:
        assert named in Opened(browser, folder.with_suffix(".html").as_uri()).failed()
    finally:
        browser.close()


def test_the_weights_are_kept_by_the_browser(browser: Any, folder: Path, serve: Any) -> None:
    context = browser.new_context()
    url = serve(folder)
    fetched = []
    for _ in range(2):
        opened = Opened(context, url).ready()
        fetched.append(
            opened.page.evaluate(
                "caches.open('minigte').then(store => store.keys()).then(keys => keys.map(key => key.url))"
            )
        )
        opened.page.close()
    [name] = fetched[1]
    plan = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert fetched[0] == fetched[1]
    assert name == f"{url}weights.bin?sha256={plan['weights']['sha256']}"
    (folder / "weights.bin").rename(folder / "elsewhere")
    try:
        Opened(context, url).ready()
    finally:
        (folder / "elsewhere").rename(folder / "weights.bin")
    context.close()


def test_docs_page(browser: Any, gte_small: Path, serve: Any, tmp_path: Path) -> None:
    """docs/page.md: a page of one's own that imports the module shows the README's similarity, in int8."""
    [text] = [text for language, text in pages.blocks(ROOT / "docs" / "page.md") if language == "html"]
    (tmp_path / "index.html").write_text(f"<!doctype html><body>{text}</body>", encoding="utf-8")
    make(gte_small, "-o", tmp_path / "gte-small-page")
    opened = Opened(browser, serve(tmp_path))
    page = opened.page
    opened.until("/^0\\.\\d{4}$/.test(document.body.textContent)")
    assert abs(float(page.locator("body").text_content()) - 0.8669) < 0.005
    page.close()


def test_the_pictures_of_the_docs(
    browser: Any, gte_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import page_screenshots

    images = tmp_path / "docs" / "images"
    images.mkdir(parents=True)
    monkeypatch.setattr(page_screenshots, "IMAGES", images)
    page_screenshots.take(browser, str(gte_small), tmp_path)
    kept = {path.name for path in (ROOT / "docs" / "images").glob("page-*.png")}
    assert {path.name for path in images.iterdir()} == kept
