"""One peer's first vector: a process that start.py times, and asks for more: ``python first.py REQUEST``.

REQUEST is JSON: the peer's key, the number of threads, the text, and the paths of its files. It imports what
every peer needs and no more. Each answer is a line of JSON on stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from peers import PEERS, Files


def memory() -> dict[str, int]:
    """Bytes of this process that no other has, all that it has in memory, and the most that it has had."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    status = Path("/proc/self/status").read_text()
    return {
        "private": sizes["Private_Clean"] + sizes["Private_Dirty"],
        "resident": sizes["Rss"],
        "peak": int(status.partition("VmHWM:")[2].split()[0]) * 1024,
    }


def main() -> None:
    """Answer when the first vector is there, and after each file of texts whose name comes on stdin."""
    request = json.loads(sys.argv[1])
    peer = next(peer for peer in PEERS if peer.key == request["key"])
    converted = {kind: Path(path) for kind, path in request["converted"].items()}
    files = Files(Path(request["model_dir"]), Path(request["onnx"]), converted)
    encode = peer.load(files, request["threads"], peer.settings[0])
    vector = encode([request["text"]], 1)
    print(json.dumps({"norm": float(np.linalg.norm(vector))}), flush=True)
    for line in sys.stdin:
        texts = json.loads(Path(line.rstrip("\n")).read_text())
        vectors = encode(texts, 16) if texts else []
        print(json.dumps({"count": len(vectors), **memory()}), flush=True)


if __name__ == "__main__":
    main()
