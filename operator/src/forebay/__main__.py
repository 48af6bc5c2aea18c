"""``python -m forebay``."""

from forebay.cli.main import main

if __name__ == "__main__":
    main()
