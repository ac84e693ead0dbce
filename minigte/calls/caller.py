"""The line of the caller's own code, which is what a warning must name."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

PACKAGE = __name__.partition(".")[0]


def warn_caller(warning: Warning) -> None:
    """Issue a warning that names the innermost line outside this package, however deep we are in it."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
        frame = frame.f_back
        level += 1
    warnings.warn(warning, stacklevel=level)
