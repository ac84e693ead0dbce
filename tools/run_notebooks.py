"""Execute the notebooks of examples/ and keep their outputs, without what differs from run to run.

    tools/run_notebooks.py                       all of them, in place
    tools/run_notebooks.py examples/1-*.ipynb    these

The model is MINIGTE_MODEL, or thenlper/gte-small from a cache or a download. Each file is replaced only
after all of its cells have run without an error; the picture of its cell tagged "picture" goes to
examples/pictures/.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from minigte.backend import DTYPES, choose_backend, kernels
from minigte.runtime.replacing import replacing

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def execute(path: Path) -> nbformat.NotebookNode:
    """Run a notebook from its first cell in a fresh kernel, in its own folder; gives it with its outputs.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    with tempfile.TemporaryDirectory() as folder:
        # Over sockets of this folder: no open port, and no warning about one.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        NotebookClient(
            notebook,
            config=config,
            kernel_name="python3",
            startup_timeout=600,
            record_timing=False,
            resources=resources,
        ).execute()
    return clean(notebook)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with cells numbered by place, and without the metadata of kernels and editors.

    A kernel sends what a cell prints in pieces of chance size: those of one stream are joined.
    """
    cells = []
    for number, cell in enumerate(notebook.cells, 1):
        metadata = {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        new = {
            "cell_type": cell.cell_type,
            "id": f"cell-{number}",
            "metadata": metadata,
            "source": cell.source,
        }
        if cell.cell_type == "code":
            new |= {"execution_count": None, "outputs": joined(cell.outputs)}
        cells.append(new)
    python = {"language": "python", "name": "python3", "display_name": "Python 3"}
    version = notebook.metadata.language_info.version
    whole = {"kernelspec": python, "language_info": {"name": "python", "version": version}}
    return nbformat.from_dict({"cells": cells, "metadata": whole, "nbformat": 4, "nbformat_minor": 5})


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """A cell's outputs with neighbouring pieces of the same stream in one, and without execution counts."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if kept and output.output_type == "stream" and output.get("name") == kept[-1].get("name"):
            kept[-1].text += output.text
        else:
            kept.append(output)
        if "execution_count" in output:
            output.execution_count = None
    return kept


def warm_up() -> None:
    """Compile the kernels, so that no notebook keeps the line which says that they are being compiled."""
    for dtype in DTYPES:
        kernels(choose_backend("auto", dtype)).prepare(dtype)


def main(paths: list[str]) -> None:
    """Execute these notebooks, or all, and write each back."""
    if "MINIGTE_MODEL" in os.environ:  # the notebooks run in a folder of their own
        os.environ["MINIGTE_MODEL"] = str(Path(os.environ["MINIGTE_MODEL"]).resolve())
    warm_up()
    for path in [Path(name).resolve() for name in paths] or sorted(EXAMPLES.glob("*.ipynb")):
        print(f"{path.name} ...", file=sys.stderr)
        notebook = execute(path)
        with replacing(path) as file:
            file.write(f"{nbformat.writes(notebook)}\n".encode())
        for cell in notebook.cells:
            if "picture" in cell.metadata.get("tags", []):
                [png] = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
                with replacing(EXAMPLES / "pictures" / f"{path.stem}.png") as file:
                    file.write(base64.b64decode(png))


if __name__ == "__main__":
    main(sys.argv[1:])
