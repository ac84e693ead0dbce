"""A copy of the package with the changes that docs/change-it.md shows, and what it computes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pages

Float32 = npt.NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "change-it.md"
# None has a token that the tiny vocabulary does not know: to RoBERTa its id, 1, is padding.
TEXTS = ["the cat sat on the mat", "a dog", "", "the dogs, running: 3 cats!"]

ENCODE = f"""
import sys
from pathlib import Path
import warnings
import numpy as np
import minigte
warnings.simplefilter("ignore", minigte.AssumptionWarning)
assert Path(minigte.__file__).parent.parent == Path.cwd(), minigte.__file__
embedder = minigte.Embedder(sys.argv[1], backend=sys.argv[2])
np.save(sys.argv[3], np.concatenate(embedder.encode({TEXTS}, output_value="token_embeddings")))
"""


def copied_package(folder: Path) -> Path:
    """Copy the package as it is into ``folder``; gives the folder back."""
    shutil.copytree(ROOT / "minigte", folder / "minigte", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def changed_package(folder: Path) -> Path:
    """Copy the package into ``folder`` and make the page's changes to it; gives the folder back."""
    copied_package(folder)
    changes = 0
    for language, block in pages.blocks(PAGE):
        first, _, rest = block.partition("\n")
        if language == "diff":
            path = folder / first.removeprefix("--- ")
            lines = [line if line.strip() else " \n" for line in rest.splitlines(keepends=True)]
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            source = path.read_text(encoding="utf-8")
            assert source.count(before) == 1, f"{first} of {PAGE.name} is no longer as the page shows it"
            path.write_text(source.replace(before, after), encoding="utf-8")
        elif first.startswith("# minigte/"):
            path = folder / first.removeprefix("# ")
            assert not path.exists()
            path.write_text(rest, encoding="utf-8")
        else:
            continue
        changes += 1
    assert changes == 10
    return folder


def run(package: Path, code: str, *arguments: str, **variables: str) -> str:
    """Run code by a changed package; what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONWARNINGS": "error", **variables}
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def encode(package: Path, model: Path, backend: str, output: Path) -> Float32:
    """The last hidden states of TEXTS, end to end, by the changed package: (N, D)."""
    run(package, ENCODE, str(model), backend, str(output))
    array: Float32 = np.load(output)
    return array
