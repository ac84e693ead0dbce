"""An architecture as data: its config's fields, its Spec, and the one table of its arrays and their names.

Nothing else in the package knows what a checkpoint calls an array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minigte.arrays import Float32
from minigte.models.spec import HIDDEN_ACTS, Spec


def check_heads(config: Any, width: str, heads: str) -> None:
    """Raise ValueError where the heads do not share the width evenly; both are names of fields."""
    if getattr(config, width) % getattr(config, heads):
        raise ValueError(
            f"{width} {getattr(config, width)} is not a multiple of {heads} {getattr(config, heads)}"
        )


class Part(NamedTuple):
    """One of several arrays that a checkpoint keeps in one tensor, side by side along the outputs."""

    place: int  # which of them
    parts: int  # how many there are
    groups: str = ""  # the config's field that says how often the parts take turns; once where it is ""


class Parameter(NamedTuple):
    """One row of the parameter table."""

    field: str  # the attribute of Weights or LayerWeights
    name: str  # the checkpoint's name for it, behind the layer's prefix for a layer's
    shape: tuple[str, ...]  # each axis is an attribute of Config
    part: Part | None = None
    present: str = (
        ""  # the attribute of Config that says whether the model has it; all have it where it is ""
    )
    first_layer: int = 0  # the first layer that has it


class Tensor(NamedTuple):
    """A parameter of one model: where it belongs, and what the checkpoint keeps of it."""

    field: str
    layer: int | None  # None for an attribute of Weights
    name: str  # of the stored tensor, which several may share
    shape: tuple[int, ...]  # of the array
    part: Part | None
    groups: int

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the stored tensor, all of its parts together."""
        count = self.part.parts if self.part else 1
        return (count * self.shape[0], *self.shape[1:])

    def view(self, stored: Float32) -> Float32:
        """Where the stored tensor keeps this array: (groups, outputs / groups, ...), a view."""
        part = self.part or Part(0, 1)
        cut = stored.reshape(self.groups, part.parts, self.shape[0] // self.groups, *self.shape[1:])
        return cut[:, part.place]

    def take(self, stored: Float32) -> Float32:
        """This array out of the stored tensor."""
        return self.view(stored).reshape(self.shape)


@dataclass(frozen=True)
class ClassificationHead:
    """What turns a pair's last states into scores: dense, activation, perhaps a norm, and a row per label.

    Its parameters' shapes have the axis ``num_labels`` besides those of Config.
    """

    activation: str  # a key of heads.ACTIVATIONS
    parameters: tuple[Parameter, ...]  # the fields are those of ClassificationHeadWeights
    pooling: str = "cls"  # what it reads of a pair: its first token, or "mean", the mean of its tokens
    norm_eps: float = 0.0  # of the norm, where it has one

    def of(self, config_json: Mapping[str, Any]) -> ClassificationHead:
        """Itself, whatever config.json says: an ``Architecture.classification_head``."""
        return self

    def tensors(self, config: Any, num_labels: int) -> Iterator[Tensor]:
        """Every array of the head of a model of this config."""
        for row in self.parameters:
            shape = (num_labels if axis == "num_labels" else getattr(config, axis) for axis in row.shape)
            yield Tensor(row.field, None, row.name, tuple(shape), None, 1)


@dataclass(frozen=True)
class Architecture:
    """One architecture; ``models/<name>.py`` makes it, ``reference/<name>.py`` computes it."""

    name: str
    config: type[Any]  # a frozen dataclass: its fields are those of config.json
    spec: Callable[[Any], Spec]
    parameters: tuple[Parameter, ...]
    layer_parameters: tuple[Parameter, ...]
    layer: str  # what stands in front of a layer's names; {} is its number
    tokenizer_class: str  # transformers' tokenizer, where the model's files name no other
    # transformers' head for the classification of sequences, from what config.json says (ValueError where
    # that is not implemented); None where it is not computed.
    classification_head: Callable[[Mapping[str, Any]], ClassificationHead] | None = None
    # What config.json says, with keys that are no fields turned into fields; ValueError where that cannot be.
    fields_of: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    activation: str = "hidden_act"  # the field of Config that names the activation; "" where it is fixed
    # What config.json may say there -> what Config keeps.
    activations: Mapping[str, str] = field(default_factory=lambda: HIDDEN_ACTS)
    # Keys of config.json that are no fields: the values at which they ask for what is computed here; those
    # that change no vector at any value; and other names that fields may have.
    accepted: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    harmless: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    # Keys that repeat what the fields say already, and the values that agree with them.
    derived: Mapping[str, Callable[[Any], tuple[object, ...]]] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()  # what may stand in front of all names
    unused: tuple[str, ...] = ()  # how names in the encoder begin that an embedding does not need
    renamed: Mapping[str, str] = field(default_factory=dict)  # a part of older names -> of today's
    tied: Mapping[str, str] = field(default_factory=dict)  # another name of an array -> the one that counts

    def canonical_name(self, name: str) -> str:
        """A tensor's name as the table has it."""
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        for old, new in self.renamed.items():
            name = name.replace(old, new)
        return name

    def tensors(self, config: Any) -> Iterator[Tensor]:
        """Every array of a model of this config."""
        for row in self.parameters:
            yield from self._tensor(row, config, None, "")
        for layer in range(self.spec(config).num_hidden_layers):
            for row in self.layer_parameters:
                if layer >= row.first_layer:
                    yield from self._tensor(row, config, layer, self.layer.format(layer))

    def counted(self, config: Any) -> Iterator[tuple[Tensor, int]]:
        """Every kind of array of a model of this config, and how many of it there are."""
        for row in self.parameters:
            yield from ((tensor, 1) for tensor in self._tensor(row, config, None, ""))
        layers = self.spec(config).num_hidden_layers
        for row in self.layer_parameters:
            first = row.first_layer
            for tensor in self._tensor(row, config, first, self.layer.format(first)):
                yield tensor, max(0, layers - first)

    def _tensor(self, row: Parameter, config: Any, layer: int | None, prefix: str) -> Iterator[Tensor]:
        if row.present and not getattr(config, row.present):
            return
        shape = tuple(getattr(config, axis) for axis in row.shape)
        groups = getattr(config, row.part.groups) if row.part and row.part.groups else 1
        yield Tensor(row.field, layer, prefix + row.name, shape, row.part, groups)
