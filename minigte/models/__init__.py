"""The architectures minigte knows, by the ``model_type`` of their ``config.json``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from minigte.models.architecture import Architecture


class _Architectures(Mapping[str, Architecture]):
    """Imports an architecture's module when it is asked for: a program has one model, seldom two."""

    def __init__(self, modules: dict[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, model_type: str) -> Architecture:
        module = importlib.import_module(f"minigte.models.{self._modules[model_type]}")
        architecture: Architecture = module.ARCHITECTURE
        return architecture

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


ARCHITECTURES = _Architectures(
    {
        "bert": "bert",
        "bloom": "bloom",
        "distilbert": "distilbert",
        "modernbert": "modernbert",
        "mpnet": "mpnet",
        "roberta": "roberta",
        "t5": "t5",
        "xlm-roberta": "roberta",
    }
)
