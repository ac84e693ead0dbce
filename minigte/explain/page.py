"""A trace as one HTML page that needs nothing else: no network, no server, no other file.

The page itself is ``page.html``, written by hand, with ``views.js`` in it; its numbers stand in it as
JSON. Attention probabilities are rounded to four decimals and a pair's part of the score to six, which is
what the page shows of them, and stored as deflated integers. With gte-small a text of 10 tokens makes a
page of 0.07 MB, one of 128 tokens 2.9 MB, one of 512 tokens 30 MB.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import minigte.version
from minigte.explain import SimilarityTrace, Trace
from minigte.explain.trace import PARTS
from minigte.vectors.pooling import pool, without_prompt

TEMPLATE = Path(__file__).with_name("page.html")
VIEWS = Path(__file__).with_name("views.js")  # a module, which the page of ``minigte page`` imports

PROBABILITY = 10_000  # the page holds probabilities in these units,
PART = 1_000_000  # and parts of a score in these
STRONGEST = 12  # neurons that are listed of a token and a layer,
ANSWERED = 0.5  # and those counted whose answer is above this


def page(explained: Trace | SimilarityTrace, *, layer: int = 0, head: int = 0) -> str:
    """The page of one text, or of two and their similarity; it opens at this layer and head."""
    traces = [explained] if isinstance(explained, Trace) else [explained.a, explained.b]
    spec = traces[0].config.spec
    data = {
        "layers": spec.num_hidden_layers,
        "heads": spec.num_attention_heads,
        "layer": layer,
        "head": head,
        "neurons": spec.intermediate_size,
        "lines": _lines(traces[0]),
        "texts": [_text(trace) for trace in traces],
        "similarity": None if isinstance(explained, Trace) else _similarity(explained),
    }
    views = re.sub(r"^export ", "", VIEWS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    template = TEMPLATE.read_text(encoding="utf-8").replace("{{views}}", views)
    values = {
        "title": html.escape(f"{traces[0].text:.60} – minigte explain"),
        "model": html.escape(Path(traces[0].model).name),  # of a folder its name, not its place
        "version": minigte.version.__version__,
        "style-hash": _hash(template, "style"),
        "script-hash": _hash(template, "script"),
        "data": _json(data),
    }
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda match: values[match[1]], template)


def _text(trace: Trace) -> dict[str, Any]:
    """What the page says of one text."""
    states = trace.hidden_states.astype(np.float64)  # (L + 1, T, D)
    offsets = np.array([0, len(trace.tokens)])
    pooled = np.stack(
        [
            pool(*without_prompt(state, offsets, trace.unpooled), trace.config.pooling_modes)[0]
            for state in trace.hidden_states
        ]
    )
    return {
        "text": trace.text,
        "tokens": trace.tokens,
        "input_ids": trace.input_ids,
        "is_cut": trace.is_cut,
        "attention": [_packed(layer, PROBABILITY, "<u2") for layer in trace.attentions],
        "lengths": _rounded(np.linalg.norm(pooled.astype(np.float64), axis=-1)),  # (L + 1,)
        "cosines": _rounded(_cosine(trace.layer_vectors.astype(np.float64))),  # (L + 1,)
        "token_lengths": _rounded(np.linalg.norm(states, axis=-1)),  # (L + 1, T)
        "token_cosines": _rounded(_cosine(states)),  # (L + 1, T)
        "written": _packed(trace.written, PROBABILITY, "<i4"),  # (L + 1, 2 L + 2, T)
        "added": _rounded(np.linalg.norm(trace.added.astype(np.float64), axis=-1)),  # (2 L, T)
        **_neurons(trace),
    }


def _neurons(trace: Trace) -> dict[str, Any]:
    """Of every layer and token the neurons of the feed-forward that answer most."""
    numbers, answers, above = [], [], []
    for name in trace.names_of("answers"):
        answer = trace[name].astype(np.float64)  # (T, F)
        order = np.argsort(-np.abs(answer), axis=-1, kind="stable")[:, :STRONGEST]
        numbers.append(order)
        answers.append(np.take_along_axis(answer, order, axis=-1))
        above.append((answer > ANSWERED).sum(axis=-1).tolist())
    return {
        "strongest": _packed(np.stack(numbers), 1, "<u2"),  # (L, T, STRONGEST)
        "answers": _packed(np.stack(answers), PROBABILITY, "<i4"),  # (L, T, STRONGEST)
        "above": above,  # (L, T)
    }


def _lines(trace: Trace) -> dict[str, dict[str, str]]:
    """Where the reference makes what the page shows, in the first layer, and how."""
    stages = {part: trace.stage(trace.names_of(part)[0]) for part in PARTS}
    return {part: {"where": stage.where, "source": stage.source} for part, stage in stages.items()}


def _similarity(explained: SimilarityTrace) -> dict[str, Any]:
    """What the page says of two texts together."""
    pairs = explained.pairs
    return {
        "function": explained.a.config.similarity_fn_name,
        "score": explained.score,
        "pairs": _packed(pairs, PART, "<i4"),
        "shares": [np.round(pairs.sum(axis=axis), 6).tolist() for axis in (1, 0)],  # (Ta,), (Tb,)
        "by_layer": _rounded(explained.by_layer),
    }


def _cosine(states: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cosine of each layer's state with the last: (L + 1, ..., D) -> (L + 1, ...)."""
    lengths = np.maximum(np.linalg.norm(states, axis=-1), 1e-12)
    cosine: npt.NDArray[np.float64] = (states * states[-1]).sum(axis=-1) / (lengths * lengths[-1])
    return cosine


def _rounded(values: npt.NDArray[np.float64]) -> Any:
    """To the four decimals that are shown."""
    return np.round(values, 4).tolist()


def _packed(values: npt.NDArray[Any], units: int, dtype: Literal["<u2", "<i4"]) -> str:
    """Whole multiples of 1 / units, as integers: first all their lowest bytes; deflated, in base64."""
    integers = np.rint(values.astype(np.float64) * units).astype(dtype).reshape(-1)
    planes = integers.view(np.uint8).reshape(len(integers), -1).T  # deflate makes less of them
    return base64.b64encode(zlib.compress(planes.tobytes(), level=6)).decode()


def _json(data: object) -> str:
    """JSON that a script element may hold: nothing in it can end the element or a line of JavaScript."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(template: str, name: Literal["style", "script"]) -> str:
    """What the page's Content-Security-Policy calls its one style or script element by."""
    [content] = re.findall(rf"<{name}>(.*?)</{name}>", template, re.DOTALL)
    return policy_hash(content)


def policy_hash(content: str) -> str:
    """What a Content-Security-Policy calls an element's content by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
