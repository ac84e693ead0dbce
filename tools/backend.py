"""setuptools as the build backend, which needs a compiler for a wheel and nothing else for the rest.

An editable install and the sdist carry no kernels, and would wait for some 200 MB in vain.
"""

from __future__ import annotations

import os
import shutil

from setuptools.build_meta import (  # what a frontend calls
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

# Numba compiles the kernels (0.61, which runs them too, knows no pointers without a type), in processes that
# import minigte, which imports the others.
COMPILER = ["numba>=0.62", "safetensors>=0.4.3", "tokenizers>=0.20"]
# It brings a linker, for systems that have none.
LINKER = "ziglang>=0.13,<0.18"


def get_requires_for_build_wheel(config_settings: dict[str, str] | None = None) -> list[str]:
    """What ``build_wheel`` needs beside setuptools."""
    here = "ld.lld", "ld"
    wanted = ("ld.lld", "wasm-ld") if os.environ.get("MINIGTE_PLATFORM") else ()
    has_linkers = any(map(shutil.which, here)) and all(map(shutil.which, wanted))
    linkers = [] if has_linkers else [LINKER]
    return COMPILER + linkers
