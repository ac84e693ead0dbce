"""A corpus embedded by Ray Data: ``pip install 'ray[data]'``.

from minigte.integrations.ray import EmbedTexts

dataset.map_batches(
    EmbedTexts,
    fn_constructor_kwargs={"model": "thenlper/gte-small", "column": "text"},
    batch_format="pyarrow",
    num_cpus=2,
    compute=ray.data.ActorPoolStrategy(size=4),
)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minigte.errors import MissingDependencyError
from minigte.integrations.pyarrow import embed
from minigte.integrations.workers import loaded
from minigte.loading.sources import DEFAULT_MODEL

try:
    import ray
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.ray needs ray ({error}): pip install 'ray[data]'"
    ) from error

if TYPE_CHECKING:
    import pyarrow as pa


class EmbedTexts:
    """A class for ``map_batches``: Arrow tables in, the same with a column of vectors out.

    Each worker loads the model once, from its own disk, and computes in as many threads as ``num_cpus`` gives
    it. Vectors have the same bits on any number of workers, in batches of any size.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        column: str = "text",
        output_column: str = "embedding",
        *,
        nulls: str = "error",
        embedder_options: dict[str, Any] | None = None,
        **encode_options: Any,
    ) -> None:
        """``nulls`` is "error" or "keep".

        ``embedder_options`` go to ``Embedder``, ``encode_options`` to ``encode``.
        """
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        self._embedder = loaded(model, embedder_options or {}, max(1, int(cpus)))
        self._column, self._output = column, output_column
        self._options = {"show_progress_bar": False, "nulls": nulls, **encode_options}

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One batch."""
        return batch.append_column(self._output, embed(batch[self._column], self._embedder, **self._options))
