"""The sha256 of a file, and of a whole model folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from minigte.errors import DownloadError
from minigte.loading.config import ModelConfig
from minigte.loading.weights import find_weights


def check_sha256(path: Path, sha256: str, what: str) -> None:
    """Remove the file and raise DownloadError where its sha256 is not the expected one."""
    found = sha256_of(path)
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


def model_sha256(folder: Path, config: ModelConfig) -> str:
    """One sha256 over a model folder's weights, configuration and tokenizer files."""
    transformer = folder / config.transformer
    files = {*folder.glob("*.json"), *folder.glob("*/config.json")}
    files.update(*(transformer.glob(pattern) for pattern in ("*.json", "vocab.txt", "model-*.safetensors")))
    weights = find_weights(transformer)
    if weights is not None:
        files.update(weights.parent.glob(weights.name + "*"))  # an ONNX export may have a second file
    hashes = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}" for path in sorted(files)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
