"""A user's program, which nobody runs: mypy and pyright read it, strictly, as they read a user's.

``assert_type`` says what a checker must know without a cast; a line that ends in ``type: ignore`` is one that
both must refuse.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import minigte
from minigte import Embedder

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Int8Vector = np.ndarray[tuple[int], np.dtype[np.int8]]
Int8Matrix = np.ndarray[tuple[int, int], np.dtype[np.int8]]
UInt8Matrix = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

texts = ["a text", "another"]


def load() -> Embedder:
    """Every way that a model is named, and what programs for sentence-transformers pass besides."""
    Embedder(
        "thenlper/gte-small", revision="main", cache_folder=Path("cache"), local_files_only=True, token=None
    )
    Embedder(Path("model"), prompts={"query": "query: "}, default_prompt_name="query", max_seq_length=128)
    Embedder("model", device="cpu", trust_remote_code=False, model_kwargs=None, similarity_fn_name="dot")
    Embedder("model", dtpye="int8")  # type: ignore
    return Embedder("model", dtype="int8", backend="auto", threads=2, truncate_dim=64)


def vectors(embedder: Embedder) -> None:
    """One text gives a vector, several a matrix, token embeddings a matrix each."""
    assert_type(embedder.encode("a text"), Vector)
    assert_type(embedder.encode(texts), Matrix)
    assert_type(embedder.encode(text for text in texts), Matrix)
    assert_type(embedder.encode(np.array(texts)), Matrix)
    assert_type(embedder.encode(inputs="a text"), Vector)
    assert_type(embedder.encode(inputs=texts), Matrix)
    assert_type(embedder.encode(texts, "query", batch_size=32, show_progress_bar=False), Matrix)
    assert_type(
        embedder.encode(texts, convert_to_numpy=True, device="cpu", normalize_embeddings=True), Matrix
    )
    assert_type(embedder.encode("a text").shape, tuple[int])
    assert_type(embedder.encode(texts).shape, tuple[int, int])
    assert_type(embedder.encode_query("a text", prompt="query: "), Vector)
    assert_type(embedder.encode_query(texts, truncate_dim=64, truncation="error"), Matrix)
    assert_type(embedder.encode_document(texts), Matrix)
    assert_type(embedder.encode(texts, output_value="token_embeddings"), list[Matrix])
    assert_type(embedder.encode("a text", output_value="token_embeddings"), Matrix)
    assert_type(embedder.encode("a text", output_value=None)["sentence_embedding"], Vector)
    assert_type(
        [each["token_embeddings"] for each in embedder.encode(texts, output_value=None)], list[Matrix]
    )
    assert_type(embedder.encode("a text", precision="binary"), Int8Vector)
    assert_type(embedder.encode(texts, precision="int8"), Int8Matrix)
    assert_type(embedder.encode_document(texts, precision="ubinary"), UInt8Matrix)
    embedder.encode(texts, convert_to_tensor=True)  # type: ignore
    embedder.encode(texts, batchsize=8)  # type: ignore
    embedder.encode(None)  # type: ignore
    embedder.encode([b"bytes"])  # type: ignore


def streams(embedder: Embedder) -> None:
    """Chunk by chunk what ``encode`` gives."""
    assert_type(embedder.encode_stream(iter(texts), batch_size=8), Iterator[Matrix])
    assert_type(embedder.encode_stream(texts, output_value="token_embeddings"), Iterator[list[Matrix]])


def what_a_checker_cannot_tell(embedder: Embedder, precision: str) -> None:
    """A name that is only known when the program runs: one of what there is."""
    codes = embedder.encode(texts, precision=precision)
    if isinstance(codes, np.ndarray):
        codes.tobytes()


def tokens(embedder: Embedder) -> None:
    """Ids and counts, of one text and of several."""
    assert_type(embedder.tokenize("a text")["input_ids"], list[int])
    assert_type(embedder.tokenize(texts)["input_ids"], list[list[int]])
    assert_type(embedder.count_tokens("a text"), int)
    assert_type(embedder.count_tokens(texts), list[int])


def similarity(embedder: Embedder) -> None:
    """Scores, hits and codes."""
    matrix = embedder.encode(texts)
    assert_type(embedder.similarity(matrix, matrix[0]), Matrix)
    assert_type(embedder.similarity_pairwise(matrix, matrix.tolist()), Vector)
    assert_type(embedder.semantic_search("a text", texts, top_k=1)[0][0]["corpus_id"], int)
    assert_type(minigte.semantic_search(matrix, [matrix], 1, "dot")[0][0]["score"], float)
    assert_type(minigte.cos_sim(matrix, matrix), Matrix)
    assert_type(minigte.pairwise_dot_score(matrix, matrix), Vector)
    assert_type(minigte.quantize_embeddings(matrix, "int8"), npt.NDArray[np.int8])
    assert_type(minigte.quantize_embeddings(matrix, "ubinary"), npt.NDArray[np.uint8])


class Asked(Protocol):
    """What a program asks of any model."""

    def encode(self, sentences: list[str], /) -> npt.NDArray[np.float32]: ...
    def encode_stream(self, sentences: Iterator[str], /) -> Iterator[npt.NDArray[np.float32]]: ...


class Own:
    """A model of the program's own."""

    def encode(self, sentences: list[str], **options: object) -> npt.NDArray[np.float32]:
        return np.zeros((len(sentences), 3), np.float32)


def models(embedder: Embedder) -> Asked:
    """An embedder where another model could stand, and the other way round."""
    assert_type(minigte.paraphrase_mining(embedder, texts), list[list[float | int]])
    minigte.paraphrase_mining(Own(), texts)
    minigte.paraphrase_mining(texts, texts)  # type: ignore
    return embedder


def settings(embedder: Embedder) -> None:
    """What can be assigned, and the getters of sentence-transformers."""
    embedder.max_seq_length = 128
    embedder.truncate_dim = None
    embedder.prompts = {"query": "query: "}
    embedder.default_prompt_name = "query"
    embedder.similarity_fn_name = "dot"
    assert_type(embedder.embedding_dimension, int)
    assert_type(embedder.get_sentence_embedding_dimension(), int)
    assert_type(embedder.get_max_seq_length(), int)
    assert_type(embedder.prompts["query"], str)
    assert_type(embedder.eval().to("cpu"), Embedder)
    embedder.embedding_dimension = 3  # type: ignore
    pool = embedder.start_multi_process_pool(["cpu"])
    assert_type(embedder.encode_multi_process(texts, pool), Matrix)
    pickle.dumps(embedder)


def explained(embedder: Embedder) -> None:
    """What the course shows."""
    trace = embedder.explain("a text")
    assert_type(trace.tokens, tuple[str, ...])
    assert_type(trace.vector, npt.NDArray[np.float32])
    assert_type(embedder.explain_similarity(trace, "another").score, float)


class Named(Embedder):
    """A subclass with attributes and an ``encode`` of its own."""

    def __init__(self, folder: str, label: str) -> None:
        super().__init__(folder)
        self.label = label


def errors(embedder: Embedder) -> None:
    """One family, and each of the kind that Python has for it."""
    try:
        embedder.encode(texts, truncation="error")
    except minigte.InputTooLongError as error:
        mistake: ValueError = error
        print(mistake)
    except minigte.MinigteError as error:
        assert_type(error, minigte.MinigteError)
