"""The processor that Numba compiles for, ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` included."""

from __future__ import annotations

from numba.core.registry import cpu_target

from minigte.engine.level import level_of

TRIPLE, _, _features = cpu_target.target_context.codegen().magic_tuple()
FEATURES = frozenset(name[1:] for name in _features.split(",") if name.startswith("+"))
LEVEL = level_of(TRIPLE, FEATURES)
