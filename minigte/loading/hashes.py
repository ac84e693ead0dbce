"""The sha256 of a file, and of a whole model folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from minigte.errors import DownloadError, MinigteError
from minigte.loading.config import ModelConfig
from minigte.loading.weights import find_weights, weight_files
from minigte.runtime.replacing import replacing

# Below this size nothing is remembered: hashing is as quick. In bytes.
SMALL = 8 << 20
# A file that changed less than so many seconds ago may change again without its times telling.
SETTLED = 2.0


def check_sha256(path: Path, sha256: str, what: str, memory: Path | None = None) -> None:
    """Remove the file and raise DownloadError where its sha256 is not the expected one.

    ``memory``: see ``remembered_sha256``.
    """
    found = remembered_sha256(path, memory)
    if found != sha256:
        path.unlink(missing_ok=True)
        raise DownloadError(f"{what} has sha256 {found}, not {sha256}: it was refused and removed")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remembered_sha256(path: Path, memory: Path | None) -> str:
    """The sha256 of a file, computed once for as long as the file stays the same.

    ``memory``, minigte's cache folder, keeps it beside what the system says of the file: where it lies, its
    size, when it was last written to, and when anything of it last changed, which no program can set. A file
    system that is mounted read-only may have been made with any times, so its files are hashed always.
    """
    path = path.resolve()
    before = _facts(path)
    note = None if memory is None else memory / "sha256" / hashlib.sha256(os.fsencode(path)).hexdigest()
    if note is None or before["size"] < SMALL or _is_read_only(path):
        return sha256_of(path)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_bytes())
        if known["file"] == before:
            return str(known["sha256"])
    now, sha256 = time.time(), sha256_of(path)
    if _facts(path) == before and max(before["changed"], before["modified"]) < (now - SETTLED) * 1e9:
        with contextlib.suppress(MinigteError, OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            with replacing(note, durable=False) as file:
                file.write(json.dumps({"file": before, "sha256": sha256}).encode())
    return sha256


def _facts(path: Path) -> dict[str, int]:
    status = path.stat()
    return {
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
    }


def _is_read_only(path: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def weights_sha256(folder: Path, memory: Path | None) -> str:
    """One sha256 over the encoder's weight files in ``folder``; see ``remembered_sha256``.

    Raises CheckpointError where there are none, and OSError.
    """
    files = weight_files(folder)
    hashes = [remembered_sha256(path, memory) for path in files]
    if len(files) == 1:
        return hashes[0]
    lines = [f"{path.name} {sha256}\n" for path, sha256 in zip(files, hashes, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def model_sha256(folder: Path, config: ModelConfig) -> str:
    """One sha256 over a model folder's weights, configuration and tokenizer files."""
    transformer = folder / config.transformer
    files = {*folder.glob("*.json"), *folder.glob("*/config.json")}
    patterns = ("*.json", "vocab.txt", "model-*.safetensors", "pytorch_model-*.bin")
    files.update(*(transformer.glob(pattern) for pattern in patterns))
    weights = find_weights(transformer)
    if weights is not None:
        files.update(weights.parent.glob(weights.name + "*"))  # an ONNX export may have a second file
    hashes = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}" for path in sorted(files)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
