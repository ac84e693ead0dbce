"""What ``encode``, ``encode_query`` and ``encode_document`` take and answer, for type checkers.

The three have one signature, so it is written once: an overload for each kind of answer. At run time only
``answers`` does anything, and little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, overload

import numpy as np
import numpy.typing as npt

from minigte.arrays import Float32, Matrix, Vector
from minigte.calls.sentence_transformers import takes_old_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

Codes = npt.NDArray[np.int8] | npt.NDArray[np.uint8]
Int8Vector = np.ndarray[tuple[int], np.dtype[np.int8]]
Int8Matrix = np.ndarray[tuple[int, int], np.dtype[np.int8]]
UInt8Vector = np.ndarray[tuple[int], np.dtype[np.uint8]]
UInt8Matrix = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


class Features(TypedDict):
    """What ``output_value=None`` gives of one text: all that the model was given and made."""

    input_ids: npt.NDArray[np.int64]  # (T,)
    token_type_ids: npt.NDArray[np.int64]  # (T,), zeros
    attention_mask: npt.NDArray[np.int64]  # (T,), ones
    token_embeddings: Matrix  # (T, D), the last hidden state
    sentence_embedding: Vector  # (D,)


class Tokens(TypedDict):
    """One text's tokens, as the model sees them."""

    input_ids: list[int]
    token_type_ids: list[int]


class TokensOfTexts(TypedDict):
    """The tokens of B texts, without padding."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]


class LoadOptions(TypedDict, total=False):
    """What sentence-transformers' constructor takes besides; see ``calls.sentence_transformers``."""

    device: object
    trust_remote_code: bool
    model_kwargs: Mapping[str, Any] | None
    tokenizer_kwargs: Mapping[str, Any] | None
    processor_kwargs: Mapping[str, Any] | None
    config_kwargs: Mapping[str, Any] | None
    modules: None
    model_card_data: object
    use_auth_token: None


class RerankerOptions(LoadOptions, total=False):
    """What its CrossEncoder takes besides."""

    prompts: Mapping[str, str] | None
    default_prompt_name: None
    keep_in_fp32_modules: Sequence[str] | None
    classifier_dropout: float | None


class TorchOptions(TypedDict, total=False):
    """What sentence-transformers' ``encode`` takes besides; see ``calls.sentence_transformers``."""

    convert_to_numpy: Literal[True]
    convert_to_tensor: Literal[False]
    device: object
    pool: Mapping[str, Any] | None
    chunk_size: int | None


class PredictOptions(TorchOptions, total=False):
    """What its ``predict`` takes besides."""

    num_workers: int


class RankOptions(TypedDict, total=False):
    """What its ``rank`` takes besides."""

    device: object
    pool: Mapping[str, Any] | None
    chunk_size: int | None
    num_workers: int
    apply_softmax: bool
    convert_to_numpy: bool
    convert_to_tensor: bool


class StreamOptions(TorchOptions, total=False):
    """The options of ``encode_stream``, but for prompts."""

    batch_size: int
    show_progress_bar: bool | None
    normalize_embeddings: bool
    truncate_dim: int | None
    truncation: str
    task: str | None


class CodeOptions(StreamOptions, total=False):
    """The options of ``encode`` where ``precision`` is one of fewer bits."""

    output_value: Literal["sentence_embedding"]


class VectorOptions(CodeOptions, total=False):
    """The options of ``encode`` where the answer is float32 vectors."""

    precision: Literal["float32"] | None


class Encode(Protocol):
    """The signature: one text gives one vector, B texts a matrix of B rows."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an iterable of str too, its letters
        self,
        sentences: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[VectorOptions],
    ) -> Vector: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[VectorOptions],
    ) -> Matrix: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        sentences: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        precision: Literal["int8", "binary"],
        **options: Unpack[CodeOptions],
    ) -> Int8Vector: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        precision: Literal["int8", "binary"],
        **options: Unpack[CodeOptions],
    ) -> Int8Matrix: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        sentences: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        precision: Literal["uint8", "ubinary"],
        **options: Unpack[CodeOptions],
    ) -> UInt8Vector: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        precision: Literal["uint8", "ubinary"],
        **options: Unpack[CodeOptions],
    ) -> UInt8Matrix: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        sentences: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        output_value: Literal["token_embeddings"],
        precision: Literal["float32"] | None = ...,
        **options: Unpack[StreamOptions],
    ) -> Matrix: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        output_value: Literal["token_embeddings"],
        precision: Literal["float32"] | None = ...,
        **options: Unpack[StreamOptions],
    ) -> list[Matrix]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        sentences: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        output_value: None,
        precision: Literal["float32"] | None = ...,
        **options: Unpack[StreamOptions],
    ) -> Features: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        output_value: None,
        precision: Literal["float32"] | None = ...,
        **options: Unpack[StreamOptions],
    ) -> list[Features]: ...
    @overload  # where a checker cannot tell which
    def __call__(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        *,
        output_value: str | None = ...,
        precision: str | None = ...,
        **options: Unpack[StreamOptions],
    ) -> Float32 | Codes | Features | Sequence[Float32 | Codes | Features]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        *,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[VectorOptions],
    ) -> Vector: ...
    @overload
    def __call__(
        self,
        *,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[VectorOptions],
    ) -> Matrix: ...


class EncodeStream(Protocol):
    """The signature of ``encode_stream``: chunk by chunk what ``encode`` answers."""

    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        output_value: Literal["sentence_embedding"] = ...,
        start: int = ...,
        **options: Unpack[StreamOptions],
    ) -> Iterator[Matrix]: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        output_value: Literal["token_embeddings"],
        start: int = ...,
        **options: Unpack[StreamOptions],
    ) -> Iterator[list[Matrix]]: ...
    @overload
    def __call__(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        output_value: None,
        start: int = ...,
        **options: Unpack[StreamOptions],
    ) -> Iterator[list[Features]]: ...
    @overload  # where a checker cannot tell which
    def __call__(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        output_value: str | None = ...,
        start: int = ...,
        **options: Unpack[StreamOptions],
    ) -> Iterator[Matrix] | Iterator[list[Matrix]] | Iterator[list[Features]]: ...


# That these can be called as what they give is for pyright: where a protocol asks for a method or a callable,
# it compares what stands in the class, and not what ``__get__`` makes of it.


class _EncodeMethod(Encode, Protocol):
    """A method of that signature."""

    def __get__(self, instance: object, owner: type | None = None) -> Encode: ...


class _EncodeStreamMethod(EncodeStream, Protocol):
    """A method of that signature."""

    def __get__(self, instance: object, owner: type | None = None) -> EncodeStream: ...


def streams(method: Callable[..., Any]) -> _EncodeStreamMethod:
    """Give a method the signature of ``encode_stream``."""
    return method


def answers(method: Callable[..., Any]) -> _EncodeMethod:
    """Give a method this signature, and let its first argument be called ``inputs`` too.

    That is its name since sentence-transformers 6; before it was ``sentences``.
    """
    # A function is a descriptor of that signature, which mypy does not see in what a decorator gives.
    return takes_old_names(inputs="sentences")(method)  # type: ignore[return-value]
