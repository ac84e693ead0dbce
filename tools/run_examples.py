"""Run the scripts of examples/ and keep what they print: ``make examples``.

Each file of examples/outputs holds commands, as a reader types them in the repository, and what they print.
tests/test_examples.py sees that they print the same now.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ROOT / "examples" / "outputs"


def run(text: str) -> str:
    """The text of such a file with what its commands print now. Raises RuntimeError where one fails."""
    parts = []
    for command in re.findall(r"^\$ python (.*)$", text, re.MULTILINE):
        process = subprocess.run(
            [sys.executable, *shlex.split(command)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise RuntimeError(f"python {command}\n{process.stderr}")
        parts.append(f"$ python {command}\n{process.stdout}")
    return "\n".join(parts)


def main() -> None:
    """Rewrite every file."""
    for path in sorted(OUTPUTS.glob("*.txt")):
        path.write_text(run(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
