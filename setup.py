"""What pyproject.toml cannot say: a wheel carries kernels, which belong to a platform and to no Python.

``pip install .`` builds those of this machine's processor alone. With ``MINIGTE_PLATFORM=linux-x86_64``, for
example, a wheel is built that runs on every processor of that platform, on any machine (``make wheels``). An
editable install builds none: ``make kernels`` does, or Numba compiles when they are needed (``[jit]``).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).parent
# The platforms that wheels are built for. They ask nothing of the C library but two functions that each
# version has; these tags are those of the oldest systems that tokenizers has wheels for.
TAGS = {
    f"linux-{machine}": f"manylinux_2_17_{machine}.manylinux2014_{machine}.musllinux_1_1_{machine}"
    for machine in ("x86_64", "aarch64")
}
HERE = f"{sys.platform}-{platform.machine()}"
WANTED = os.environ.get("MINIGTE_PLATFORM", "")
PLATFORM = WANTED or HERE


class BuildKernels(Command):
    """Compile the kernels into the folder that the wheel is made of."""

    editable_mode = False
    build_lib = ""

    def initialize_options(self) -> None:
        """Nothing can be set."""

    def finalize_options(self) -> None:
        """Find the folder."""
        self.build_lib = self.get_finalized_command("build_py").build_lib

    def run(self) -> None:
        """Compile, in a process of its own; what it has to say goes where pip -v shows it."""
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "minigte" / "engine"
        for old in folder.glob("kernels-*"):  # of another platform, built before in this clone
            old.unlink()
        if PLATFORM not in TAGS:
            print(f"minigte: no kernels are built for {PLATFORM}: it will need Numba, or compute with NumPy")
            return
        try:
            import numba  # noqa: F401
        except ImportError as error:
            raise SystemExit(
                f"minigte: Numba, which compiles the kernels of a wheel, cannot be imported ({error}): "
                "build without --no-build-isolation, or pip install numba"
            ) from error
        self.compile(PLATFORM, "all" if WANTED else "here", folder)
        # For `minigte page`; where a linker is missing, that alone will be.
        if WANTED or shutil.which("wasm-ld") or importlib.util.find_spec("ziglang"):
            self.compile("web-wasm32", "all", folder)

    def compile(self, name: str, levels: str, folder: Path) -> None:
        """Compile for one platform."""
        command = [sys.executable, "-m", "minigte.engine.build", "--platform", name]
        command += ["--levels", levels, "--output", str(folder)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode != 0:
            raise SystemExit(done.returncode)

    def get_source_files(self) -> list[str]:
        """Those of the package, which build_py names."""
        return []

    def get_outputs(self) -> list[str]:
        """What was built."""
        return [str(path) for path in (Path(self.build_lib) / "minigte" / "engine").glob("kernels-*")]

    def get_output_mapping(self) -> dict[str, str]:
        """No output stands for one file of the sources."""
        return {}


class Build(build):
    """A build with kernels."""

    sub_commands = [*build.sub_commands, ("build_kernels", None)]  # noqa: RUF012


class Wheel(bdist_wheel):
    """A wheel for every Python 3, on the platform of its kernels."""

    def get_tag(self) -> tuple[str, str, str]:
        """Give what is in the wheel's name."""
        *_, here = super().get_tag()
        return "py3", "none", TAGS[PLATFORM] if WANTED else here


class Package(Distribution):
    """A package whose files belong to a platform, where kernels are built for it."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is for one platform alone."""
        return PLATFORM in TAGS


if WANTED and WANTED not in TAGS:
    raise SystemExit(f"minigte: MINIGTE_PLATFORM is {WANTED!r}: wheels are built for {', '.join(TAGS)}")

setup(
    cmdclass={"build": Build, "build_kernels": BuildKernels, "bdist_wheel": Wheel},
    distclass=Package,
)
