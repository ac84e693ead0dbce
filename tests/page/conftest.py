"""The WebAssembly kernels of these sources: those of the package, or built once; and a server of files."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minigte.backend import jit_missing
from minigte.engine import library, sources, web
from minigte.errors import MissingDependencyError


def is_built(folder: Path) -> bool:
    """Whether the WebAssembly kernels of these very sources are there."""
    try:
        library.read(folder, library.file_name("web", "wasm32"))
    except MissingDependencyError:
        return False
    return True


@pytest.fixture(scope="session")
def web_kernels(pytestconfig: pytest.Config) -> Iterator[None]:
    if is_built(sources.folder()):
        yield
        return
    folder = pytestconfig.cache.mkdir("web-kernels")  # for `make test` and for `make test-page`
    if not is_built(folder):
        if jit_missing() is not None:
            pytest.skip(f"no kernels for the web were built, and {jit_missing()}")
        if shutil.which("wasm-ld") is None:
            pytest.skip("no kernels for the web were built, and no wasm-ld is here: apt-get install lld")
        from minigte.engine import build

        build.build(folder, build.PLATFORMS["web-wasm32"], ["simd128"], ["float32", "int8"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "folder", lambda: folder)
        yield


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """serve(folder) gives the address of a server of its files."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
