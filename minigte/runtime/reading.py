"""Files that come with a model, read whole or refused: what stands in their place, what is not JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minigte.errors import MinigteError

JSON_LIMIT = 16 << 20  # bytes; parsed, a configuration file takes up to 25 times its size
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_file(path: Path, error_class: type[MinigteError], *, limit: int | None = None) -> None:
    """Refuse what is there but is not the file itself; a path where nothing is passes.

    That is a folder, a named pipe (which would be waited for), a device (which never ends), a file of more
    than ``limit`` bytes, and the pointer that a clone without git-lfs has in place of a large file.
    """
    try:
        if not path.exists():
            return
        if not path.is_file():
            raise error_class(f"{path} is not a regular file")
        if limit is not None and path.stat().st_size > limit:
            raise error_class(
                f"{path} is larger than {limit >> 20} MB, as no file of this kind is: download it again"
            )
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
    except OSError as error:  # also where its name is too long
        raise error_class(f"cannot read {path}: {error.strerror}") from error
    if start == LFS_POINTER:
        raise error_class(
            f"{path} is a git-lfs pointer, not the file: run 'git lfs pull' in its repository, "
            "or download the model again"
        )


def read_json(path: Path, error_class: type[MinigteError], missing: Any) -> Any:
    """Read a JSON file; ``missing`` where there is none. Raises ``error_class``, which names the file."""
    check_file(path, error_class, limit=JSON_LIMIT)
    try:
        return json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return missing
    except OSError as error:
        raise error_class(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise error_class(f"{path} is not JSON ({error}): download the file again") from error


def read_object(path: Path, error_class: type[MinigteError]) -> dict[str, Any]:
    """Read a JSON object; {} where there is no such file. Raises ``error_class``, which names the file."""
    value = read_json(path, error_class, missing={})
    if not isinstance(value, dict):
        raise error_class(
            f"{path} holds a JSON {type(value).__name__}, not an object: download the file again"
        )
    return value
