"""Output files that are whole: written under a temporary name, then renamed.

Only a regular file can be replaced so. A device, a pipe or an open descriptor is written to in place, and a
link is followed, so that what a name stands for is never changed by writing to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from minigte.errors import OutputError

READER_SECONDS = 30.0  # how long a named pipe may have no reader


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file to write, which takes the name ``path`` when the block ends without an error.

    ``durable``: have it on the disk before, so that after a power cut it is there whole or not at all.

    On an error it is removed, and what stood at ``path`` stays as it was. What stands there is replaced with
    its permissions and its owner kept; what is no regular file is written to in place. An OSError (disk full,
    no such folder, no permission) becomes an OutputError that names ``path``.
    """
    with naming(path):
        if not is_replaceable(path):
            with _open_in_place(path) as file:
                yield file
            return
        import tempfile  # a process that writes nothing is spared its import

        target = followed(path)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
                _take_after(target, temporary)
                yield file
                file.flush()
                if durable:
                    os.fsync(handle)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def is_replaceable(path: Path) -> bool:
    """Whether ``path`` is a regular file that may be written, or nothing yet.

    False for a device, a pipe, and a name of an open descriptor, as /dev/stderr is, whatever that is.
    Raises OutputError for a folder, and for a file that is there and may not be written.
    """
    with naming(path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        folder = os.path.realpath(path.parent)
        return stat.S_ISREG(mode) and folder != "/dev" and not folder.startswith("/proc/")


def followed(path: Path) -> Path:
    """Where a link leads, or ``path`` itself where it is none."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _open_in_place(path: Path) -> BinaryIO:
    """Open a device or a pipe; a named pipe gets some time until somebody reads it."""
    mode = path.stat().st_mode
    if not stat.S_ISFIFO(mode):
        return path.open("ab" if stat.S_ISREG(mode) else "wb")  # of a descriptor keep what was written before
    deadline = time.monotonic() + READER_SECONDS
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise OutputError(
                    f"cannot write {path}: no process reads this pipe: start one first"
                ) from None
        time.sleep(0.05)
    os.set_blocking(handle, True)
    return open(handle, "wb")  # noqa: PTH123 - a descriptor


def _take_after(target: Path, temporary: Path) -> None:
    """Give ``temporary`` the owner and permissions of ``target``, or those of a new file."""
    mode = 0o666 & ~_umask()  # mkstemp's 0600 is meant for files that stay temporary
    with contextlib.suppress(FileNotFoundError):
        status = target.stat()
        mode = stat.S_IMODE(status.st_mode)
        if hasattr(os, "chown"):
            with contextlib.suppress(PermissionError):  # only root may give a file to another
                os.chown(temporary, status.st_uid, status.st_gid)
    temporary.chmod(mode)


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
