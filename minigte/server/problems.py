"""What can be wrong with a request, before it is said in the words of the API that was spoken."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 (it is about a request, and no fault of the program)
    """A request that cannot be answered: an HTTP status, and a line that says why and what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        allow: str | None = None,
    ) -> None:
        """``param`` names the field at fault, ``code`` the kind of fault, as OpenAI's errors do.

        ``retry_after``: in how many seconds to try again. ``allow``: the methods that the route takes.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.allow = allow


def empty(param: str) -> Problem:
    """The field that should hold texts holds none, or an empty one."""
    return Problem(400, f"`{param}` cannot be empty", param=param, code="empty")


def too_many(param: str, count: int, limit: int) -> Problem:
    """More texts than one request may hold."""
    return Problem(
        413,
        f"`{param}` holds {count} texts, and a request may hold {limit}: send them in several",
        param=param,
        code="too_many_texts",
    )


def too_long(param: str, tokens: str, limit: int, remedy: str) -> Problem:
    """A text has more tokens than the model reads; ``remedy`` is what this API offers."""
    return Problem(
        400,
        f"`{param}` has {tokens} tokens, and the model reads {limit}: {remedy}",
        param=param,
        code="context_length_exceeded",
    )


def no_embedder(rerankers: list[str]) -> Problem:
    """The request wants what only an embedding model can give."""
    return Problem(
        424,
        f"{', '.join(rerankers)} scores pairs of texts and embeds none: use /rerank, /v1/rerank or /predict, "
        "or start the server with an embedding model too",
        param="model",
        code="no_embedder",
    )


def no_such_model(name: str, known: list[str]) -> Problem:
    """The request names a model that is not served."""
    return Problem(
        404,
        f"the model {name!r} is not served here (served: {', '.join(known)}): name one of these, "
        "or start the server with --alias",
        param="model",
        code="model_not_found",
    )
