"""Where a model's packed weights are looked for, and where they are kept."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from minigte.errors import InputError
from minigte.loading.config import ModelConfig
from minigte.loading.hashes import SMALL, weights_sha256
from minigte.loading.weights import count_parameters, weight_files

SUFFIX = ".packed"
LIMIT = 1 << 30  # bytes that the cache may take in all
SHARE = 10  # no file may take more than one part in so many of what is free on its file system
DAY = 86400  # seconds
# How large the files of weights are that get hashed: bytes for each parameter, and for heads of other tasks.
LARGEST_SHARE, LARGEST_REST = 16, 64 << 20


def packed_cache(cache: Path) -> Path:
    """Where minigte's cache keeps packed weights, and nothing else."""
    return cache / "packed"


class PackedFolders:
    """The model's own folder, and ``packed`` in minigte's cache."""

    def __init__(self, model: Path, config: ModelConfig, cache: Path | None) -> None:
        """``cache``: minigte's own, None where there is none."""
        self._model, self._config, self._memory = model, config, cache
        self.cache = None if cache is None else packed_cache(cache)

    def identity(self) -> dict[str, str]:
        """What the values of packed weights depend on.

        Raises CheckpointError where there are no weights, OSError where they cannot be read, and InputError
        where most of their files is not the model's: hashing them could take for ever.
        """
        folder = self._model / self._config.transformer
        size = sum(path.stat().st_size for path in weight_files(folder))
        if size > LARGEST_SHARE * count_parameters(self._config) + LARGEST_REST:
            raise InputError(f"the files of the weights take {size >> 20} MB, far more than the model")
        return {
            "weights": weights_sha256(folder, self._memory),
            "model": f"{self._config.model_type} {self._config.encoder!r}",
        }

    def candidates(self, name: str) -> Iterator[Path]:
        """The files to look into: all that lie in the model's folder, and the one of this name."""
        with contextlib.suppress(OSError):
            yield from sorted(self._model.glob(f"*{SUFFIX}"))
        path = self.kept(name)
        if path is not None and path.exists():
            with contextlib.suppress(OSError):  # that it was used today, for ``make_room``
                if path.stat().st_mtime < time.time() - DAY:
                    os.utime(path)
            yield path

    def kept(self, name: str) -> Path | None:
        """Where the cache keeps the file of this name, None where there is no cache."""
        return None if self.cache is None else self.cache / f"{name}{SUFFIX}"

    def make_room(self, name: str, size: int) -> Path:
        """Where a new file of this name and size may be written; what was not used for longest gives way.

        Raises InputError, which says why it had better not be written, and OSError.
        """
        if size < SMALL:
            raise InputError("so few need no file")
        path = self.kept(name)
        if path is None:
            raise InputError("there is no cache folder")
        import shutil  # whoever finds a file is spared its import

        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > LIMIT or size > free / SHARE:
            raise InputError(
                f"{path.parent} takes {LIMIT >> 20} MB in all, and no file larger than a tenth of what is "
                f"free there: 'minigte pack' writes these {size >> 20} MB where it is told to"
            )
        files = [(file.stat().st_mtime, file.stat().st_size, file) for file in self._files()]
        used = sum(size for _, size, _ in files)
        for _, freed, file in sorted(files):
            if used + size <= LIMIT:
                break
            with contextlib.suppress(OSError):  # another process was faster, or Windows has it mapped
                file.unlink()
            used -= freed
        return path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process at a time into the block, so that all of them map one file: the others wait.

        Where the system or the file system knows no locks, they do not wait.
        """
        assert self.cache is not None
        handle = None
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(self.cache, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def _files(self) -> list[Path]:
        """The files in the cache, those that somebody has begun to write and not finished included."""
        assert self.cache is not None
        yesterday = time.time() - DAY
        begun = [path for path in self.cache.glob(f".*{SUFFIX}.*") if path.stat().st_mtime < yesterday]
        return [*self.cache.glob(f"*{SUFFIX}"), *begun]
