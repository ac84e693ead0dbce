"""Intermediate results by name, each with the statement that made it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minigte.arrays import Float32

LAYER = re.compile(r"(?:.*?\.)?(\d+)\.")  # a name with a layer's number in it, which is the first number


@dataclass(frozen=True)
class Stage:
    """One intermediate result, and the statement of the source that made it."""

    array: Float32
    file: str  # relative to the package's folder, such as "reference/ops.py"
    line: int  # counted from 1
    source: str  # the statement itself; "" where the package is installed without its sources

    @property
    def where(self) -> str:
        """File and line, such as "reference/ops.py:93"."""
        return f"{self.file}:{self.line}"


class Stages(Mapping[str, Any]):
    """Arrays by their dotted names, as a mapping and as attributes.

    ``stages["encoder.layer.3.attention.self.probs"]`` and ``stages.encoder.layer[3].attention.self.probs``
    are the same array. A name that only begins others gives these, under what is left of their names.
    ``stages.stage(name)`` says which line made an array; printing shows all of it as a table.
    """

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self._stages = dict(stages)

    def stage(self, name: str) -> Stage:
        """The array of this name with the file, line and statement that made it. Raises KeyError."""
        if name not in self._stages:
            raise KeyError(f"no stage {name!r}: print(trace) shows the names")
        return self._stages[name]

    def __getitem__(self, name: str | int) -> Any:
        name = str(name)
        if name in self._stages:
            return self._stages[name].array
        prefix = name + "."
        branch = {n.removeprefix(prefix): stage for n, stage in self._stages.items() if n.startswith(prefix)}
        if not branch:
            raise KeyError(f"no stage {name!r}: print(trace) shows the names")
        return Stages(branch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by copy and pickle before there are stages
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(*error.args) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *{name.partition(".")[0] for name in self._stages}]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        return table(self._stages)


def table(stages: Mapping[str, Stage]) -> str:
    """One row per array: name, shape, where; of numbered layers the first stands for all."""
    rows = [("name", "shape", "made at")]
    numbers = [match[1] for name in stages if (match := LAYER.match(name))]
    for name, stage in stages.items():
        match = LAYER.match(name)
        if match is None or match[1] == numbers[0]:
            rows.append((name, str(stage.array.shape), stage.where))
        elif rows[-1][0] != (others := f"... and layers {int(numbers[0]) + 1} to {numbers[-1]} likewise"):
            rows.append((others, "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
