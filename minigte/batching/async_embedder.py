"""An Embedder for asyncio: the texts of all callers are computed together, and no call blocks the loop."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32
from minigte.batching.batcher import Batcher, Observer, expected_tokens
from minigte.embedder import DOCUMENT_PROMPTS, Embedder
from minigte.errors import UnsupportedError
from minigte.tokenizing.texts import as_list
from minigte.tokenizing.tokenizer import Tokenized, cut_warning
from minigte.vectors.pooling import normalize
from minigte.vectors.quantization import quantize_embeddings

# Characters. Texts of so many have their tokens in the time that handing them to another thread takes; more
# are handed over, so many at a time, so that the tokens of a long request hold up nobody.
AT_ONCE = 1_000
SLICE = 16_000


class AsyncEmbedder:
    """Serves an Embedder to many coroutines; a text's vector has the bits that ``Embedder.encode`` gives it.

    Texts that are waiting are computed together, whichever call they belong to. A long call delays a short
    one by at most one unit of work (some 256 tokens, or one text), and a call that finds nothing waiting is
    computed at once. A cancelled call gives up its place.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_queue_tokens: int | None = None,
        max_queue_seconds: float | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Serve ``embedder``, which you can still use directly as well.

        ``max_queue_tokens``: if a call would make more tokens than this wait, it raises QueueFullError,
        unless nothing is waiting.
        ``max_queue_seconds``: if a call would wait longer than this, it raises QueueFullError; if it has
        waited this long, QueueTimeoutError. None means no limit.
        ``observer``: is told of every unit that is computed; see ``batching.batcher.Observer``.

        Raises UnsupportedError for a model that leaves a prompt's tokens out of pooling, because texts of
        several calls, with different prompts, are pooled together.
        """
        if not embedder.config.include_prompt:
            raise UnsupportedError(
                f"{embedder.source.name} leaves a prompt's tokens out of pooling (include_prompt is false), "
                "so texts of several calls cannot share a batch: use Embedder instead"
            )
        self.embedder = embedder
        self.batcher = Batcher(
            embedder,
            max_queue_tokens=max_queue_tokens,
            max_queue_seconds=max_queue_seconds,
            observer=observer,
        )
        self._tokenizing = ThreadPoolExecutor(2, "minigte tokenizer")

    def __repr__(self) -> str:
        return f"AsyncEmbedder({self.embedder!r})"

    async def __aenter__(self) -> AsyncEmbedder:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop the threads. Waiting and new calls raise ClosedError. Closing twice does no harm."""
        self.batcher.close()
        self._tokenizing.shutdown(cancel_futures=True)

    async def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        truncation: str = "warn",
        task: str | None = None,
    ) -> Any:
        """Embed texts: what ``Embedder.encode`` gives for these arguments, bit for bit.

        Raises the same errors, and QueueFullError, QueueTimeoutError and ClosedError.
        """
        embedder = self.embedder
        options: dict[str, Any] = {
            "output_value": output_value,
            "precision": precision,
            "truncate_dim": truncate_dim,
        }
        embedder.encode([], prompt_name, prompt, truncation=truncation, **options)  # checks them all
        texts = as_list(sentences)
        prefix = embedder._prompt(prompt_name, prompt)
        tokenized = await self.tokenize(texts, prefix=prefix, refuse_long=truncation == "error", task=task)
        cut = sum(text.is_cut for text in tokenized)
        if cut and truncation == "warn":
            warnings.warn(cut_warning(cut, len(texts), embedder.max_seq_length), stacklevel=2)
        input_ids = [text.input_ids for text in tokenized]
        if output_value == "token_embeddings":
            rows = await self.token_embeddings(input_ids)
            return rows[0] if isinstance(sentences, str) else rows
        vectors = await self.vectors(
            input_ids, truncate_dim=truncate_dim, normalize_embeddings=normalize_embeddings
        )
        return quantize_embeddings(vectors[0] if isinstance(sentences, str) else vectors, precision)

    async def encode_query(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """``encode`` as ``Embedder.encode_query`` does."""
        name = self.embedder.prompt_name_of(("query",), prompt_name, prompt)
        return await self.encode(sentences, name, prompt, task="query", **options)

    async def encode_document(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """``encode`` as ``Embedder.encode_document`` does."""
        name = self.embedder.prompt_name_of(DOCUMENT_PROMPTS, prompt_name, prompt)
        return await self.encode(sentences, name, prompt, task="document", **options)

    async def tokenize(
        self, texts: Sequence[str], *, prefix: str = "", refuse_long: bool = False, task: str | None = None
    ) -> list[Tokenized]:
        """The token ids of texts, cut to ``max_seq_length``; long texts are read in another thread.

        Raises InputError, with ``refuse_long`` InputTooLongError in place of cutting, and QueueFullError and
        QueueTimeoutError where there is no room for long texts.
        """
        tokenizer = self.embedder.tokenizer_of(task)
        lengths = [len(prefix) + len(text) if isinstance(text, str) else 1 for text in texts]
        if sum(lengths) <= AT_ONCE:
            return tokenizer.tokenize(texts, prefix=prefix, refuse_long=refuse_long)
        expected = [expected_tokens(length, self.embedder.max_seq_length) for length in lengths]
        tokenized: list[Tokenized] = []
        while len(tokenized) < len(texts):
            start = stop = len(tokenized)
            characters = 0
            while stop < len(texts) and characters < SLICE:
                characters += lengths[stop]
                stop += 1

            def read(part: Sequence[str] = texts[start:stop], start: int = start) -> list[Tokenized]:
                return tokenizer.tokenize(part, prefix=prefix, start=start, refuse_long=refuse_long)

            head, tokens = expected[start], sum(expected[start:])
            tokenized += await self.batcher.expecting(read, head, tokens, self._tokenizing)
        return tokenized

    async def vectors(
        self,
        input_ids: Sequence[Sequence[int]],
        *,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
    ) -> Float32:
        """The vectors (B, D) of B texts that are given as token ids, each (T,) with its special tokens."""
        dim = truncate_dim or self.embedder.truncate_dim
        rows = await self.batcher.run(_arrays(input_ids))
        if not rows:
            return np.empty((0, dim or self.embedder.embedding_dimension), np.float32)
        vectors = np.array(rows)[:, :dim]  # (B, dim)
        return normalize(vectors) if normalize_embeddings else vectors

    async def token_embeddings(self, input_ids: Sequence[Sequence[int]]) -> list[Float32]:
        """The last hidden state (T, D) of each text that is given as token ids (T,)."""
        return await self.batcher.run(_arrays(input_ids), token_embeddings=True)


def _arrays(input_ids: Sequence[Sequence[int]]) -> list[npt.NDArray[np.int32]]:
    """A tenth of the memory that lists take while they wait."""
    return [np.array(ids, np.int32) for ids in input_ids]
