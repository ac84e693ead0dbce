"""The processor that Numba compiles for, ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` included."""

from __future__ import annotations

import os

from minigte.engine import jit
from minigte.engine.level import AMX, level_of
from minigte.engine.processor import may_use_matrices

TRIPLE, FEATURES = jit.target()
# Whoever names features may be building for another machine; else what the system refuses is not there.
if not FEATURES.isdisjoint(AMX) and not may_use_matrices() and "NUMBA_CPU_FEATURES" not in os.environ:
    FEATURES -= set(AMX)
LEVEL = level_of(TRIPLE, FEATURES)
