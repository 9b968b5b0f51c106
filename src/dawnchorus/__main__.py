"""`python -m dawnchorus`."""

from dawnchorus.cli.main import main

if __name__ == "__main__":
    main()
