"""A corpus embedded by Spark: ``pip install pyspark pandas pyarrow``.

from minigte.integrations.spark import embed_udf, with_embeddings

frame.withColumn("embedding", embed_udf("thenlper/gte-small")("text"))
with_embeddings(frame, "thenlper/gte-small")  # the same by mapInPandas
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from minigte.errors import MissingDependencyError
from minigte.integrations.columns import check_column, encode_column
from minigte.integrations.workers import loaded
from minigte.loading.sources import DEFAULT_MODEL

try:
    import pandas as pd
    from pyspark import TaskContext
    from pyspark.sql.functions import pandas_udf
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.spark needs pyspark, pandas and pyarrow ({error}): "
        "pip install pyspark pandas pyarrow"
    ) from error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VECTOR = ArrayType(FloatType(), containsNull=False)


def embed_udf(
    model: str = DEFAULT_MODEL,
    *,
    nulls: str = "error",
    embedder_options: dict[str, Any] | None = None,
    **encode_options: Any,
) -> Callable[..., Any]:
    """A function of a column of texts that gives their vectors, ARRAY<FLOAT>.

    A Python worker loads the model once, from its own disk, and computes in as many threads as
    ``spark.task.cpus`` gives a task. ``nulls`` is "error" or "keep". ``embedder_options`` go to ``Embedder``,
    ``encode_options`` to ``encode``.
    """
    given = dict(embedder_options or {})

    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for texts in batches:
            yield pd.Series(_vectors(texts, model, given, nulls, encode_options))

    # The engine reads the kind of function from its hints, which must be types and not their names.
    embed.__annotations__ = {"batches": Iterator[pd.Series], "return": Iterator[pd.Series]}
    return pandas_udf(embed, VECTOR)


def with_embeddings(
    frame: DataFrame,
    model: str = DEFAULT_MODEL,
    column: str = "text",
    output_column: str = "embedding",
    *,
    nulls: str = "error",
    embedder_options: dict[str, Any] | None = None,
    **encode_options: Any,
) -> DataFrame:
    """The frame with a column of vectors, by ``mapInPandas``; the arguments are those of ``embed_udf``."""
    check_column(column, frame.columns)
    given = dict(embedder_options or {})

    def embed(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            vectors = _vectors(batch[column], model, given, nulls, encode_options)
            yield batch.assign(**{output_column: vectors})

    schema = StructType([*frame.schema.fields, StructField(output_column, VECTOR)])
    return frame.mapInPandas(embed, schema)


def _vectors(
    texts: pd.Series, model: str, embedder_options: dict[str, Any], nulls: str, options: dict[str, Any]
) -> list[Any]:
    """A vector or None for each text."""
    context = TaskContext.get()
    embedder = loaded(model, embedder_options, context.cpus() if context else 1)
    is_null = texts.isna().to_numpy(bool)
    vectors = encode_column(
        embedder, texts.tolist(), is_null, nulls, **{"show_progress_bar": False, **options}
    )
    return [None if null else vector for null, vector in zip(is_null, vectors, strict=True)]
