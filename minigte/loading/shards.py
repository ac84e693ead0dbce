"""Weights in several files, which an index lists: ``model.safetensors.index.json`` and its like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from minigte.errors import CheckpointError
from minigte.loading.stored_tensors import StoredTensor
from minigte.runtime.reading import check_file, read_object


def read_shards(
    index: Path, read_file: Callable[[Path, set[str]], Iterator[StoredTensor]]
) -> Iterator[StoredTensor]:
    """Read the files that an index lists; each must hold exactly the tensors listed for it."""
    for shard, names in shards_of(index).items():
        check_file(index.parent / shard, CheckpointError)
        yield from read_file(index.parent / shard, names)


def shards_of(index: Path) -> dict[str, set[str]]:
    """The files that an index lists, in order, and the names of the tensors in each."""
    weight_map = read_object(index, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index} has no weight_map of tensor names to file names")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if shard != Path(shard).name or not shard.endswith(suffix):
            raise CheckpointError(f"{index}: {shard!r} is not the name of a {suffix} file of the same folder")
        shards.setdefault(shard, set()).add(name)
    return dict(sorted(shards.items()))


def check_listed(path: Path, names: set[str], listed: set[str] | None) -> None:
    """Raise CheckpointError where a file has other tensors than an index lists for it."""
    if listed is not None and names != listed:
        name = min(names ^ listed)
        raise CheckpointError(f"{path} and the index disagree about the tensor {name}: download both again")
