"""The CrossEncoder: pairs of texts to scores, its steps visible.

pair -> input_ids and token types -> packed batches -> hidden states -> the head's logits -> activation
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from minigte.arrays import Float32
from minigte.backend import choose_backend, load_model
from minigte.calls.arguments import TRUNCATIONS, one_of, whole_number, yes_or_no
from minigte.calls.caller import warn_caller
from minigte.calls.sentence_transformers import (
    BACKENDS,
    PREDICT_OPTIONS,
    RANK_OPTIONS,
    RERANKER_OPTIONS,
    Model,
    accept,
    takes_old_names,
)
from minigte.errors import CheckpointError, InputError
from minigte.loading.cross_encoder_config import ACTIVATION_FNS, ActivationFn, read_cross_encoder_config
from minigte.loading.sources import find_again, find_model
from minigte.loading.weights import load_classification_head
from minigte.reference.heads import classify
from minigte.runtime.progress import Progress
from minigte.tokenizing.packing import BATCH_TOKENS, pack
from minigte.tokenizing.tokenizer import Tokenizer, cut_warning

if TYPE_CHECKING:
    from typing_extensions import NotRequired, Unpack

    from minigte.calls.signatures import PredictOptions, RankOptions, RerankerOptions

    class Ranked(TypedDict):
        """A document that was ranked."""

        corpus_id: int  # its place among the documents
        score: float
        text: NotRequired[str]  # where ``return_documents`` was asked for


# The attributes that a copy loads anew.
LOADED = ("tokenizer", "_head", "backend")

CHUNK_PAIRS = 1024  # pairs are read, ordered by length and scored this many at a time

logger = logging.getLogger(__name__)


class CrossEncoder(Model):
    """A model that reads two texts at once and scores them; any number of threads may use one at once.

    As in sentence-transformers, ``activation_fn`` and ``max_seq_length`` can be assigned; a call uses the
    values it finds at its start.
    """

    @takes_old_names(
        model_name="model_name_or_path",
        default_activation_function="activation_fn",
        automodel_args="model_kwargs",
        tokenizer_args="tokenizer_kwargs",
        config_args="config_kwargs",
        cache_dir="cache_folder",
    )
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: ActivationFn | None = None,
        revision: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        dtype: str = "float32",
        backend: str = "auto",
        threads: int | None = None,
        **others: Unpack[RerankerOptions],
    ) -> None:
        """Load a model from a folder, or by name from a cache or a download.

        ``num_labels``: how many scores a pair has, if config.json does not say.
        ``max_length``: cut pairs to fewer tokens than the model could read.
        ``activation_fn``: what is applied to the logits, an array (B, labels), in place of the model's own.
        The others are those of ``Embedder``.

        Raises a MinigteError that names the file or argument at fault.
        """
        accept("CrossEncoder", others, RERANKER_OPTIONS)
        backend = BACKENDS.get(backend, backend)
        choose_backend(backend, dtype, threads)  # raises before anything is fetched
        self._computing = backend, dtype, threads
        self._cache_folder = cache_folder
        if num_labels is not None:
            num_labels = whole_number("num_labels", num_labels, 1)
        self.source = find_model(
            model_name_or_path,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=yes_or_no("local_files_only", local_files_only),
            token=token,
        )
        self.config = read_cross_encoder_config(self.source.folder, num_labels)
        self.activation_fn = _activation_fn(activation_fn) or ACTIVATION_FNS[self.config.activation_fn]
        self._load(self.config.model.max_seq_length if max_length is None else max_length, "max_length")

    def _load(self, max_seq_length: int, name: str = "max_seq_length") -> None:
        """Read the tokenizer and the weights of ``source``, and build the backend."""
        start = time.perf_counter()
        backend, dtype, threads = self._computing
        model = self.config.model
        self.tokenizer = self._load_tokenizer(max_seq_length, name)
        self._head = load_classification_head(
            self.source.folder, model, self.config.classification_head, self.config.num_labels
        )
        self.backend_name = choose_backend(backend, dtype, threads)
        self.backend, _ = load_model(
            self.backend_name,
            self.source,
            model,
            dtype=dtype,
            threads=threads,
            cache_folder=self._cache_folder,
        )
        logger.info("%r from %s, loaded in %.2f s", self, self.source.folder, time.perf_counter() - start)

    def _load_tokenizer(self, max_seq_length: int, name: str) -> Tokenizer:
        """Make one that cuts pairs to so many tokens; ``name`` is what errors call the length."""
        model = self.config.model
        return Tokenizer(
            self.source.folder,
            model.tokenizer,
            vocab_size=model.spec.vocab_size,
            max_seq_length=whole_number(name, max_seq_length, 1, model.max_seq_length),
            do_lower_case=model.do_lower_case,
            for_pairs=True,
            length_name=name,
        )

    @takes_old_names(sentences="inputs", activation_fct="activation_fn")
    def predict(
        self,
        inputs: Sequence[str] | Iterable[Sequence[str]],
        prompt_name: None = None,
        prompt: None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: ActivationFn | None = None,
        apply_softmax: bool | None = False,
        *,
        truncation: str = "warn",
        **others: Unpack[PredictOptions],
    ) -> Float32:
        """Score pairs of texts: B pairs give (B,) scores, or (B, labels) where a pair has several.

        ``inputs``: pairs, or one pair. One pair gives its score, or (labels,) scores, without the first axis.
        ``prompt_name``, ``prompt``: None; minigte puts no prompt before a pair.
        ``batch_size``: at most this many pairs, and at most 2,048 tokens, in one forward pass.
        ``show_progress_bar``: None shows one on a terminal when the work takes seconds.
        ``activation_fn``: what is applied to the logits, in place of the model's own.
        ``apply_softmax``: make the scores of a pair's several labels sum to 1.
        ``truncation``: of pairs longer than ``max_seq_length`` tokens: "warn" cuts them and warns once,
        "ignore" cuts them, "error" raises InputTooLongError. The longer text is cut first.
        ``others``: arguments about torch, where they change nothing.

        Raises InputError for anything that is not a pair of texts, and names its position.
        """
        accept("predict", {"prompt_name": prompt_name, "prompt": prompt, **others}, PREDICT_OPTIONS)
        one_of("truncation", truncation, TRUNCATIONS)
        batch_size = whole_number("batch_size", batch_size, 1)
        activate = _activation_fn(activation_fn) or self.activation_fn
        pairs, is_single = _pairs(inputs)
        chunks = []
        with Progress(show_progress_bar, [a for a, _ in pairs], 0) as progress:
            for start in range(0, len(pairs), CHUNK_PAIRS):
                chunk = pairs[start : start + CHUNK_PAIRS]
                chunks.append(self._logits(chunk, batch_size, progress, refuse_long=truncation == "error"))
        if progress.cut:
            message = cut_warning(progress.cut, progress.texts, self.max_seq_length, "pairs")
            logger.info("%s", message)
            if truncation == "warn":
                warn_caller(message)
        logits = np.concatenate([np.empty((0, self.num_labels), np.float32), *chunks])  # (B, labels)
        scores: Float32 = np.asarray(activate(logits))
        if self.num_labels == 1:
            scores = scores.reshape(len(pairs))
        elif apply_softmax:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
            scores /= scores.sum(axis=1, keepdims=True)
        return scores[0] if is_single else scores

    @takes_old_names(activation_fct="activation_fn")
    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: None = None,
        prompt: None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: ActivationFn | None = None,
        *,
        truncation: str = "warn",
        **others: Unpack[RankOptions],
    ) -> list[Ranked]:
        """Order documents by how well they answer the query, best first, ties by position.

        Gives {"corpus_id": position, "score": score} for each, and its "text" with ``return_documents``;
        ``top_k`` is how many, None for all. The other arguments are those of ``predict``.

        Raises InputError where the model gives a pair several scores.
        """
        accept("rank", {"prompt_name": prompt_name, "prompt": prompt, **others}, RANK_OPTIONS)
        if self.num_labels != 1:
            raise InputError(
                f"rank needs a model with one score for a pair, and {self.source.name} has "
                f"{self.num_labels}: use predict"
            )
        if top_k is not None:
            top_k = whole_number("top_k", top_k, 1)
        if isinstance(documents, str):
            raise InputError("documents must be an iterable of str, not one str: put it in a list")
        texts = list(documents)
        scores = self.predict(
            [(query, text) for text in texts],
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
            truncation=truncation,
        ).tolist()
        order = sorted(range(len(texts)), key=scores.__getitem__, reverse=True)[:top_k]
        ranked: list[Ranked] = [{"corpus_id": i, "score": scores[i]} for i in order]
        if return_documents:
            for hit in ranked:
                hit["text"] = texts[hit["corpus_id"]]
        return ranked

    def _logits(
        self, pairs: list[tuple[str, str]], batch_size: int, progress: Progress, *, refuse_long: bool
    ) -> Float32:
        """The steps, for some pairs: -> (B, labels)."""
        tokenized = self.tokenizer.tokenize_pairs(pairs, start=progress.position, refuse_long=refuse_long)
        progress.read(len(pairs), sum(pair.is_cut for pair in tokenized))
        batches = pack(
            [pair.input_ids for pair in tokenized],
            max_texts=batch_size,
            max_tokens=BATCH_TOKENS,
            token_type_ids=[pair.token_type_ids for pair in tokenized] if self._has_token_types else None,
        )
        logits = np.empty((len(pairs), self.num_labels), np.float32)
        for batch, hidden in self.backend.last_hidden_states(batches):  # (N, D)
            with np.errstate(all="ignore"):
                logits[batch.index] = classify(
                    self.config.classification_head, self._head, hidden, batch.offsets
                )
            progress.embedded(len(batch.index))
        if not np.isfinite(logits).all():
            raise CheckpointError(
                f"{self.source.folder}: the weights make float32 overflow: download them again"
            )
        return logits

    @property
    def _has_token_types(self) -> bool:
        model = self.config.model
        return model.tokenizer.tells_texts_apart and model.spec.type_vocab_size > 0

    @property
    def num_labels(self) -> int:
        """How many scores a pair has."""
        return self.config.num_labels

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a pair are read, special tokens included."""
        return self.tokenizer.max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        vars(self)["tokenizer"] = self._load_tokenizer(length, "max_seq_length")

    max_length = max_seq_length  # its name before sentence-transformers 5.4

    def get_max_seq_length(self) -> int:
        """``max_seq_length``."""
        return self.max_seq_length

    @property
    def default_activation_function(self) -> ActivationFn:
        """``activation_fn``: its name before sentence-transformers 4."""
        return self.activation_fn

    def __repr__(self) -> str:
        name = self.source.name
        return f"CrossEncoder({name!r}, dtype={self.backend.dtype!r}, backend={self.backend_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickled or copied, a CrossEncoder is its settings and where its model was found."""
        state = {name: value for name, value in vars(self).items() if name not in LOADED}
        return {**state, "max_seq_length": self.max_seq_length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the same model anew."""
        length = state.pop("max_seq_length")
        vars(self).update(state, source=find_again(state["source"]))
        self._load(length)


def _activation_fn(given: Any) -> ActivationFn | None:
    """The function of arrays that an argument means; one of torch's modules is known by its class."""
    if given is None:
        return None
    kind = type(given)
    if kind.__module__.partition(".")[0] != "torch":
        if callable(given):
            return given
    elif kind.__name__ in ACTIVATION_FNS and repr(given) == repr(kind()):  # with arguments it is another
        return ACTIVATION_FNS[kind.__name__]
    raise InputError(
        "activation_fn must be a function of a NumPy array, or an activation of torch.nn made without "
        f"arguments, not {given!r}"
    )


def _pairs(inputs: Any) -> tuple[list[tuple[str, str]], bool]:
    """The pairs, and whether it was one alone."""
    if isinstance(inputs, str) or not isinstance(inputs, Iterable):
        raise InputError(f"inputs must be pairs of texts, not {type(inputs).__name__}")
    given = list(inputs)
    is_single = bool(given) and isinstance(given[0], str)
    pairs = []
    for position, pair in enumerate([given] if is_single else given):
        where = "inputs" if is_single else f"inputs[{position}]"
        if isinstance(pair, (str, bytes, dict, set)) or not isinstance(pair, Iterable):
            raise InputError(f"{where} is {type(pair).__name__}, not a pair of texts")
        texts = tuple(pair)
        if len(texts) != 2:
            raise InputError(f"{where} has {len(texts)} texts, not two")
        pairs.append(texts)
    return pairs, is_single
