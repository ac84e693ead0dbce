"""Files that are replaced when they are whole, and what is written to in place."""

import os
import stat
import subprocess
import sys

import pytest

from minigte.errors import OutputError
from minigte.runtime import replacing as module
from minigte.runtime.replacing import followed, is_replaceable, replacing


class StoppedError(Exception):
    """Ends a block before it is done."""


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "out"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def stopped():
        with replacing(path) as file:
            file.write(b"new")
            raise StoppedError

    with pytest.raises(StoppedError):
        stopped()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_and_owner_are_kept(tmp_path, mode):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    with replacing(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode  # also while it is written
        file.write(b"new")
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_links_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    link, chain = tmp_path / "link", tmp_path / "chain"
    link.symlink_to("elsewhere/target")  # which is not there yet
    chain.symlink_to("link")
    for path, content in ((link, b"1"), (chain, b"2")):
        with replacing(path) as file:
            file.write(content)
        assert path.is_symlink()
        assert not target.is_symlink()
        assert target.read_bytes() == content
        assert followed(path) == target.resolve()
    assert followed(target) == target
    assert len(list(tmp_path.iterdir())) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == [target]


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert not is_replaceable(path)
    with (
        (tmp_path / "read").open("wb") as read,
        subprocess.Popen(["cat", str(path)], stdout=read),
        replacing(path) as file,
    ):
        file.write(b"x" * 200_000)  # more than a pipe holds
    assert (tmp_path / "read").read_bytes() == b"x" * 200_000
    assert path.is_fifo()


def test_a_pipe_that_nobody_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match=r"cannot write .*pipe: no process reads .* start one"):
        replacing(tmp_path / "pipe").__enter__()


def test_a_device_stays_one(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make a device")
    with replacing(device) as file:
        file.write(b"gone")
    assert device.is_char_device()
    assert list(tmp_path.iterdir()) == [device]


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"])
def test_what_a_descriptor_has_written_stays(tmp_path, name):
    code = (
        "import pathlib, sys; from minigte.runtime.replacing import replacing\n"
        "print('before', file=sys.stderr, flush=True)\n"
        f"with replacing(pathlib.Path({name!r})) as file: file.write(b'result')"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stderr=log, check=True)
    assert (tmp_path / "log").read_bytes() == b"before\nresult"


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    for path, fault in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "such", "No such file"),
        (tmp_path / "file" / "x", "Not a directory"),
        (tmp_path / "loop", "Too many levels"),
    ):
        with pytest.raises(OutputError, match=f"cannot write {path}: {fault}"):
            replacing(path).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o400)
    with pytest.raises(OutputError, match="Permission denied"):
        is_replaceable(tmp_path / "file")
