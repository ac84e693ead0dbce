"""minigte inside scikit-learn: ``pip install scikit-learn``.

from minigte.integrations.sklearn import MinigteTransformer

pipeline = make_pipeline(MinigteTransformer("thenlper/gte-small"), LogisticRegression())

BERTopic takes pipelines: ``BERTopic(embedding_model=make_pipeline(MinigteTransformer(...)))``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minigte.arrays import Matrix
from minigte.embedder import Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.loading.sources import DEFAULT_MODEL

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.sklearn needs scikit-learn ({error}): pip install scikit-learn"
    ) from error

if TYPE_CHECKING:
    from sklearn.utils import Tags
    from typing_extensions import Self


class MinigteTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns a sequence of texts into (B, D) float32 vectors; ``fit`` loads the model and learns nothing.

    Pickled, it is the model's name and its settings; the weights stay where they are.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
        batch_size: int = 256,
        dtype: str = "float32",
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        """``model``, ``truncate_dim``, ``dtype``, ``backend``, ``threads``: as in ``minigte.Embedder``.

        ``prompt``, ``normalize_embeddings``, ``batch_size``: as in ``Embedder.encode``.
        """
        self.model = model
        self.prompt = prompt
        self.truncate_dim = truncate_dim
        self.normalize_embeddings = normalize_embeddings
        self.batch_size = batch_size
        self.dtype = dtype
        self.backend = backend
        self.threads = threads

    def fit(self, X: Iterable[str], y: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Load the model; of the texts and ``y`` nothing is used."""
        self.embedder_ = Embedder(
            self.model,
            truncate_dim=self.truncate_dim,
            dtype=self.dtype,
            backend=self.backend,
            threads=self.threads,
        )
        return self

    def transform(self, X: Iterable[str]) -> Matrix:  # noqa: N803
        """(B, D) vectors of B texts."""
        check_is_fitted(self)
        if isinstance(X, str):
            raise InputError("transform takes a sequence of texts, and this is one str: put it in a list")
        return self.embedder_.encode(
            X,
            prompt=self.prompt,
            normalize_embeddings=self.normalize_embeddings,
            batch_size=self.batch_size,
            show_progress_bar=False,
        )

    @property
    def _n_features_out(self) -> int:
        """How many components a vector has, from which their names are made."""
        return self.embedder_.embedding_dimension

    def __sklearn_tags__(self) -> Tags:
        """It takes texts, not numbers, and gives float32."""
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
