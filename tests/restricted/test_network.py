"""No network, a Hub that hangs, a mirror of the Hub."""

import contextlib
import socket

import pytest
import servers

NAME = "someone/gte-small"
WEIGHTS = f"/{NAME}/resolve/{servers.COMMIT}/model.safetensors"


@pytest.fixture(scope="module")
def mirror(gte_small):
    """A server that speaks the Hub's protocol and has gte-small's real files under a name of its own."""
    with servers.Hub(NAME, gte_small.resolve()).running() as hub:
        yield hub


@pytest.fixture
def silent():
    """A server that accepts and never answers."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_folder(place):
    done = place(
        "no network interface at all; a model's folder",
        "unshare --net python tests/restricted/first_vector.py $MODEL",
    )
    assert done.stdout.startswith("0.8669 (built float32"), done.stderr


def test_a_mirror_then_no_network(place, mirror):
    done = place(
        "a mirror of the Hub fills the cache; then no network",
        "HF_ENDPOINT=$MIRROR minigte download someone/gte-small > $TMP/folder && "
        "unshare --net python tests/restricted/first_vector.py someone/gte-small int8",
        MIRROR=mirror.url,
    )
    assert done.stdout.startswith("0.8"), done.stderr
    assert "built int8" in done.stdout


def test_a_cut_connection(place, mirror):
    mirror.cut_once = {WEIGHTS}
    done = place(
        "a mirror whose connection is cut in the middle of the weights: the download continues from there",
        "HF_ENDPOINT=$MIRROR minigte download someone/gte-small > $TMP/folder && "
        "python tests/restricted/first_vector.py someone/gte-small",
        MIRROR=mirror.url,
    )
    assert done.stdout.startswith("0.8669"), done.stderr
    assert "received 33223064 bytes, expected 66446128" in done.stderr
    (start,) = mirror.ranges.pop(WEIGHTS)
    assert 0 < start <= 33223064


def test_a_download_that_stands_still(place, mirror):
    mirror.stalled = {WEIGHTS}
    done = place(
        "a mirror that stops in the middle of the weights and says nothing more",
        "HF_HUB_DOWNLOAD_TIMEOUT=1 HF_ENDPOINT=$MIRROR minigte download someone/gte-small",
        MIRROR=mirror.url,
    )
    mirror.stalled = set()
    assert done.returncode == 1
    assert "(timed out): set HF_ENDPOINT to a mirror within reach" in done.stderr.splitlines()[-1]


def test_no_model_and_no_network(place):
    done = place(
        "no network, no model here",
        "unshare --net minigte similarity --model thenlper/gte-small China Beijing",
    )
    assert done.returncode == 1
    assert "set HF_ENDPOINT to a mirror within reach, or give the path of a copy" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "minigte: error: the Hugging Face Hub could not be reached"
    )


def test_offline(place):
    done = place(
        "HF_HUB_OFFLINE, no model here",
        "HF_HUB_OFFLINE=1 minigte similarity --model thenlper/gte-small China Beijing",
    )
    assert done.returncode == 1
    assert "or give a model folder's path" in done.stderr


def test_a_hub_that_hangs(place, silent):
    done = place(
        "a Hub that accepts and never answers",
        "HF_HUB_ETAG_TIMEOUT=2 HF_ENDPOINT=$SILENT minigte download someone/gte-small",
        SILENT=silent,
    )
    assert done.returncode == 1
    assert "timed out" in done.stderr
    assert "set HF_ENDPOINT to a mirror within reach, or give the path of a copy" in done.stderr
