"""One family of errors: each message is one line that names the thing and says what to do."""

MESSAGE_LIMIT = 1000  # characters; a longer message loses its middle


class MinigteError(Exception):
    """The base of every error that minigte raises on purpose."""

    def __init__(self, message: str) -> None:
        """Keep the message to one line of printable characters, whatever a hostile file has put into it."""
        if len(message) > MESSAGE_LIMIT:
            half = MESSAGE_LIMIT // 2
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


class ModelNotFoundError(MinigteError):
    """There is no such model folder, or the named model could not be obtained."""


class DownloadError(MinigteError):
    """A download failed, or brought something other than the model's known files."""


class ConfigError(MinigteError):
    """A configuration file is missing, is malformed, or asks for what minigte does not implement."""


class CheckpointError(MinigteError):
    """A weight file is missing or damaged, or its tensors are not those of the architecture."""


class TokenizerError(MinigteError):
    """The tokenizer file is missing or damaged, or does not belong to the weights."""


class InputError(MinigteError, ValueError):
    """An argument or a text cannot be used."""


class InputTooLongError(InputError):
    """A text has more tokens than the model reads, and ``truncation="error"`` was asked for."""


class UnsupportedError(MinigteError, AttributeError):
    """minigte lacks an attribute of sentence-transformers', or cannot do this with this model."""


class OutputError(MinigteError):
    """A result could not be written. What was at the path before is still there."""


class MissingDependencyError(MinigteError, ImportError):
    """An optional package is missing. The message says what to install."""


class OutOfMemoryError(MinigteError, MemoryError):
    """The process may not use as much memory as the model needs. Raised before the model is loaded."""


class OverloadedError(MinigteError):
    """Too much is waiting to be computed. Try again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        """Keep how many seconds the caller had better wait."""
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(OverloadedError):
    """The request was refused on arrival, because too much was waiting."""


class QueueTimeoutError(OverloadedError):
    """The request has waited as long as it may, and nothing of it was computed."""


class ClosedError(MinigteError):
    """The AsyncEmbedder has been closed."""


class TruncationWarning(UserWarning):
    """Texts were cut to the length that the model reads."""

    def __init__(self, facts: str, way_out: str) -> None:
        """Keep apart how many were cut, and what to pass to have it otherwise: a command has options."""
        super().__init__(facts, way_out)
        self.facts = facts
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.facts} ({self.way_out})"


class AssumptionWarning(UserWarning):
    """Something that no file of the model folder says was assumed, and the vectors depend on it."""
