"""The WebAssembly kernels of these sources: those of the package, or built once for these tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from minigte.backend import jit_missing
from minigte.engine import library, sources, web
from minigte.errors import MissingDependencyError


@pytest.fixture(scope="session")
def web_kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    try:
        library.read(sources.folder(), library.file_name("web", "wasm32"))
    except MissingDependencyError as error:
        if jit_missing() is not None:
            pytest.skip(f"{error}, and {jit_missing()}")
        if shutil.which("wasm-ld") is None:
            pytest.skip(f"{error}, and no wasm-ld is here: apt-get install lld")
    else:
        yield
        return
    from minigte.engine import build

    folder = tmp_path_factory.mktemp("web")
    build.build(folder, build.PLATFORMS["web-wasm32"], ["simd128"], ["float32", "int8"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "folder", lambda: folder)
        yield
