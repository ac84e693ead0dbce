"""``python -m minigte`` is the command ``minigte``."""

from minigte.cli.main import main

if __name__ == "__main__":
    main()
