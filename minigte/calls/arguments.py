"""Checks of what callers pass: one clear error at the call, in place of a strange one far from it.

Numbers arrive as text or as floats from environment variables, YAML and JSON.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from minigte.errors import InputError

TRUNCATIONS = ("warn", "ignore", "error")  # what may be done about a text that is too long


def whole_number(name: str, value: object, smallest: int, largest: int | None = None) -> int:
    """The value as an int. Raises InputError, which names the argument, for anything else."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not is_whole or value < smallest or (largest is not None and value > largest):  # type: ignore[operator]
        limits = f"from {smallest}" + ("" if largest is None else f" to {largest}")
        raise InputError(f"{name} must be a whole number {limits}, not {value!r}")
    return int(value)  # type: ignore[call-overload]


def yes_or_no(name: str, value: object) -> bool:
    """The value as a bool. Raises InputError for anything else: the text "false" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def one_of(name: str, value: object, choices: Collection[object]) -> None:
    """Raise InputError, which lists the choices, where the value is none of them."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InputError(f"unknown {name} {value!r} (known: {', '.join(map(str, choices))})")
