"""A Hugging Face Hub and an npm registry on this machine's loopback, for their real clients.

They speak as much of the two protocols as ``huggingface_hub`` and ``npm pack`` use, and fail on demand.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """Keeps its requests and answers with ``reply``.

    The body of a path in ``cut`` stops half-way and the connection is closed; of one in ``cut_once``, the
    first time it is asked for; of one in ``stalled``, the connection stays open, and nothing more comes.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.authorizations: list[str | None] = []  # the header that each of them carried
        self.ranges: dict[str, list[int]] = {}  # path -> the first bytes that were asked for, but for 0
        self.cut: set[str] = set()
        self.cut_once: set[str] = set()
        self.stalled: set[str] = set()
        self.status: dict[str, int] = {}  # path -> an HTTP error to answer with
        self.url = ""
        self.stopped = threading.Event()

    def reply(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """The status, headers and body for a path."""
        raise AssertionError(path)

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Serve on a free port until the block ends."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                outer.requests.append(f"{self.command} {path}")
                outer.authorizations.append(self.headers["Authorization"])
                status, headers, body = outer.reply(path)
                if path in outer.status:
                    status, headers, body = outer.status[path], {}, b"{}"
                start = 0
                if "Range" in self.headers and status == 200:
                    start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
                    status = 206
                    outer.ranges.setdefault(path, []).append(start)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                if self.command == "GET":
                    whole = path not in outer.cut | outer.cut_once | outer.stalled
                    outer.cut_once.discard(path)
                    stop = len(body) if whole else (start + len(body)) // 2
                    self.wfile.write(body[start:stop])
                    if path in outer.stalled:
                        outer.stopped.wait()
                    self.close_connection = not whole

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            self.stopped.set()
            server.shutdown()
            thread.join()
            server.server_close()


class Hub(Server):
    """One repository of the Hugging Face Hub, made of a folder's files; every revision is ``commit``."""

    def __init__(self, repository: str, folder: Path, commit: str = COMMIT) -> None:
        super().__init__()
        self.repository = repository
        self.commit = commit
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def reply(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        api = f"/api/models/{self.repository}/"
        resolve = f"/{self.repository}/resolve/"
        if path.startswith(api + "revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {
                "id": self.repository,
                "modelId": self.repository,
                "sha": self.commit,
                "siblings": siblings,
            }
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        if path.startswith(api + "tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": self.oid(content)}
                for name, content in self.files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path.startswith(resolve):
            name = path.removeprefix(resolve).partition("/")[2]
            if name in self.files:
                content = self.files[name]
                etag = f'"{self.oid(content)}"'
                return 200, {"ETag": etag, "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}, content
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.commit}, b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    @staticmethod
    def oid(content: bytes) -> str:
        """Git's name of a file's content."""
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class NpmRegistry(Server):
    """An npm registry with one package, made of files."""

    def __init__(self, name: str, version: str, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.name = name
        self.version = version
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            manifest = json.dumps({"name": name, "version": version}).encode()
            for path, content in {"package.json": manifest, **files}.items():
                info = tarfile.TarInfo(f"package/{path}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        self.tarball = buffer.getvalue()
        self.tarball_path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"

    def reply(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        if path == self.tarball_path:
            return 200, {"Content-Type": "application/octet-stream"}, self.tarball
        if path == f"/{self.name}":
            dist = {
                "tarball": self.url + self.tarball_path,
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(self.tarball).digest()).decode(),
                "shasum": hashlib.sha1(self.tarball).hexdigest(),
            }
            package = {"name": self.name, "version": self.version, "dist": dist}
            document = {
                "name": self.name,
                "dist-tags": {"latest": self.version},
                "versions": {self.version: package},
            }
            return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()
        return 404, {}, b"{}"
