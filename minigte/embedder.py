"""The Embedder: text to vectors, its steps visible.

text -> input_ids -> packed batches -> hidden states -> pooling -> L2 norm -> the caller's order
"""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.backend import choose_backend, load_backend, memory_needed
from minigte.errors import CheckpointError, InputError
from minigte.loading.config import assumption_warning, read_config, read_prompts
from minigte.loading.sources import DEFAULT_MODEL, find_model
from minigte.loading.weights import count_parameters, load_weights
from minigte.reference.observe import Observe, ignore
from minigte.runtime.progress import progress_bar
from minigte.runtime.resources import require_memory
from minigte.tokenizing.packing import pack
from minigte.tokenizing.texts import as_list, chunks
from minigte.tokenizing.tokenizer import Tokenizer, cut_warning
from minigte.vectors.pooling import normalize, pool
from minigte.vectors.quantization import PRECISIONS, quantize_embeddings
from minigte.vectors.search import Hit, semantic_search
from minigte.vectors.similarity import comparable, pairwise, similarity_function

if TYPE_CHECKING:
    from minigte.explain import SimilarityTrace, Trace


CHUNK_TEXTS = 1024  # an iterable of texts is read, ordered by length and embedded this many at a time
BATCH_TOKENS = 2048  # bounds the memory of a forward pass, whatever batch_size says
NO_PROMPTS = {"query": "", "document": ""}  # what a model that says nothing puts in front of either


class Embedder:
    """A text embedding model of the BERT family; it never changes, so one Embedder serves many threads."""

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        dtype: str = "float32",
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        """Load a model from a folder, or by name from a cache or a download.

        ``revision``, ``cache_folder``, ``local_files_only``: see ``sources.find_model``.
        ``prompts``: texts to put in front, by name, beside the model's own or in their place.
        ``max_seq_length``: cut texts to fewer tokens than the model could read.
        ``truncate_dim``: keep only this many leading components of each vector.
        ``dtype``: what the matrix products are computed in, "float32", "bfloat16" or "int8".
        ``backend``: "numba", "numpy", or "auto", which is Numba where it works; see ``backend_name``.
        ``threads``: how many share the work; None is as many as the process may use.

        Raises a MinigteError that names the file or argument at fault.
        """
        self._arguments = {**locals()}  # so far there is nothing else
        del self._arguments["self"]
        self.backend_name = choose_backend(backend, dtype, threads)
        self.source = find_model(
            model_name_or_path,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
        )
        self.config = read_config(self.source.folder)
        if self.config.assumes_pooling:
            warnings.warn(assumption_warning(self.source.folder), stacklevel=2)
        self.prompts = {**NO_PROMPTS, **self.config.prompts, **read_prompts("Embedder", prompts)}
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name
        if self.default_prompt_name is not None:
            self._prompt(self.default_prompt_name, None)
        limit = self.config.max_seq_length
        if max_seq_length is not None and not 1 <= max_seq_length <= limit:
            raise InputError(f"max_seq_length must be from 1 to {limit}, not {max_seq_length}")
        self.truncate_dim = self._check_truncate_dim(truncate_dim) or self.config.truncate_dim
        self.tokenizer = self._load_tokenizer(max_seq_length or limit)
        self._tokenizers = {  # by task, for the models whose queries or documents are cut to another length
            task: self._load_tokenizer(length)
            for task, length in (
                ("query", self.config.query_length),
                ("document", self.config.document_length),
            )
            if length is not None
        }
        needed = memory_needed(self.backend_name, self.config, dtype)
        smaller = "use a smaller model" if dtype == "int8" else "use dtype='int8' or a smaller model"
        require_memory(needed, f"{self.source.name} in {dtype}", smaller)
        weights = load_weights(self.source.folder, self.config)
        self.num_parameters = count_parameters(weights)
        self._weights = weights if self.backend_name == "numpy" else None  # an engine packs its own
        self.backend = load_backend(self.backend_name, self.config, weights, dtype=dtype, threads=threads)

    def __repr__(self) -> str:
        return f"Embedder({self.source.name!r}, dtype={self.backend.dtype!r}, backend={self.backend_name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled or copied, an Embedder is its arguments, and the copy loads the model anew."""
        return functools.partial(type(self), **self._arguments), ()

    @property
    def embedding_dimension(self) -> int:
        """D, the number of components of a vector, after ``truncate_dim``."""
        return self.truncate_dim or self.config.embedding_dimension

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read; for fewer make an Embedder with ``max_seq_length``."""
        return self.tokenizer.max_seq_length

    def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 256,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: str = "warn",
        task: str | None = None,
    ) -> Any:
        """Embed texts: a str gives (D,), an iterable of B texts gives (B, D) in its order.

        The arguments are those of sentence-transformers:

        ``prompt_name``, ``prompt``: text to put in front of each text, by its name or itself.
        ``batch_size``: at most this many texts, and at most BATCH_TOKENS tokens, in one forward pass.
        ``show_progress_bar``: None shows one on a terminal when the work takes seconds.
        ``output_value``: "sentence_embedding", or "token_embeddings" for one (T, D) array per text.
        ``precision``: "float32", "int8", "uint8", "binary" or "ubinary"; see ``quantize_embeddings``.
        ``normalize_embeddings``: scale to length 1 at the end, also where the model itself does not, or
        where ``truncate_dim`` has cut its unit vectors.
        ``truncation``: of texts longer than ``max_seq_length`` tokens: "warn" cuts them and warns once,
        "ignore" cuts them, "error" raises InputTooLongError.
        ``task``: "query" or "document", for models that cut either to a length of its own; see
        ``encode_query``.

        Raises InputError, which names the position, for anything that is not text.
        """
        _check_choice("precision", precision, PRECISIONS)
        stream = self.encode_stream(
            [sentences] if isinstance(sentences, str) else sentences,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
            truncation=truncation,
            task=task,
        )
        if output_value == "token_embeddings":
            rows = list(itertools.chain.from_iterable(stream))
            return rows[0] if isinstance(sentences, str) else rows
        dim = self._check_truncate_dim(truncate_dim) or self.embedding_dimension
        embeddings = np.concatenate([np.empty((0, dim), np.float32), *stream])  # (B, dim)
        return quantize_embeddings(embeddings[0] if isinstance(sentences, str) else embeddings, precision)

    def encode_stream(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 256,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: str = "warn",
        task: str | None = None,
        start: int = 0,
    ) -> Iterator[Any]:
        """``encode`` in bounded memory: yields (at most CHUNK_TEXTS, D) vectors at a time, in order.

        ``sentences`` may be a generator of any length; as many are read as are yielded. ``start`` is how many
        texts came before them in an earlier call; errors and the progress bar count on from there.
        """
        _check_choice("output_value", output_value, ("sentence_embedding", "token_embeddings"))
        _check_choice("truncation", truncation, ("warn", "ignore", "error"))
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number from 1, not {batch_size!r}")
        dim = self._check_truncate_dim(truncate_dim) or self.truncate_dim
        prefix = self._prompt(prompt_name, prompt)
        tokenizer = self.tokenizer if task is None else self._tokenizers.get(task, self.tokenizer)
        seen = cut = 0
        with progress_bar(show_progress_bar, sentences, start) as progress:
            for chunk in chunks(sentences, CHUNK_TEXTS):
                tokenized = tokenizer.tokenize(
                    chunk, prefix=prefix, start=start + seen, refuse_long=truncation == "error"
                )
                cut += sum(text.is_cut for text in tokenized)
                seen += len(chunk)
                input_ids = [text.input_ids for text in tokenized]
                vectors: list[Float32] = [np.empty(0, np.float32)] * len(chunk)
                batches = pack(input_ids, max_texts=batch_size, max_tokens=BATCH_TOKENS)
                for batch, hidden in self.backend.last_hidden_states(batches):  # (N, D)
                    if output_value == "token_embeddings":
                        self._check_finite(hidden)
                        rows: Sequence[Float32] = [
                            text.copy() for text in np.split(hidden, batch.offsets[1:-1])
                        ]  # B of (T, D)
                    else:
                        rows = list(
                            self._pool(hidden, batch.offsets, dim, normalize_embeddings)
                        )  # B of (dim,)
                    for i, row in zip(batch.index, rows, strict=True):
                        vectors[i] = row  # back to the caller's order
                    if progress is not None:
                        progress.update(len(batch.index))
                yield vectors if output_value == "token_embeddings" else np.stack(vectors)
        if cut and truncation == "warn":
            warnings.warn(cut_warning(cut, seen, tokenizer.max_seq_length), stacklevel=3)

    def encode_query(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """``encode`` of the task "query" with its prompt, unless ``options`` name another prompt."""
        return self.encode(sentences, **_with_prompt("query", options))

    def encode_document(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """``encode`` of the task "document" with its prompt, unless ``options`` name another prompt."""
        return self.encode(sentences, **_with_prompt("document", options))

    def similarity(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of every pair: (A, D), (B, D) -> (A, B). A single vector is (1, D)."""
        return similarity_function(self.config.similarity_fn_name)(*comparable(embeddings1, embeddings2))

    def similarity_pairwise(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of each row with its counterpart: (B, D), (B, D) -> (B,)."""
        return pairwise(self.config.similarity_fn_name, embeddings1, embeddings2)

    def semantic_search(
        self, queries: str | Iterable[str], corpus: Iterable[str], top_k: int = 10, **options: Any
    ) -> list[list[Hit]]:
        """For each query the ``top_k`` most similar texts of the corpus, best first.

        The corpus may be a generator of any length: ``CHUNK_TEXTS`` texts are held at a time. ``options``
        go to ``encode``. Gives one list of {"corpus_id": position, "score": similarity} per query.
        """
        query_embeddings = np.atleast_2d(self.encode_query(queries, **options))
        chunks = self.encode_stream(corpus, **_with_prompt("document", options))
        return semantic_search(query_embeddings, chunks, top_k, self.config.similarity_fn_name)

    def tokenize(self, sentences: str | Iterable[str]) -> dict[str, Any]:
        """The ids the model would see, cut to ``max_seq_length``: {"input_ids": ..., "token_type_ids": ...}.

        One list of ids per text, without padding; for a str, its list alone.
        """
        input_ids = [text.input_ids for text in self.tokenizer.tokenize(as_list(sentences))]
        token_type_ids = [[0] * len(ids) for ids in input_ids]
        both = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        return {name: ids[0] for name, ids in both.items()} if isinstance(sentences, str) else both

    def count_tokens(self, sentences: str | Iterable[str]) -> Any:
        """How many tokens each text has, special tokens included, before any cut; an int for a str."""
        counts = self.tokenizer.count(as_list(sentences))
        return counts[0] if isinstance(sentences, str) else counts

    def explain(
        self,
        text: str,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncation: str = "warn",
    ) -> Trace:
        """Every number on the way from a text to its vector, by name: see ``minigte.explain.Trace``.

        The reference computes it in float32, whatever the backend: ``vector`` is that of ``encode`` with
        backend="numpy". The engine keeps its weights packed, so they are read from the folder again and
        dropped at the end (gte-small: 0.3 s, 133 MB); with backend="numpy" they are there. The arguments
        are those of ``encode``.
        """
        from minigte.explain.trace import Text, trace

        _check_choice("truncation", truncation, ("warn", "ignore", "error"))
        prefix = self._prompt(prompt_name, prompt)
        [tokenized] = self.tokenizer.tokenize([text], prefix=prefix, refuse_long=truncation == "error")
        if tokenized.is_cut and truncation == "warn":
            warnings.warn(cut_warning(1, 1, self.max_seq_length), stacklevel=2)
        tokens = self.tokenizer.tokens(tokenized.input_ids)
        pool = functools.partial(
            self._pool, offsets=np.array([0, len(tokens)]), dim=self.truncate_dim, normalize_embeddings=False
        )  # (T, D) -> (1, dim)
        weights = self._weights or load_weights(self.source.folder, self.config)
        ids = tuple(tokenized.input_ids)
        whole = Text(self.source.name, self.config, prefix + text, tuple(tokens), ids, tokenized.is_cut)
        return trace(whole, weights, pool)

    def explain_similarity(self, a: str | Trace, b: str | Trace) -> SimilarityTrace:
        """Which pairs of tokens carry the similarity of two texts, and how it grows layer by layer.

        A text is explained with the default prompt; for another give its ``explain``. See
        ``minigte.explain.SimilarityTrace``. Raises InputError where the model's similarity is neither
        cosine nor dot, because no other is a sum over pairs of tokens.
        """
        from minigte.explain.similarity import trace_similarity

        traces = [self.explain(text) if isinstance(text, str) else text for text in (a, b)]
        return trace_similarity(*traces)

    def _pool(
        self,
        hidden: Float32,
        offsets: npt.NDArray[np.int64],
        dim: int | None,
        normalize_embeddings: bool,
        observe: Observe = ignore,
    ) -> Float32:
        """One vector per text: the model's pooling and norm, then the caller's cut and norm, -> (B, dim)."""
        with np.errstate(all="ignore"):
            vectors = pool(hidden, offsets, self.config.pooling_modes)  # (N, D) -> (B, D)
            self._check_finite(
                np.einsum("bd,bd->b", vectors, vectors)
            )  # what the L2 norm divides by, squared
        observe("pooled", vectors)
        if self.config.normalize:
            vectors = normalize(vectors)
            observe("normalized", vectors)
        vectors = vectors[:, :dim]
        return normalize(vectors) if normalize_embeddings else vectors

    def _load_tokenizer(self, max_seq_length: int) -> Tokenizer:
        return Tokenizer(
            self.source.folder / self.config.transformer,
            self.config.tokenizer,
            vocab_size=self.config.encoder.vocab_size,
            max_seq_length=max_seq_length,
            do_lower_case=self.config.do_lower_case,
        )

    def _check_finite(self, values: Float32) -> None:
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self.source.folder}: the weights make float32 overflow: get them again")

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        """The text to put in front: ``prompt``, or the one named, or the default one, or none."""
        if prompt is not None:
            return prompt
        name = prompt_name or self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            raise InputError(f"unknown prompt_name {name!r} (known: {', '.join(self.prompts)})")
        return self.prompts[name]

    def _check_truncate_dim(self, dim: int | None) -> int | None:
        if dim is not None and not 1 <= dim <= self.config.embedding_dimension:
            raise InputError(f"truncate_dim must be from 1 to {self.config.embedding_dimension}, not {dim}")
        return dim


def _with_prompt(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` with the task of this name, and where they ask for no prompt, with that of this name."""
    asked = options.get("prompt_name") is not None or options.get("prompt") is not None
    return {"task": name, **options} if asked else {"task": name, **options, "prompt_name": name}


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"unknown {name} {value!r} (known: {', '.join(choices)})")
