"""The Embedder: text to vectors, its steps visible.

text -> input_ids -> packed batches -> hidden states -> pooling -> L2 norm -> the caller's order
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from minigte.arrays import Float32, Int64, Matrix, Vector
from minigte.backend import choose_backend, load_model
from minigte.calls.arguments import TRUNCATIONS, one_of, whole_number, yes_or_no
from minigte.calls.caller import warn_caller
from minigte.calls.sentence_transformers import (
    BACKENDS,
    ENCODE_OPTIONS,
    LOAD_OPTIONS,
    Model,
    accept,
)
from minigte.calls.signatures import Features, Tokens, TokensOfTexts, answers, streams
from minigte.errors import CheckpointError, InputError, UnsupportedError
from minigte.loading.config import assumption_warning, read_config, read_prompts
from minigte.loading.dense_files import load_head
from minigte.loading.sources import DEFAULT_MODEL, find_again, find_model
from minigte.loading.weights import count_parameters, load_weights
from minigte.models.batch import Batch
from minigte.runtime.progress import Progress
from minigte.tokenizing.packing import BATCH_TOKENS, pack
from minigte.tokenizing.texts import as_list, check_text, chunks
from minigte.tokenizing.tokenizer import Tokenizer, cut_warning
from minigte.vectors.head import apply_head
from minigte.vectors.pooling import normalize, pool, without_prompt
from minigte.vectors.quantization import PRECISIONS, quantize_embeddings
from minigte.vectors.search import Hit, semantic_search
from minigte.vectors.similarity import SIMILARITY_FUNCTIONS, SimilarityFunction, similarity_name

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Unpack

    from minigte.calls.signatures import LoadOptions, StreamOptions, TorchOptions
    from minigte.explain import SimilarityTrace, Trace

CHUNK_TEXTS = 1024  # an iterable of texts is read, ordered by length and embedded this many at a time
OUTPUT_VALUES = ("sentence_embedding", "token_embeddings", None)
NO_PROMPTS = {"query": "", "document": ""}  # what a model that says nothing puts in front of either
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the first that a model has is put before documents
# The attributes that a copy loads anew.
LOADED = ("tokenizer", "_tokenizers", "backend", "_own_backend", "_weights", "head")

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call of ``encode_stream`` asks for, checked."""

    tokenizer: Tokenizer
    prefix: str
    unpooled: int  # tokens in front of each text that are not pooled
    batch_size: int
    output_value: str | None
    normalize_embeddings: bool
    dim: int | None
    truncation: str


class Embedder(Model):
    """A text embedding model; any number of threads may use one at once.

    As in sentence-transformers, ``prompts``, ``default_prompt_name``, ``max_seq_length``, ``truncate_dim``
    and ``similarity_fn_name`` can be assigned; a call uses the values it finds at its start. No other
    attribute can be assigned.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        similarity_fn_name: str | SimilarityFunction | None = None,
        dtype: str = "float32",
        backend: str = "auto",
        threads: int | None = None,
        **others: Unpack[LoadOptions],
    ) -> None:
        """Load a model from a folder, or by name from a cache or a download.

        ``revision``: a commit, branch or tag of the model's repository.
        ``cache_folder``: where downloads are kept; by default the user's cache.
        ``local_files_only``: never use the network.
        ``token``: for private repositories, as huggingface_hub takes it.
        ``prompts``: texts to put before each text, by name. They are added to the model's own, or replace
        them.
        ``default_prompt_name``: the prompt of a call that names none.
        ``max_seq_length``: cut texts to this many tokens, at most what the model reads.
        ``truncate_dim``: keep only this many leading components of each vector.
        ``similarity_fn_name``: "cosine", "dot", "euclidean" or "manhattan", instead of the model's own.
        ``dtype``: what the matrix products are computed in, "float32", "bfloat16" or "int8".
        ``backend``: "built" uses the kernels that came with minigte, "jit" compiles them with Numba, and
        "numpy" runs the reference; "auto" takes the first of these that works, and ``backend_name`` says
        which.
        ``threads``: how many threads share the work; None means one for each core the process may use.
        ``others``: further arguments of sentence-transformers, accepted where they change nothing.

        Raises a MinigteError that names the file or the argument at fault.
        """
        accept("Embedder", others, LOAD_OPTIONS)
        backend = BACKENDS.get(backend, backend)
        choose_backend(backend, dtype, threads)  # raises before anything is fetched
        self._computing = backend, dtype, threads
        self._cache_folder = cache_folder
        self.source = find_model(
            model_name_or_path,
            revision=revision,
            cache_folder=cache_folder,
            local_files_only=yes_or_no("local_files_only", local_files_only),
            token=token,
        )
        self.config = read_config(self.source.folder)
        if self.config.assumes_pooling:
            warn_caller(assumption_warning(self.source.folder))
        self._prompts = {**NO_PROMPTS, **self.config.prompts, **read_prompts("Embedder", prompts)}
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name
        self.truncate_dim = self.config.truncate_dim if truncate_dim is None else truncate_dim
        if similarity_fn_name is not None:
            self.similarity_fn_name = similarity_fn_name
        self._load(self.config.max_seq_length if max_seq_length is None else max_seq_length)

    def _load(self, max_seq_length: int) -> None:
        """Read the tokenizer and the weights of ``source``, and build the backend."""
        start = time.perf_counter()
        backend, dtype, threads = self._computing
        name = choose_backend(backend, dtype, threads)
        self.max_seq_length = max_seq_length
        lengths = ("query", self.config.query_length), ("document", self.config.document_length)
        self._tokenizers = {  # by task, for models that cut queries or documents to a length of their own
            task: self._load_tokenizer(length) for task, length in lengths if length is not None
        }
        self.head = load_head(self.source.folder, self.config.head)
        self.num_parameters = count_parameters(self.config)
        self.backend_name = name
        self.backend, self._weights = load_model(
            name, self.source, self.config, dtype=dtype, threads=threads, cache_folder=self._cache_folder
        )
        self._own_backend = self.backend
        logger.info("%r from %s, loaded in %.2f s", self, self.source.folder, time.perf_counter() - start)

    @answers
    def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 256,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: str = "warn",
        task: str | None = None,
        **others: Unpack[TorchOptions],
    ) -> Any:
        """Turn texts into vectors: a str gives (D,), an iterable of B texts gives (B, D), in the same order.

        The arguments are those of sentence-transformers:

        ``prompt_name``, ``prompt``: a text to put before each text, by its name or as it is.
        ``batch_size``: at most this many texts, and at most 2,048 tokens, in one forward pass.
        ``show_progress_bar``: None shows one on a terminal when the work takes seconds.
        ``output_value``: "sentence_embedding", "token_embeddings" for one (T, D) array per text, or None for
        a ``Features`` dict per text with all there is.
        ``precision``: "float32", "int8", "uint8", "binary" or "ubinary"; see ``quantize_embeddings``.
        ``normalize_embeddings``: scale the vectors to length 1 at the end, even if the model does not, or
        ``truncate_dim`` has shortened them.
        ``truncation``: what to do with texts of more than ``max_seq_length`` tokens. "warn" cuts them and
        warns once, "ignore" cuts them, "error" raises InputTooLongError.
        ``task``: "query" or "document", for models that cut the two to different lengths.
        ``others``: arguments about torch, accepted where they change nothing.

        Raises InputError for anything that is not text, and names its position.
        """
        precision = "float32" if precision is None else precision
        one_of("precision", precision, PRECISIONS)
        if output_value is None and precision != "float32":
            raise InputError(
                f"precision {precision!r} applies only to vectors: omit output_value=None or precision"
            )
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
            **others,
        )
        if output_value == "sentence_embedding":
            dim = self.embedding_dimension if truncate_dim is None else truncate_dim
            rows: Any = np.concatenate([np.empty((0, dim), np.float32), *stream])  # (B, dim)
        else:
            rows = list(itertools.chain.from_iterable(stream))  # B of (T, D), or of Features
        if precision != "float32":
            rows = quantize_embeddings(rows, precision)
        return rows[0] if isinstance(sentences, str) else rows

    @streams
    def encode_stream(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 256,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: str = "warn",
        task: str | None = None,
        start: int = 0,
        **others: Unpack[TorchOptions],
    ) -> Iterator[Any]:
        """``encode`` in bounded memory: yields the vectors of up to 1,024 texts at a time, (n, D), in order.

        ``sentences`` can be a generator of any length, and is read only as fast as vectors are taken.
        ``start`` says how many texts an earlier call has done: errors and the progress bar count from there.

        Raises InputError for an argument at the call, and for a text when the stream reaches it.
        """
        accept("encode", others, ENCODE_OPTIONS)
        one_of("output_value", output_value, OUTPUT_VALUES)
        one_of("truncation", truncation, TRUNCATIONS)
        tokenizer, prefix = self.tokenizer_of(task), self._prompt(prompt_name, prompt)
        call = Call(
            tokenizer,
            prefix,
            0 if self.config.include_prompt else tokenizer.prompt_length(prefix),
            whole_number("batch_size", batch_size, 1),
            output_value,
            yes_or_no("normalize_embeddings", normalize_embeddings),
            self.truncate_dim if truncate_dim is None else self._checked_dim(truncate_dim),
            truncation,
        )
        progress = Progress(show_progress_bar, sentences, whole_number("start", start, 0))
        return self._watched(chunks(sentences, CHUNK_TEXTS), call, progress)

    def _watched(self, texts: Iterator[list[str]], call: Call, progress: Progress) -> Iterator[Any]:
        """Embed chunk by chunk, show how far it is, and say at the end how many texts were cut."""
        with progress:
            for chunk in texts:
                yield self._embed(chunk, call, progress)
        if progress.cut:
            message = cut_warning(progress.cut, progress.texts, call.tokenizer.max_seq_length)
            logger.info("%s", message)
            if call.truncation == "warn":
                warn_caller(message)

    def _embed(
        self, texts: list[str], call: Call, progress: Progress
    ) -> Matrix | list[Matrix] | list[Features]:
        """The steps, for one chunk of texts."""
        tokenized = call.tokenizer.tokenize(
            texts, prefix=call.prefix, start=progress.position, refuse_long=call.truncation == "error"
        )
        progress.read(len(texts), sum(text.is_cut for text in tokenized))
        # Texts of equal tokens are computed once, which changes no bit; token embeddings are each text's own.
        once = call.output_value == "sentence_embedding"
        equal: dict[Any, list[int]] = {}
        for place, text in enumerate(tokenized):
            equal.setdefault(tuple(text.input_ids) if once else place, []).append(place)
        places = list(equal.values())
        input_ids = [tokenized[first].input_ids for first, *_ in places]  # of each (T,)
        batches = pack(input_ids, max_texts=call.batch_size, max_tokens=BATCH_TOKENS)
        rows: list[Any] = [None] * len(texts)
        for batch, hidden in self.backend.last_hidden_states(batches):  # (N, D)
            for index, row in zip(batch.index, self._rows(batch, hidden, call), strict=True):
                for place in places[index]:
                    rows[place] = row  # back to the caller's order
            progress.embedded(sum(len(places[index]) for index in batch.index))
        return np.stack(rows) if call.output_value == "sentence_embedding" else rows

    def _rows(self, batch: Batch, hidden: Float32, call: Call) -> Sequence[Vector | Matrix | Features]:
        """What the call asks for of each of a batch's B texts: hidden (N, D) -> B rows."""
        if call.output_value == "sentence_embedding":
            vectors = self._pool(hidden, batch.offsets, call.dim, call.normalize_embeddings, call.unpooled)
            return list(vectors)  # B of (dim,)
        self._check_finite(hidden)
        inner = batch.offsets[1:-1]
        token_embeddings = [text.copy() for text in np.split(hidden, inner)]  # B of (T, D)
        if call.output_value == "token_embeddings":
            return token_embeddings
        vectors = self._pool(hidden, batch.offsets, call.dim, False, call.unpooled)  # (B, dim), as there
        return [
            Features(
                input_ids=ids,
                token_type_ids=np.zeros_like(ids),
                attention_mask=np.ones_like(ids),
                token_embeddings=tokens,
                sentence_embedding=vector,
            )
            for ids, tokens, vector in zip(
                np.split(batch.input_ids.astype(np.int64), inner), token_embeddings, vectors, strict=True
            )
        ]

    @answers
    def encode_query(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """``encode`` with the prompt "query", unless you choose another. The default prompt is not used."""
        options["prompt_name"] = self.prompt_name_of(("query",), prompt_name, prompt)
        return self.encode(inputs=sentences, prompt=prompt, task="query", **options)  # a subclass's, as there

    @answers
    def encode_document(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """``encode`` with the prompt "document", unless you choose another. The default prompt is not used.

        If ``prompts`` was assigned and has no such name, "passage" or "corpus" is used.
        """
        options["prompt_name"] = self.prompt_name_of(DOCUMENT_PROMPTS, prompt_name, prompt)
        return self.encode(inputs=sentences, prompt=prompt, task="document", **options)

    def similarity(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Matrix:
        """The model's similarity of every pair: (A, D), (B, D) -> (A, B). A single vector is (1, D)."""
        return SIMILARITY_FUNCTIONS[self.similarity_fn_name].matrix(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Vector:
        """The model's similarity of each row with its counterpart: (B, D), (B, D) -> (B,)."""
        return SIMILARITY_FUNCTIONS[self.similarity_fn_name].pairwise(embeddings1, embeddings2)

    def semantic_search(
        self,
        queries: str | Iterable[str],
        corpus: Iterable[str],
        top_k: int = 10,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Unpack[StreamOptions],
    ) -> list[list[Hit]]:
        """Find the ``top_k`` texts of the corpus most similar to each query, best first, ties by position.

        The corpus can be a generator of any length: its vectors are made and dropped a few thousand at a
        time. ``options`` go to ``encode``. Gives one list of {"corpus_id": position, "score": similarity}
        per query.
        """
        top_k = whole_number("top_k", top_k, 1)
        document = self.prompt_name_of(DOCUMENT_PROMPTS, prompt_name, prompt)
        chunks = self.encode_stream(corpus, prompt_name=document, prompt=prompt, **options)
        query = self.encode_query(as_list(queries), prompt_name, prompt, **options)
        return semantic_search(query, chunks, top_k, self.similarity_fn_name)

    @overload
    def tokenize(self, sentences: str) -> Tokens: ...  # type: ignore[overload-overlap]
    @overload
    def tokenize(self, sentences: Iterable[str]) -> TokensOfTexts: ...
    def tokenize(self, sentences: str | Iterable[str]) -> Tokens | TokensOfTexts:
        """The model's input, cut to ``max_seq_length``: {"input_ids": ..., "token_type_ids": ...}.

        One list of ids per text, without padding; for a str, just its list.
        """
        input_ids = [text.input_ids for text in self.tokenizer.tokenize(as_list(sentences))]
        token_type_ids = [[0] * len(ids) for ids in input_ids]
        if isinstance(sentences, str):
            return Tokens(input_ids=input_ids[0], token_type_ids=token_type_ids[0])
        return TokensOfTexts(input_ids=input_ids, token_type_ids=token_type_ids)

    @overload
    def count_tokens(self, sentences: str) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def count_tokens(self, sentences: Iterable[str]) -> list[int]: ...
    def count_tokens(self, sentences: str | Iterable[str]) -> int | list[int]:
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

        The reference computes it in float32, whatever the backend is, so ``vector`` is what ``encode`` gives
        with backend="numpy". For this the weights are read from the folder again and dropped at the end
        (gte-small: 0.3 s, 133 MB); backend="numpy" already has them. The arguments are those of ``encode``.
        """
        from minigte.explain.trace import Text, trace

        one_of("truncation", truncation, TRUNCATIONS)
        prefix = self._prompt(prompt_name, prompt)
        [tokenized] = self.tokenizer.tokenize([text], prefix=prefix, refuse_long=truncation == "error")
        if tokenized.is_cut and truncation == "warn":
            warn_caller(cut_warning(1, 1, self.max_seq_length))
        tokens = self.tokenizer.tokens(tokenized.input_ids)
        unpooled = 0 if self.config.include_prompt else self.tokenizer.prompt_length(prefix)
        pool = functools.partial(
            self._pool,
            offsets=np.array([0, len(tokens)]),
            dim=self.truncate_dim,
            normalize_embeddings=False,
            unpooled=unpooled,
        )  # (T, D) -> (1, dim)
        weights = self._weights or load_weights(self.source.folder, self.config)
        ids = tuple(tokenized.input_ids)
        name, is_cut = self.source.name, tokenized.is_cut
        whole = Text(name, self.config, self.head, prefix + text, tuple(tokens), ids, is_cut, unpooled)
        return trace(whole, weights, pool)

    def explain_similarity(self, a: str | Trace, b: str | Trace) -> SimilarityTrace:
        """Which pairs of tokens carry the similarity of two texts, and how it grows layer by layer.

        Texts are explained with the default prompt; for another prompt, pass what ``explain`` returns. See
        ``minigte.explain.SimilarityTrace``. Raises InputError if the model's similarity is neither cosine nor
        dot, because only those are sums over pairs of tokens.
        """
        from minigte.explain.similarity import trace_similarity

        traces = [self.explain(text) if isinstance(text, str) else text for text in (a, b)]
        return trace_similarity(*traces)

    # Settings

    @property
    def prompts(self) -> dict[str, str]:
        """The texts that can be put before each text, by name."""
        return self._prompts

    @prompts.setter
    def prompts(self, prompts: Mapping[str, str]) -> None:
        self._prompts = read_prompts("Embedder.prompts", prompts)

    @property
    def default_prompt_name(self) -> str | None:
        """The name of the prompt that ``encode`` uses when you choose none."""
        return self._default_prompt_name

    @default_prompt_name.setter
    def default_prompt_name(self, name: str | None) -> None:
        if name is not None:
            one_of("default_prompt_name", name, self._prompts)
        self._default_prompt_name = name

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read, at most ``config.max_seq_length``."""
        return self.tokenizer.max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        length = whole_number("max_seq_length", length, 1, self.config.max_seq_length)
        vars(self)["tokenizer"] = self._load_tokenizer(length)

    def _load_tokenizer(self, max_seq_length: int) -> Tokenizer:
        return Tokenizer(
            self.source.folder / self.config.transformer,
            self.config.tokenizer,
            vocab_size=self.config.encoder.vocab_size,
            max_seq_length=max_seq_length,
            do_lower_case=self.config.do_lower_case,
        )

    @property
    def truncate_dim(self) -> int | None:
        """How many leading components of a vector are kept; None for all."""
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, dim: int | None) -> None:
        self._truncate_dim = None if dim is None else self._checked_dim(dim)

    @property
    def similarity_fn_name(self) -> str:
        """The name of what ``similarity`` computes."""
        return self.config.similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str | SimilarityFunction) -> None:
        config = dataclasses.replace(self.config, similarity_fn_name=similarity_name(name))
        vars(self)["config"] = config

    @property
    def embedding_dimension(self) -> int:
        """D, the number of components of a vector, after ``truncate_dim``."""
        return self.truncate_dim or self.config.embedding_dimension

    # Names of sentence-transformers

    SUPPORTED_SIMILARITY_FN_NAMES = tuple(SIMILARITY_FUNCTIONS)

    def get_embedding_dimension(self) -> int:
        """``embedding_dimension``."""
        return self.embedding_dimension

    get_sentence_embedding_dimension = get_embedding_dimension  # its name before sentence-transformers 5.2

    def get_max_seq_length(self) -> int:
        """``max_seq_length``."""
        return self.max_seq_length

    @contextlib.contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Change ``truncate_dim`` for the length of a with block."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings  # its name before sentence-transformers 5.2

    def encode_multi_process(
        self,
        sentences: Iterable[str],
        pool: Mapping[str, Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Matrix:
        """Call ``encode``, whose threads use all cores without further processes."""
        return self.encode(sentences, prompt_name, prompt, pool=pool, **options)

    # What an object does

    def __repr__(self) -> str:
        return f"Embedder({self.source.name!r}, dtype={self.backend.dtype!r}, backend={self.backend_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickled or copied, an Embedder is its settings and where its model was found."""
        if self.backend is not self._own_backend:
            raise UnsupportedError(
                "an Embedder whose backend was assigned cannot be copied: a copy loads its own"
            )
        state = {name: value for name, value in vars(self).items() if name not in LOADED}
        return {**state, "_prompts": dict(self._prompts), "max_seq_length": self.max_seq_length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the same model anew."""
        length = state.pop("max_seq_length")
        vars(self).update(state, source=find_again(state["source"]))
        self._load(length)

    def _pool(
        self,
        hidden: Float32,
        offsets: Int64,
        dim: int | None,
        normalize_embeddings: bool,
        unpooled: int = 0,
        observe: Callable[[str, Float32], object] = lambda name, array: None,
    ) -> Float32:
        """One vector per text: the model's pooling and norm, then the caller's cut and norm, -> (B, dim)."""
        hidden, offsets = without_prompt(hidden, offsets, unpooled)
        with np.errstate(all="ignore"):  # looked for here, whatever the caller has told NumPy to raise
            vectors = pool(hidden, offsets, self.config.pooling_modes)  # (N, D) -> (B, D)
            self._check_finite(np.einsum("bd,bd->b", vectors, vectors))  # the L2 norm divides by its root
            observe("pooled", vectors)
            vectors = apply_head(self.head, vectors, observe)  # (B, E)
            self._check_finite(vectors)
            vectors = vectors[:, :dim]
            return normalize(vectors) if normalize_embeddings else vectors

    def _check_finite(self, values: Float32) -> None:
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self.source.folder}: the weights make float32 overflow: download them again"
            )

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        """The text to put in front: ``prompt``, or the one named, or the default one, or none."""
        if prompt is not None:
            if prompt_name is not None:
                logger.warning("prompt_name %r is not used: prompt is given too", prompt_name)
            check_text(prompt, "the prompt")
            return prompt
        name = self._default_prompt_name if prompt_name is None else prompt_name
        if name is None:
            return ""
        if name not in self._prompts:
            raise InputError(f"unknown prompt_name {name!r} (known: {', '.join(self._prompts)})")
        return self._prompts[name]

    def tokenizer_of(self, task: str | None) -> Tokenizer:
        """The tokenizer for "query" or "document"; it differs where the model cuts them to other lengths."""
        return self.tokenizer if task is None else self._tokenizers.get(task, self.tokenizer)

    def prompt_name_of(self, own: Sequence[str], asked: str | None, prompt: str | None) -> str | None:
        """``asked``, or if neither it nor ``prompt`` is given, the first name of ``own`` in ``prompts``."""
        if asked is not None or prompt is not None:
            return asked
        return next((name for name in own if name in self._prompts), None)

    def _checked_dim(self, dim: int) -> int:
        return whole_number("truncate_dim", dim, 1, self.config.embedding_dimension)
