"""``python -m minigte`` is the command ``minigte``."""

from minigte.cli import main

if __name__ == "__main__":
    main()
