"""`python -m fuzz.engine TARGET [FOLDER] [-OPTION=VALUE...]`: one target under libFuzzer, which ends the process."""

from __future__ import annotations

import logging
import sys

import atheris

# The parser of GUANO is small, so its coverage guides as well.
with atheris.instrument_imports(include=["dawnchorus", "guano"]):
    import guano  # noqa: F401 - imported late by dawnchorus, outside this block

    from fuzz.targets import TARGETS


def main() -> None:
    """Fuzz the target with libFuzzer's own arguments."""
    logging.disable()  # libraries' remarks on every damaged input
    name, *arguments = sys.argv[1:]
    atheris.Setup([name, *arguments], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
