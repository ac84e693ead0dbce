"""minigte's page beside transformers.js, in the same browser and run: ``python bench/browser.py``.

Each round opens both in a browser that has nothing cached, one after the other, and the order turns. Measured
are the time from opening the page to its first vector, what was fetched by then, the time of a text of 10 and
of one of 100 tokens, and how near the vectors are to the library's. The raw figures go to
bench/results/browser, the table to docs/page.md. One thread each, as a page has that is not isolated.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import convert
import machine
import numpy as np
from markers import write_between_markers
from playwright.sync_api import Browser, sync_playwright

from minigte import Embedder
from minigte.loading.sources import find_model
from minigte.page.site import site, write_folder

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "browser"
PAGE = ROOT / "docs" / "page.md"
BEGIN, END = "<!-- browser: written by bench/browser.py -->", "<!-- end of browser -->"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigte-bench"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OURS = "minigte"
DTYPES = {"int8": ("q8", "model_quantized.onnx"), "float32": ("fp32", "model.onnx")}
ROUNDS, TIMES = 5, 21  # rounds, and how often a text is embedded in one
LENGTHS = (10, 100)  # tokens
WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "we", "read"]

# What a page does with either library. ``embed`` gives one text's vector.
HARNESS = """<!doctype html>
<meta charset="utf-8">
<script type="module">
{load}
const texts = await (await fetch("/texts.json")).json();
const vectors = [await embed(texts[0])];
const first = performance.now();
const milliseconds = [];
for (const text of texts) {{
  const taken = [];
  for (let i = 0; i < {times}; i++) {{
    const begin = performance.now();
    await embed(text);
    taken.push(performance.now() - begin);
  }}
  milliseconds.push(taken);
  vectors.push(await embed(text));
}}
globalThis.found = {{ first, milliseconds, vectors: vectors.slice(1).map((vector) => [...vector]) }};
</script>
"""
LOAD = {
    OURS: """
import {{ Embedder }} from "/page/minigte.js";
const embedder = await Embedder.load("/page/");
const embed = async (text) => (await embedder.embed([text]))[0];
""",
    "transformers.js": """
import {{ env, pipeline }} from "/transformers/transformers.min.js";
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "/models/";
env.backends.onnx.wasm.wasmPaths = "/onnxruntime/";
env.backends.onnx.wasm.numThreads = 1;
const extract = await pipeline("feature-extraction", "model", {{ dtype: "{dtype}", device: "wasm" }});
const embed = async (text) => (await extract(text, {{ pooling: "mean", normalize: true }})).data;
""",
}


class Server(ThreadingHTTPServer):
    """A folder on a port of this machine; counts the bytes of the files that it sends."""

    sent = 0
    code = 0  # those of scripts and WebAssembly

    class Handler(SimpleHTTPRequestHandler):
        """Sends a file, and says nothing."""

        server: Server

        def copyfile(self, source: Any, outputfile: Any) -> None:
            """Send what was asked for."""
            size = os.fstat(source.fileno()).st_size
            self.server.sent += size
            if Path(source.name).suffix in (".js", ".mjs", ".wasm"):
                self.server.code += size
            super().copyfile(source, outputfile)

        def log_message(self, *_: object) -> None:
            """Nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve a folder."""
    server = Server(("127.0.0.1", 0), functools.partial(Server.Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sample(embedder: Embedder, length: int) -> str:
    """A text of so many tokens."""
    text = " ".join(WORDS[i % len(WORDS)] for i in range(length - 2))
    assert embedder.count_tokens([text]) == [length]
    return text


def write_site(folder: Path, model: Path, onnx: Path, quantized: Path, packages: Path, dtype: str) -> None:
    """Everything that both pages fetch, as their documentation says to lay it out."""
    write_folder(site(find_model(str(model)), dtype), folder / "page")
    kind, name = DTYPES[dtype]
    for peer, load in LOAD.items():
        page = HARNESS.format(load=load.format(dtype=kind), times=TIMES)
        (folder / f"{peer}.html").write_text(page, encoding="utf-8")
    target = folder / "models" / "model"
    (target / "onnx").mkdir(parents=True)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / file, target / file)
    (target / "onnx" / name).symlink_to(quantized if dtype == "int8" else onnx)
    (folder / "transformers").symlink_to(packages / "@huggingface" / "transformers" / "dist")
    (folder / "onnxruntime").symlink_to(packages / "onnxruntime-web" / "dist")


def open_page(browser: Browser, server: Server, peer: str) -> dict[str, Any]:
    """Open a page in a context that has nothing cached, until it has measured."""
    server.sent = server.code = 0
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.server_port}/{peer}.html")
    while (found := page.evaluate("globalThis.found")) is None:
        if errors:
            raise SystemExit(f"browser.py: error: {peer}: {errors[0]}")
        page.wait_for_timeout(500)
    context.close()
    result: dict[str, Any] = found
    return {**result, "fetched": server.sent, "code": server.code}


def measure(model: Path, onnx: Path, quantized: Path, packages: Path, chromium: str) -> dict[str, Any]:
    """The whole run."""
    busy = machine.busy()
    runs: dict[str, Any] = {}
    for dtype in DTYPES:
        embedder = Embedder(model, dtype=dtype)
        texts = [sample(embedder, length) for length in LENGTHS]
        exact = Embedder(model).encode(texts)
        with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
            folder = Path(work)
            write_site(folder, model, onnx, quantized, packages, dtype)
            (folder / "texts.json").write_text(json.dumps(texts))
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            version = browser.version
            rounds: dict[str, list[dict[str, Any]]] = {peer: [] for peer in LOAD}
            with serving(folder) as server:
                for number in range(ROUNDS):
                    for peer in list(LOAD)[:: -1 if number % 2 else 1]:
                        print(f"{dtype}, round {number + 1} of {ROUNDS}: {peer}", file=sys.stderr, flush=True)
                        found = open_page(browser, server, peer)
                        vectors = np.array(found.pop("vectors"), np.float32)  # (texts, D)
                        found["cosine"] = float((vectors * exact).sum(axis=1).min())
                        rounds[peer].append(found)
            browser.close()
        runs[dtype] = rounds
    packed = json.loads((packages / "@huggingface" / "transformers" / "package.json").read_text())
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "busy_before": busy,
        "browser": f"Chromium {version}",
        "transformers.js": packed["version"],
        "lengths": LENGTHS,
        "runs": runs,
    }


def table(run: dict[str, Any]) -> str:
    """A run as Markdown."""
    ten, hundred = run["lengths"]
    rows = [
        f"| | first vector, s | {ten} tokens, ms | {hundred} tokens, ms | fetched, MB | of it code, MB "
        "| lowest cosine to float32 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for dtype, peers in run["runs"].items():
        for peer, rounds in peers.items():
            taken = [median(median(found["milliseconds"][i]) for found in rounds) for i in (0, 1)]
            cells = [
                f"{median(found['first'] for found in rounds) / 1000:.2f}",
                *(f"{milliseconds:.1f}" for milliseconds in taken),
                f"{rounds[0]['fetched'] / 1e6:.1f}",
                f"{rounds[0]['code'] / 1e6:.2f}",
                f"{min(found['cosine'] for found in rounds):.5f}",
            ]
            name = f"**{peer} {dtype}**" if peer == OURS else f"{peer} {dtype}"
            rows.append(f"| {name} | {' | '.join(cells)} |")
    m = run["machine"]
    rounds = len(next(iter(peers.values())))
    where = (
        f"{run['started'][:10]}, {run['browser']}, one thread each, medians of {rounds} rounds. "
        f"transformers.js {run['transformers.js']} has the same weights as ONNX, its WASM backend, and ONNX "
        f"Runtime's dynamic quantisation. {m['cpu']}, {m['system']}; other processes used "
        f"{run['busy_before']:.0%} of the machine before. Files come from this machine, so a network's time "
        "is not in it."
    )
    return "\n".join([*rows, "", where])


def report() -> None:
    """Show the newest run on the page."""
    newest = max(RESULTS.glob("*.json"), default=None)
    shown = "Not measured yet." if newest is None else table(json.loads(newest.read_text()))
    write_between_markers(PAGE, BEGIN, END, shown)


def main() -> None:
    """Measure, and show the figures."""
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description="minigte's page beside transformers.js.")
    parser.add_argument("packages", type=Path, help="node_modules with @huggingface/transformers")
    parser.add_argument("--model", type=Path, default=shared / "models" / "gte-small", help="model folder")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB folder")
    parser.add_argument("--onnx", type=Path, default=CACHE / "model.onnx", help="its ONNX export")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("browser.py: error: no chromium here: apt-get install chromium")
    source = convert.Sources(
        *(str(path.resolve()) for path in (options.model, options.onnx, options.data)), str(CACHE)
    )
    quantized = convert.ensure("ort_int8", source, CACHE / convert.fingerprint(source))[0] / "model.onnx"
    run = measure(
        options.model.resolve(), options.onnx.resolve(), quantized, options.packages.resolve(), chromium
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{run['started'][:16].replace(':', '').replace('T', '-')}.json"
    path.write_text(json.dumps(run, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)
    report()


if __name__ == "__main__":
    main()
