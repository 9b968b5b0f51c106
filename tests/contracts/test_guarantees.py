"""docs/GUARANTEES.md and docs/DECISIONS.md name tests that exist, and say of each in which run it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = "\n".join((ROOT / "docs" / name).read_text() for name in ("GUARANTEES.md", "DECISIONS.md"))


@pytest.mark.parametrize("named", sorted(set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", TEXT))))
def test_what_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    source = (ROOT / path).read_text()
    assert not name or f"def {name}(" in source
    before = source.partition(f"def {name}(")[0] if name else source
    is_ops = "pytestmark = pytest.mark.ops" in source or before.endswith("@pytest.mark.ops\n")
    for row in TEXT.splitlines():
        if f"{named} " in row or f"{named};" in row or f"{named}," in row:
            assert (f"{named} *ops*" in row) == is_ops, named


def test_what_is_linked_is_in_the_report() -> None:
    titles = re.findall(r"^## (.*)$", (ROOT / "docs" / "BENCHMARKS.md").read_text(), re.MULTILINE)
    for link in re.findall(r"BENCHMARKS\.md#([\w-]+)", TEXT):
        assert link in {title.lower().replace(" ", "-") for title in titles}
