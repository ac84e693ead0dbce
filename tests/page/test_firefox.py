"""The page of ``minigte page`` in a real headless Firefox, which is driven by WebDriver BiDi.

https://w3c.github.io/webdriver-bidi/ is what Firefox itself speaks over a socket; Playwright wants a Firefox
of its own making. `make test-page` installs what these tests need; elsewhere they are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_browser import EMBED
from test_web_page import TEXTS, baseline, make

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
PATIENCE = 120  # seconds

pytestmark = [
    pytest.mark.page,
    pytest.mark.usefixtures("web_kernels"),
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox here: apt-get install firefox-esr"),
]


class Firefox:
    """A session with one tab."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._calls = 0
        self.call("session.new", capabilities={})
        self.tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._calls:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Go there, and wait for it."""
        self.call("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    def run(self, function: str, *values: object) -> Any:
        """What an async function of the page returns for JSON values."""
        given = [{"type": "string", "value": json.dumps(value)} for value in values]
        code = f"async (...given) => JSON.stringify(await ({function})(...given.map(JSON.parse)))"
        answer = self.call(
            "script.callFunction",
            functionDeclaration=code,
            arguments=given,
            target={"context": self.tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not here: make test-page")
    profile = tmp_path_factory.mktemp("profile")
    command = [
        FIREFOX,
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stderr or ():
                if found := re.search(r"BiDi listening on (ws://\S+)", line):
                    break
            else:
                pytest.fail("Firefox ended before it listened")
            # What it says later would fill the pipe, and it would wait.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            with client.connect(f"{found[1]}/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, web_kernels: None, gte_small: Path) -> Path:
    at = tmp_path_factory.mktemp("pages")
    make(gte_small, "-o", at / "page")
    make(gte_small, "-o", at / "page.html")
    return at / "page"


def test_vectors_have_the_bits_of_the_baseline(
    firefox: Firefox, folder: Path, gte_small: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    wanted = baseline(gte_small, "int8", tmp_path)
    firefox.open(serve(folder))
    found = np.array(firefox.run(EMBED, [TEXTS, 1]), np.float32)
    assert np.array_equal(found, wanted)


def test_one_file_follows_what_is_typed(firefox: Firefox, folder: Path) -> None:
    """From the disk, where there is no server and no network."""
    firefox.open(folder.with_suffix(".html").as_uri())
    shown = firefox.run(
        """async (text) => {
          const soon = () => new Promise((resolve) => setTimeout(resolve, 50));
          while (!document.body.hasAttribute("data-ready")) await soon();
          const texts = document.getElementById("texts");
          texts.value = text;
          texts.dispatchEvent(new Event("input", { bubbles: true }));
          const heads = () => document.querySelectorAll("#similarities th[scope=row]").length;
          while (heads() !== 3) await soon();
          return [...document.querySelectorAll("#similarities tr")].slice(1)
            .map((row) => [...row.cells].slice(1).map((cell) => cell.textContent));
        }""",
        "the cat\nthe cat\na dog",
    )
    assert shown[0][:2] == shown[1][:2] == ["1.000", "1.000"]
    assert shown[0][2] == shown[2][0] != "1.000"
