"""``minigte page``: a folder for any web server, or one HTML file that works from a disk.

The scripts are those of ``site/``, and ``views.js`` of ``minigte explain``, written by hand. In the folder
they are modules, which others can import too. A page that is opened from a disk may read no file beside it,
so that the one file holds them all: the modules joined in the order in which they import each other, kernels
and weights in base64.
"""

from __future__ import annotations

import base64
import hashlib
import html
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import minigte.version
from minigte.backend import web_model
from minigte.errors import UnsupportedError
from minigte.explain import Stage
from minigte.explain.page import VIEWS, policy_hash
from minigte.explain.trace import keep_in
from minigte.loading.config import ModelConfig, read_config
from minigte.loading.sources import Source
from minigte.loading.weights import load_weights, stored_weights
from minigte.page.word_piece import word_piece
from minigte.reference import TEXTBOOKS
from minigte.runtime.replacing import naming, replacing
from minigte.tokenizing.tokenizer import Tokenizer
from minigte.vectors.head import Normalize
from minigte.vectors.pooling import POOLING_MODES, normalize

SITE = Path(__file__).with_name("site")
# The modules, each behind those that it imports.
WORKER = (
    *("unicode.js", "word_piece.js", "sha256.js", "pooling.js", "attention.js", "matrix.js", "blocks.js"),
    *("model.js", "worker.js"),
)
PAGE = (
    *("minigte.js", "passages.js", "views.js", "dom.js", "pooling.js", "attention.js", "written.js"),
    *("layers.js", "heads.js", "stream.js", "neurons.js", "pair.js", "way.js", "inside.js", "app.js"),
)
Dtype = Literal["int8", "float32"]  # what a page can compute in

POOLING = ("cls", "lasttoken", "max", "mean")  # of site/pooling.js


class Site(NamedTuple):
    """The files that a page consists of, beside the scripts."""

    plan: dict[str, Any]  # model.json
    kernels: bytes
    weights: bytes


def site(source: Source, dtype: Dtype) -> Site:
    """A model's part of the page.

    Raises UnsupportedError for a model whose tokenizer, pooling or head the page does not have, and
    MissingDependencyError where the WebAssembly kernels were not built.
    """
    config = read_config(source.folder)
    if len(config.pooling_modes) != 1 or config.pooling_modes[0] not in POOLING:
        raise UnsupportedError(
            f"a page cannot pool as {source.name} does, by {' and '.join(config.pooling_modes)}: it has "
            f"{', '.join(POOLING)}"
        )
    if not config.include_prompt:
        raise UnsupportedError(f"a page pools all tokens, and {source.name} leaves out those of a prompt")
    if not all(isinstance(module, Normalize) for module in config.head):
        raise UnsupportedError(f"a page has no Dense module, and {source.name} ends with one")
    spec = config.spec
    if spec.norm_first or spec.causal or spec.windows or spec.distance_buckets or spec.distance_slopes:
        raise UnsupportedError(
            f"a page cannot show how {source.name} attends: its scores are not query times key alone; take "
            "another model, such as thenlper/gte-small"
        )
    tokenizer = Tokenizer(
        source.folder / config.transformer,
        config.tokenizer,
        vocab_size=config.encoder.vocab_size,
        max_seq_length=config.max_seq_length,
        do_lower_case=config.do_lower_case,
    )
    settings = word_piece(tokenizer)
    model = web_model(config, stored_weights(source.folder, config), dtype)
    plan = {
        "minigte": minigte.version.__version__,
        "name": Path(source.name).name,
        "dtype": dtype,
        "hiddenSize": config.spec.hidden_size,
        "pooling": config.pooling_modes[0],
        "normalize": config.normalize,
        "prompts": dict(config.prompts),
        "weights": {
            "file": "weights.bin",
            "bytes": len(model.weights),
            "sha256": hashlib.sha256(model.weights).hexdigest(),
        },
        "function": model.function,
        "copied": model.copied,
        "widened": model.widened,
        "table": model.table,
        "addresses": model.addresses,
        "batch": model.batch,
        "layers": model.layers,
        "inside": {
            "layered": {name: rows._asdict() for name, rows in model.inside.layered.items()},
            "wordEmbeddings": model.inside.word_embeddings,
            "added": model.inside.added,
            "qkv": model.inside.qkv,
            "context": model.inside.context,
            "heads": model.inside.heads,
            "headWidth": model.inside.head_width,
        },
        "attentionScale": config.spec.attention_scale,
        "headSize": config.spec.head_size,
        "intermediateSize": config.spec.intermediate_size,
        "hiddenAct": config.spec.hidden_act,
        "normEps": config.spec.norm_eps,
        "lines": _lines(source, config),
        "tokens": model.tokens,
        "size": model.size,
        "tokenizer": settings,
    }
    return Site(plan, model.module, model.weights)


def _lines(source: Source, config: ModelConfig) -> dict[str, dict[str, str]]:
    """The lines of the reference that make what the page shows: where each stands, and its source."""
    textbook = TEXTBOOKS[config.architecture.name]
    stages: dict[str, Stage] = {}
    ids, offsets = np.zeros(1, np.int32), np.array([0, 1])
    weights = load_weights(source.folder, config)
    textbook.forward(config.encoder, weights, ids, offsets, keep_in(stages))
    names = textbook.NAMES
    first = names.layer.format(0)
    attention = first + names.probs.removesuffix("probs")
    layer = [name for name in stages if name.startswith(first)]
    attended = layer.index(first + names.attended)
    # What follows in every layer whose norms stand after the sums.
    shown = dict(zip(("added", "norm", "before", "after", "fed"), layer[attended + 1 :], strict=False))
    shown |= {
        "embeddings": names.embeddings.rpartition(".")[0] + ".sum",
        "scores": attention + "scores",
        "probabilities": attention + "probs",
        "layer": first + names.output,
    }
    lines = {name: {"where": stages[at].where, "source": stages[at].source} for name, at in shown.items()}
    for name, function in (
        ("pooling", POOLING_MODES[config.pooling_modes[0]].vectors),
        ("normalize", normalize),
    ):
        path = Path(inspect.getfile(function))
        try:
            code, begin = inspect.getsourcelines(function)
        except OSError:  # installed without its sources
            code, begin = [""], function.__code__.co_firstlineno
        where = f"{path.parent.name}/{path.name}:{begin + len(code) - 1}"
        lines[name] = {"where": where, "source": code[-1].strip().removeprefix("return ")}
    return lines


def write_folder(of: Site, folder: Path) -> None:
    """Write the page into a folder, which is made where it is missing. Raises OutputError."""
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    policy = "script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; worker-src 'self'"
    scripts = '<script src="disk.js"></script>\n<script type="module" src="app.js"></script>'
    page = _filled(of, policy, '<link rel="stylesheet" href="style.css">', scripts)
    version = minigte.version.__version__
    files = {name: _read(name).encode() for name in dict.fromkeys((*WORKER, *PAGE, "disk.js", "style.css"))}
    files["package.json"] = _read("package.json").replace("{{version}}", version).encode()
    files |= {"kernels.wasm": of.kernels, of.plan["weights"]["file"]: of.weights}
    files |= {"model.json": _json(of.plan).encode(), "index.html": page.encode()}
    for name, contents in files.items():  # what asks for the others comes last
        with replacing(folder / name) as file:
            file.write(contents)


def one_file(of: Site) -> Iterator[bytes]:
    """The page as one HTML file, part by part."""
    style, script = _read("style.css"), _joined(PAGE)
    policy = (
        f"script-src {policy_hash(script)} 'wasm-unsafe-eval'; style-src {policy_hash(style)}; "
        "worker-src blob:"
    )
    data = "\0"
    scripts = data + f'<script type="module">{script}</script>'
    page = _filled(of, policy, f"<style>{style}</style>", scripts)
    first, last = page.split(data)
    yield first.encode()
    yield f'<script type="application/json" id="model">{_json(of.plan)}</script>\n'.encode()
    yield f'<script type="text/plain" id="worker">{_joined(WORKER)}</script>\n'.encode()
    for name, contents in (("kernels", of.kernels), ("weights", of.weights)):
        yield f'<script type="text/plain" id="{name}">'.encode()
        yield base64.b64encode(contents)
        yield b"</script>\n"
    yield last.encode()


def _filled(of: Site, policy: str, style: str, scripts: str) -> str:
    """The page's HTML."""
    values = {
        "csp": f"default-src 'none'; {policy}; img-src data:; base-uri 'none'; form-action 'none'",
        "name": html.escape(of.plan["name"]),
        "dtype": of.plan["dtype"],
        "version": of.plan["minigte"],
        "style": style,
        "scripts": scripts,
    }
    return re.sub(r"\{\{([a-z]+)\}\}", lambda match: values[match[1]], _read("index.html"))


def _joined(names: tuple[str, ...]) -> str:
    """Modules as one script; each stands behind those whose names it imports."""
    text = "\n".join(map(_read, names))
    return re.sub(
        r"^export (?=\w)", "", re.sub(r'^import \{.*\} from "\./.*";\n', "", text, flags=re.M), flags=re.M
    )


def _read(name: str) -> str:
    return (VIEWS if name == VIEWS.name else SITE / name).read_text(encoding="utf-8")


def _json(data: object) -> str:
    """JSON that a script element may hold: nothing in it can end the element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
