"""What Windows lacks is not needed: the same work with all of it hidden."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tiny
from places import ROOT

pytestmark = pytest.mark.slow

HIDDEN = """
import io, os, signal, sys, warnings

# What the standard library and other packages need of this on POSIX, they have imported before.
import asyncio, contextlib, ctypes, hashlib, multiprocessing, pathlib, shutil, subprocess, tempfile, threading
import numpy, tokenizers, tqdm, click, orjson, uvicorn, huggingface_hub, safetensors, httpx
with contextlib.suppress(ImportError):
    import polars

for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
NO_FUNCTIONS = {
    os: "fork forkpty register_at_fork getuid geteuid getgid getegid chown lchown fchown fchmod sysconf "
    "uname sched_getaffinity mkfifo set_blocking getpgid killpg nice getloadavg statvfs WNOHANG O_NONBLOCK "
    "O_CLOEXEC pread pwrite posix_fadvise sync",
    signal: "pthread_sigmask SIGKILL SIGHUP SIGPIPE SIGALRM SIGUSR1 alarm sigwait",
}
for module, names in NO_FUNCTIONS.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
os.environ["PROCESSOR_ARCHITECTURE"] = {"x86_64": "AMD64", "aarch64": "ARM64"}[MACHINE]

def fsync(handle, fsync=os.fsync):
    os.write(handle, b"")  # Windows flushes only what may be written
    fsync(handle)

os.fsync = fsync

from minigte.runtime import resources

resources.PROC = resources.CGROUPS = pathlib.Path("/nowhere")
warnings.filterwarnings("error", category=EncodingWarning, module="minigte")  # cp1252 there, UTF-8 here
"""


def run(script: str) -> str:
    code = f"import os; MACHINE = os.uname().machine\n{HIDDEN}{textwrap.dedent(script)}"
    command = [sys.executable, "-X", "warn_default_encoding", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_can_be_imported() -> None:
    printed = run(
        """
        import contextlib, importlib, pkgutil
        import minigte

        names = [module.name for module in pkgutil.walk_packages(minigte.__path__, "minigte.")]
        for name in names:
            if not name.endswith("__main__") and "-" not in name:  # the library of kernels is no module
                with contextlib.suppress(minigte.MissingDependencyError):
                    importlib.import_module(name)
        print(len(names))
        """
    )
    assert int(printed) > 60


def test_the_commands_work(tmp_path: Path) -> None:
    model, texts = tiny.write_model(tmp_path / "model"), tmp_path / "texts.txt"
    texts.write_text("the cat\na dog é 中\n" * 700, encoding="utf-8")
    printed = run(
        f"""
        from minigte.cli.main import main

        def minigte(*arguments):
            sys.argv = ["minigte", *map(str, arguments)]
            try:
                main()
            except SystemExit as end:
                assert end.code == 0, arguments

        folder, model = pathlib.Path({str(tmp_path)!r}), {str(model)!r}
        for suffix in (".npy", ".jsonl", ".parquet"):
            output = folder / ("vectors" + suffix)
            output.write_bytes(b"old")
            embed = "embed", "--model", model, "--input", folder / "texts.txt", "--output", output
            minigte(*embed)
            before = output.read_bytes()
            minigte(*embed, "--resume")
            assert output.read_bytes() == before
        minigte("explain", "--model", model, "the cat", "a dog", "-o", folder / "page.html")
        minigte("similarity", "--model", model, "the cat", "a dog")
        minigte("search", "--model", model, "cat", folder / "texts.txt")
        minigte("info", "--model", model)
        """
    )
    assert "the cat" in printed
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
