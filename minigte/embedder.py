"""The Embedder: text to vectors, its steps visible.

text -> input_ids -> packed batches -> hidden states -> pooling -> L2 norm -> the caller's order
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.backend import load_backend
from minigte.batching import pack
from minigte.checkpoint import count_parameters, load_weights
from minigte.config import read_config, read_prompts
from minigte.errors import InputError, InputTooLongError, TruncationWarning
from minigte.pooling import normalize, pool
from minigte.precision import PRECISIONS, quantize_embeddings
from minigte.similarity import SIMILARITY_FUNCTIONS, Hit, pairwise, semantic_search
from minigte.sources import DEFAULT_MODEL, find_model
from minigte.tokenization import Tokenized, Tokenizer

Float32 = npt.NDArray[np.float32]

CHUNK_TEXTS = 1024  # an iterable of texts is read, ordered by length and embedded this many at a time
BATCH_TOKENS = 2048  # bounds the memory of a forward pass, whatever batch_size says
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # a document's prompt, by the names in use
PROGRESS_DELAY = 3.0  # seconds of work after which a terminal is shown a progress bar


class Embedder:
    """A text embedding model: gte-small, or another of the BERT family.

    It changes nothing after construction, so one Embedder serves many threads.
    """

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
    ) -> None:
        """Load a model from a folder, or by name from a cache or a download.

        ``revision``, ``cache_folder``, ``local_files_only``: see ``sources.find_model``.
        ``prompts``: texts to put in front, by name, in place of the model's own.
        ``max_seq_length``: cut texts to fewer tokens than the model could read.
        ``truncate_dim``: keep only this many leading components of each vector.
        ``dtype``: what the matrix products are computed in. ``backend``: "auto" or "numpy".

        Raises a MinigteError that names the file or argument at fault.
        """
        self.source = find_model(
            model_name_or_path,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
        )
        self.config = read_config(self.source.folder)
        self.prompts = read_prompts("Embedder", prompts) if prompts is not None else dict(self.config.prompts)
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name
        if self.default_prompt_name is not None:
            self._prompt(self.default_prompt_name, None)
        limit = self.config.max_seq_length
        if max_seq_length is not None and not 1 <= max_seq_length <= limit:
            raise InputError(f"max_seq_length must be from 1 to {limit}, not {max_seq_length}")
        self.max_seq_length = max_seq_length or limit
        self.truncate_dim = self._check_truncate_dim(truncate_dim)
        self.tokenizer = Tokenizer(self.source.folder, self.config, self.max_seq_length)
        weights = load_weights(self.source.folder, self.config)
        self.num_parameters = count_parameters(weights)
        self.backend = load_backend(self.config, weights, backend=backend, dtype=dtype)

    def __repr__(self) -> str:
        return f"Embedder({self.source.name!r}, dtype={self.backend.dtype!r}, backend={self.backend.name!r})"

    @property
    def embedding_dimension(self) -> int:
        """D, the number of components of a vector, after ``truncate_dim``."""
        return self.truncate_dim or self.config.embedding_dimension

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
    ) -> Iterator[Any]:
        """``encode`` in bounded memory: yields (at most CHUNK_TEXTS, D) vectors at a time, in order.

        ``sentences`` may be a generator of any length; as many are read as are yielded.
        """
        _check_choice("output_value", output_value, ("sentence_embedding", "token_embeddings"))
        _check_choice("truncation", truncation, ("warn", "ignore", "error"))
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        dim = self._check_truncate_dim(truncate_dim) or self.truncate_dim
        prefix = self._prompt(prompt_name, prompt)
        seen = cut = 0
        with _progress(show_progress_bar, sentences) as progress:
            for chunk in _chunks(sentences):
                tokenized = self._tokenize(chunk, prefix, seen, refuse_long=truncation == "error")
                cut += sum(text.num_tokens > self.max_seq_length for text in tokenized)
                seen += len(chunk)
                input_ids = [text.input_ids for text in tokenized]
                vectors: list[Float32] = [np.empty(0, np.float32)] * len(chunk)
                batches = pack(input_ids, max_texts=batch_size, max_tokens=BATCH_TOKENS)
                for batch, hidden in self.backend.last_hidden_states(batches):  # (N, D)
                    if output_value == "token_embeddings":
                        rows: Sequence[Float32] = [
                            text.copy() for text in np.split(hidden, batch.offsets[1:-1])
                        ]  # B of (T, D)
                    else:
                        rows = list(
                            self._pool(hidden, batch.offsets, dim, normalize_embeddings)
                        )  # B of (dim,)
                    for i, row in zip(batch.index, rows, strict=True):
                        vectors[i] = row  # back to the caller's order
                    progress.update(len(batch.index))
                yield vectors if output_value == "token_embeddings" else np.stack(vectors)
        if cut and truncation == "warn":
            warnings.warn(
                f"{cut} of {seen} texts have more than {self.max_seq_length} tokens and were cut there "
                "(truncation='error' refuses them, 'ignore' cuts them silently)",
                TruncationWarning,
                stacklevel=3,
            )

    def encode_query(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """``encode`` with the model's prompt named "query", where it has one."""
        return self.encode(sentences, **self._role(options, "query"))

    def encode_document(self, sentences: str | Iterable[str], **options: Any) -> Any:
        """``encode`` with the model's prompt named "document", "passage" or "corpus", where it has one."""
        return self.encode(sentences, **self._role(options, *DOCUMENT_PROMPTS))

    def similarity(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of every pair: (A, D), (B, D) -> (A, B). A single vector is (1, D)."""
        a, b = (np.atleast_2d(np.asarray(e, np.float32)) for e in (embeddings1, embeddings2))
        return SIMILARITY_FUNCTIONS[self.config.similarity_fn_name](a, b)

    def similarity_pairwise(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of each row with its counterpart: (B, D), (B, D) -> (B,)."""
        a, b = (np.atleast_2d(np.asarray(e, np.float32)) for e in (embeddings1, embeddings2))
        if a.shape != b.shape:
            raise InputError(f"similarity_pairwise needs equal shapes, not {a.shape} and {b.shape}")
        return pairwise(self.config.similarity_fn_name, a, b)

    def semantic_search(
        self, queries: str | Iterable[str], corpus: Iterable[str], top_k: int = 10, **options: Any
    ) -> list[list[Hit]]:
        """For each query the ``top_k`` most similar texts of the corpus, best first.

        The corpus may be a generator of any length: ``CHUNK_TEXTS`` texts are held at a time. ``options``
        go to ``encode``. Gives one list of {"corpus_id": position, "score": similarity} per query.
        """
        query_embeddings = np.atleast_2d(self.encode_query(queries, **options))
        chunks = self.encode_stream(corpus, **self._role(options, *DOCUMENT_PROMPTS))
        return semantic_search(query_embeddings, chunks, top_k, self.config.similarity_fn_name)

    def tokenize(self, sentences: str | Iterable[str]) -> dict[str, Any]:
        """The ids the model would see, cut to ``max_seq_length``: {"input_ids": ..., "token_type_ids": ...}.

        One list of ids per text, without padding; for a str, its list alone.
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        input_ids = [text.input_ids for text in self._tokenize(texts, "", 0)]
        token_type_ids = [[0] * len(ids) for ids in input_ids]
        if isinstance(sentences, str):
            return {"input_ids": input_ids[0], "token_type_ids": token_type_ids[0]}
        return {"input_ids": input_ids, "token_type_ids": token_type_ids}

    def count_tokens(self, sentences: str | Iterable[str]) -> Any:
        """How many tokens each text has, special tokens included, before any cut; an int for a str."""
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        counts = [text.num_tokens for text in self._tokenize(texts, "", 0)]
        return counts[0] if isinstance(sentences, str) else counts

    def _tokenize(
        self, texts: list[str], prefix: str, start: int, *, refuse_long: bool = False
    ) -> list[Tokenized]:
        """Check that all are texts, and turn them into ids; ``start`` is the first one's position."""
        for position, text in enumerate(texts, start):
            if not isinstance(text, str):
                raise InputError(f"sentences[{position}] is {type(text).__name__}, not str: {_shorten(text)}")
        tokenized = self.tokenizer.tokenize([prefix + text for text in texts] if prefix else texts, start)
        if refuse_long:
            for position, tokens in enumerate(tokenized, start):
                if tokens.num_tokens > self.max_seq_length:
                    raise InputTooLongError(
                        f"sentences[{position}] has {tokens.num_tokens} tokens, the model reads "
                        f"{self.max_seq_length}: split the text, or pass truncation='ignore'"
                    )
        return tokenized

    def _pool(
        self, hidden: Float32, offsets: npt.NDArray[np.int64], dim: int | None, normalize_embeddings: bool
    ) -> Float32:
        """One vector per text: the model's pooling and norm, then the caller's cut and norm, -> (B, dim)."""
        vectors = pool(hidden, offsets, self.config.pooling_modes)  # (N, D) -> (B, D)
        if self.config.normalize:
            vectors = normalize(vectors)
        vectors = vectors[:, :dim]
        return normalize(vectors) if normalize_embeddings else vectors

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        """The text to put in front: ``prompt``, or the one named, or the default one, or none."""
        if prompt is not None:
            return prompt
        name = prompt_name or self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "the model has none"
            raise InputError(f"unknown prompt_name {name!r} (known: {known})")
        return self.prompts[name]

    def _role(self, options: dict[str, Any], *names: str) -> dict[str, Any]:
        """``options`` with the first prompt of these names that the model has, unless one is given."""
        if options.get("prompt_name") is not None or options.get("prompt") is not None:
            return options
        name = next((name for name in names if name in self.prompts), None)
        return {**options, "prompt_name": name} if name else options

    def _check_truncate_dim(self, dim: int | None) -> int | None:
        if dim is not None and not 1 <= dim <= self.config.embedding_dimension:
            raise InputError(f"truncate_dim must be from 1 to {self.config.embedding_dimension}, not {dim}")
        return dim


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut an iterable into lists of at most CHUNK_TEXTS. Raises InputError for what is not iterable."""
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Iterable):
        raise InputError(f"sentences must be a str or an iterable of str, not {type(texts).__name__}")
    iterator = iter(texts)
    while chunk := list(itertools.islice(iterator, CHUNK_TEXTS)):
        yield chunk


def _progress(show: bool | None, texts: Iterable[str]) -> Any:
    """A tqdm bar on stderr: when asked for, or (None) on a terminal after PROGRESS_DELAY seconds."""
    if show is False or (show is None and not sys.stderr.isatty()):
        return _NoProgress()
    from tqdm import tqdm

    total = len(texts) if isinstance(texts, Sized) else None
    return tqdm(total=total, desc="encode", unit="text", delay=0 if show else PROGRESS_DELAY)


class _NoProgress(contextlib.nullcontext[Any]):
    """Stands for a progress bar where none is shown, so that tqdm need not be installed."""

    def __enter__(self) -> _NoProgress:
        return self

    def update(self, n: int) -> None:
        """Show nothing."""


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"unknown {name} {value!r} (known: {', '.join(choices)})")


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
