"""minigte inside a program that PyInstaller freezes: an entry point tells it of the hook that lies here."""

from __future__ import annotations

from pathlib import Path


def hook_directories() -> list[str]:
    """Where hook-minigte.py lies."""
    return [str(Path(__file__).parent)]
