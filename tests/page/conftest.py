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
