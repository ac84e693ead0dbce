"""The processor that Numba compiles for, ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` included."""

from __future__ import annotations

import os

from minigte.engine import jit
from minigte.engine.level import level_of
from minigte.engine.processor import usable

TRIPLE, FEATURES = jit.target()
_usable = usable(FEATURES)  # asked in any case, since code that uses the registers may run here
if "NUMBA_CPU_FEATURES" not in os.environ:  # whoever names features may be building for another machine
    FEATURES = _usable
LEVEL = level_of(TRIPLE, FEATURES)
