"""One Embedder in a worker process of an engine that shares work out, whatever the engine."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from minigte.embedder import Embedder
from minigte.errors import InputError


def loaded(model: str, options: Mapping[str, Any], threads: int) -> Embedder:
    """The Embedder of this process for these arguments: loaded once, its weights mapped from disk.

    ``options`` go to ``Embedder``; where ``threads`` is among them it counts.
    """
    try:
        key = json.dumps(options, sort_keys=True)
    except TypeError as error:
        raise InputError(
            f"the options must be texts, numbers and lists, to be sent to workers: {error}"
        ) from None
    return _loaded(model, key, threads)


@functools.lru_cache(maxsize=4)
def _loaded(model: str, options: str, threads: int) -> Embedder:
    given = json.loads(options)
    embedder = Embedder(model, **{"threads": threads, **given})
    if embedder.backend_name == "numpy":
        raise InputError(
            "the numpy backend's bits depend on how texts are divided: install numba, or built kernels"
        )
    return embedder
