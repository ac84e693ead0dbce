"""The models that are served, by name."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minigte.arrays import Float32
from minigte.batching.async_embedder import AsyncEmbedder
from minigte.batching.batcher import expected_tokens, in_turn
from minigte.cross_encoder import CrossEncoder
from minigte.errors import InputError, InputTooLongError, QueueFullError
from minigte.loading.cross_encoder_config import ACTIVATION_FNS
from minigte.loading.hashes import model_sha256
from minigte.server.limits import Limits
from minigte.server.problems import Problem, empty, no_embedder, no_such_model, too_long, too_many
from minigte.server.tokens import Cl100k, Token, Tokens
from minigte.tokenizing.tokenizer import Tokenized

# The names of OpenAI's models: token ids that are sent to one of them are of its tokenizer, cl100k_base.
OPENAI_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")

SEND_TEXT = "send the text itself (LangChain: check_embedding_ctx_length=False)"

Text = str | list[int]  # a text, or its token ids


class Scorer(Protocol):
    """What says how well texts answer a query."""

    @property
    def kind(self) -> str:
        """In words, for the answer: "bi-encoder" or "cross-encoder"."""

    async def score(self, query: str, texts: Sequence[str], *, truncate: bool) -> tuple[Float32, int]:
        """A score for each text, the larger the better, (B,), and how many tokens were read."""


@dataclass
class Reading:
    """Texts as a model reads them."""

    input_ids: list[list[int]]
    cut: int = 0  # how many texts were cut

    @property
    def tokens(self) -> int:
        """How many tokens are read, all together."""
        return sum(map(len, self.input_ids))


@dataclass
class Model:
    """One model that is served."""

    name: str
    embedder: AsyncEmbedder
    max_texts: int
    cl100k: Cl100k | None = None

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.embedder.embedder)
        self.scorer: Scorer = BiEncoder(self)
        self._digest: str | None = None

    @property
    def dimensions(self) -> int:
        """How many components a vector has."""
        return self.embedder.embedder.embedding_dimension

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read."""
        return self.embedder.embedder.max_seq_length

    async def read(
        self,
        texts: Sequence[Text],
        *,
        param: str,
        asked_for: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = False,
        from_the_left: bool = False,
        remedy: str = "split the text",
    ) -> Reading:
        """The token ids of texts, or a Problem that names the text at fault as an item of ``param``.

        ``asked_for`` is the name by which the request called this model. ``truncate``: cut what is too long;
        otherwise it is a Problem, which gives the counts and the ``remedy``.
        """
        if len(texts) > self.max_texts:
            raise too_many(param, len(texts), self.max_texts)
        prefix = self.prompt(prompt_name)
        plain: list[str] = []  # what is to be tokenized
        own: dict[int, list[int]] = {}  # the place of each text that was given as this model's token ids
        for place, text in enumerate(texts):
            if isinstance(text, str):
                plain.append(text)
            elif self._are_own(text, asked_for, param) and not prefix:
                own[place] = text
            else:
                plain.append(self._text_of(text, param))
        places = [place for place in range(len(texts)) if place not in own]
        try:
            if from_the_left and truncate:
                tokenized = await self._ends_of([prefix + text for text in plain])
            else:
                tokenized = await self.embedder.tokenize(plain, prefix=prefix)
        except InputError as error:
            raise Problem(400, str(error), param=param, code="invalid_text") from None
        limit = self.max_seq_length
        cut = [i for i, text in enumerate(tokenized) if text.is_cut]
        too_many_ids = [place for place, ids in own.items() if len(ids) > limit]
        if not truncate and (cut or too_many_ids):
            if cut:
                place, text = places[cut[0]], prefix + plain[cut[0]]
                count = await asyncio.get_running_loop().run_in_executor(None, self.tokens.count, text)
            else:
                place = too_many_ids[0]
                count = str(len(own[place]))
            raise too_long(f"{param}[{place}]" if len(texts) > 1 else param, count, limit, remedy)
        for place in too_many_ids:
            own[place] = self.tokens.cut(own[place], from_the_left=from_the_left)
        own.update(zip(places, (text.input_ids for text in tokenized), strict=True))
        return Reading([own[place] for place in range(len(texts))], cut=len(cut) + len(too_many_ids))

    def prompt(self, name: str | None) -> str:
        """The text that the model's prompt of this name, or its default one, puts in front; or a Problem."""
        try:
            return self.embedder.embedder._prompt(name, None)
        except InputError as error:
            raise Problem(422, str(error), param="prompt_name", code="unknown_prompt") from None

    async def describe(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[Token]]:
        """Every token of texts, or a Problem."""
        loop = asyncio.get_running_loop()
        describe = functools.partial(self.tokens.describe, add_special_tokens=add_special_tokens)
        try:
            return [await loop.run_in_executor(None, describe, text) for text in texts]
        except InputError as error:
            raise Problem(422, str(error), param="inputs", code="invalid_text") from None

    def decode(self, texts: Sequence[list[int]], skip_special_tokens: bool) -> list[str]:
        """Texts that have these ids, or a Problem."""
        try:
            return [self.tokens.text_of(ids, skip_special_tokens=skip_special_tokens) for ids in texts]
        except InputError as error:
            raise Problem(422, str(error), param="ids", code="invalid_token_ids") from None

    async def digest(self) -> str:
        """The sha256 of the model's files, which takes a while the first time."""
        if self._digest is None:
            embedder = self.embedder.embedder
            self._digest = await asyncio.get_running_loop().run_in_executor(
                None, model_sha256, embedder.source.folder, embedder.config
            )
        return self._digest

    async def _ends_of(self, texts: Sequence[str]) -> list[Tokenized]:
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(None, self.tokens.end_of, text) for text in texts]

    def _are_own(self, ids: list[int], asked_for: str | None, param: str) -> bool:
        """Whether token ids are this model's; else they are OpenAI's, or it is a Problem."""
        if not ids:
            raise empty(param)
        if self.tokens.are_own(ids):
            return True
        if asked_for not in OPENAI_NAMES:
            raise Problem(
                400,
                f"`{param}` holds token ids that {self.name} does not make: its own lie between 0 and "
                f"{self.tokens.vocab_size - 1}, begin with {self.tokens.prefix} and end with "
                f"{self.tokens.suffix}, as /tokenize gives them. Others would give a wrong vector: "
                f"{SEND_TEXT}",
                param=param,
                code="foreign_token_ids",
            )
        if self.cl100k is None:
            raise Problem(
                400,
                f"`{param}` holds token ids of cl100k_base, the tokenizer of {asked_for}, and {self.name} "
                f"has another: {SEND_TEXT}, or start the server with --cl100k-base",
                param=param,
                code="foreign_token_ids",
            )
        return False

    def _text_of(self, ids: list[int], param: str) -> str:
        """The text behind token ids, of this model or of OpenAI's tokenizer."""
        try:
            if self.cl100k is None or self.tokens.are_own(ids):
                return self.tokens.text_of(ids, skip_special_tokens=True)
            return self.cl100k.text_of(ids)
        except InputError as error:
            raise Problem(400, f"`{param}`: {error}", param=param, code="invalid_token_ids") from None


@dataclass
class BiEncoder:
    """Scores texts by the similarity of their vectors with the query's."""

    model: Model
    kind = "bi-encoder"

    async def score(self, query: str, texts: Sequence[str], *, truncate: bool) -> tuple[Float32, int]:
        """See ``Scorer``; the prompts are the model's "query" and "document"."""
        asked = await self.model.read([query], param="query", prompt_name="query", truncate=truncate)
        answers = await self.model.read(texts, param="documents", prompt_name="document", truncate=truncate)
        vectors = await self.model.embedder.vectors([*asked.input_ids, *answers.input_ids])
        similarity = self.model.embedder.embedder.similarity(vectors[:1], vectors[1:])
        return np.asarray(similarity[0], np.float32), asked.tokens + answers.tokens


PAIRS_AT_ONCE = 32  # scored before another request may have its turn


class Reranker:
    """A cross-encoder that is served: it scores a query with each text, and is its own ``Scorer``."""

    kind = "cross-encoder"

    def __init__(self, name: str, model: CrossEncoder, limits: Limits) -> None:
        self.name = name
        self.model = model
        self.limits = limits
        self._waiting = 0  # tokens that are to be read and computed, as far as they are known
        self._threads = ThreadPoolExecutor(1, "minigte reranker")

    @property
    def scorer(self) -> Scorer:
        """What scores."""
        return self

    async def score(self, query: str, texts: Sequence[str], *, truncate: bool) -> tuple[Float32, int]:
        """See ``Scorer``. Raises a Problem where the model does not give one score for a pair."""
        if self.model.num_labels != 1:
            raise Problem(
                424,
                f"{self.name} gives a pair {self.model.num_labels} scores, and cannot rank: see /predict",
                code="no_reranker",
            )
        return await self.scores([(query, text) for text in texts], param="texts", truncate=truncate)

    async def scores(
        self, pairs: Sequence[tuple[str, str]], *, param: str, truncate: bool, raw_scores: bool = False
    ) -> tuple[Float32, int]:
        """The scores of pairs (B,), or (B, labels), and how many tokens were read; or a Problem.

        ``raw_scores``: the logits; else the model's own activation, and of several labels the probabilities.
        """
        limits, longest = self.limits, self.model.tokenizer.max_seq_length
        if len(pairs) > limits.max_texts:
            raise too_many(param, len(pairs), limits.max_texts)
        expected = sum(expected_tokens(len(query) + len(text), longest) for query, text in pairs)
        if refusal := self.refusal(expected):
            raise refusal
        predict = functools.partial(
            self.model.predict,
            activation_fn=ACTIVATION_FNS["Identity"] if raw_scores else None,
            apply_softmax=not raw_scores,
            show_progress_bar=False,
            truncation="ignore",
        )
        self._waiting += expected
        try:
            read = functools.partial(self.model.tokenizer.tokenize_pairs, pairs, refuse_long=not truncate)
            tokenized = await in_turn(read, self._threads, limits.max_queue_seconds)
            parts = []
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                part = functools.partial(predict, pairs[start : start + PAIRS_AT_ONCE])
                # What has begun is finished.
                parts.append(await in_turn(part, self._threads, None if start else limits.max_queue_seconds))
        except InputTooLongError as error:
            raise Problem(400, str(error), param=param, code="context_length_exceeded") from None
        except InputError as error:
            raise Problem(400, str(error), param=param, code="invalid_text") from None
        finally:
            self._waiting -= expected
        return np.concatenate(parts), sum(len(pair.input_ids) for pair in tokenized)

    def refusal(self, tokens: int = 1) -> QueueFullError | None:
        """Why there is no room for pairs that came now."""
        if self._waiting and self._waiting + tokens > self.limits.max_queue_tokens:
            return QueueFullError(f"{self._waiting} tokens wait for {self.name}: try again", retry_after=1)
        return None

    def close(self) -> None:
        """End the thread."""
        self._threads.shutdown(cancel_futures=True)


class Models:
    """The models by their names; the first is the one that a request means which names none."""

    def __init__(
        self, models: Iterable[Model], aliases: Mapping[str, str], rerankers: Iterable[Reranker] = ()
    ) -> None:
        """``aliases``: further names. Raises InputError where a name means two models, or none."""
        self.all = list(models)
        self.rerankers = list(rerankers)
        if not self.all and not self.rerankers:
            raise InputError("name at least one model to serve")
        self._by_name: dict[str, Model | Reranker] = {}
        served: list[Model | Reranker] = [*self.all, *self.rerankers]
        for model in served:
            self._add(model.name, model)
        for model in served:
            short = model.name.rpartition("/")[2]
            if short not in self._by_name and short not in aliases:
                self._add(short, model)
        for alias, name in aliases.items():
            if name not in self._by_name:
                raise InputError(f"the alias {alias!r} is for {name!r}, which is not served")
            self._add(alias, self._by_name[name])

    def _add(self, name: str, model: Model | Reranker) -> None:
        if self._by_name.setdefault(name, model) is not model:
            raise InputError(
                f"two models have the name {name!r}: give one another with --alias, or leave it out"
            )

    @property
    def embedding_names(self) -> list[str]:
        """Every name of a model that embeds."""
        return [name for name, model in self._by_name.items() if isinstance(model, Model)]

    @property
    def names(self) -> list[str]:
        """Every name a request may use, those of models that embed first."""
        return sorted(self._by_name, key=lambda name: isinstance(self._by_name[name], Reranker))

    def find_reranker(self, name: str | None) -> Model | Reranker:
        """What ranks under this name; without one the first cross-encoder, or else the first model."""
        if name is None:
            return self.rerankers[0] if self.rerankers else self.all[0]
        model = self._named(name)
        if model is None:
            raise no_such_model(name, self.names)
        return model

    def find(self, name: str | None) -> Model:
        """The model of this name, also with Ollama's ":latest" behind it. Raises a Problem."""
        model = None if name is None else self._named(name)
        if isinstance(model, Reranker):
            raise no_embedder([model.name])
        if not self.all:
            raise no_embedder([reranker.name for reranker in self.rerankers])
        if name is None:
            return self.all[0]
        if model is None:
            raise no_such_model(name, self.names)
        return model

    def _named(self, name: str) -> Model | Reranker | None:
        return self._by_name.get(name) or self._by_name.get(name.removesuffix(":latest"))

    def refusal(self) -> QueueFullError | None:
        """Why there is no room for a request, whichever model it means; None where one may have room."""
        refusal = None
        for reranker in self.rerankers:
            if not (refusal := reranker.refusal()):
                return None
        for model in self.all:
            if not (refusal := model.embedder.batcher.refusal()):
                return None
        return refusal
