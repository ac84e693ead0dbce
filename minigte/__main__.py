"""``python -m minigte`` is the command ``minigte``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, which is written with click: in an install of the least it is not there."""
    try:
        from minigte.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("minigte: error: the command line needs the click package: pip install click", file=sys.stderr)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
