"""`dawnchorus archive export` and `import`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.commands import Command
from tests.fixtures.vectors import write_vectors

from dawnchorus.models.bundle import Bundle


def test_embeddings_go_out_and_in(band_bundle: Bundle, level_bundle: Bundle, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("usearch", reason="usearch is not installed: pip install 'dawnchorus[hoplite]'")
    write_vectors(tmp_path / "archive", n=30, dim=12, seed=1)
    out = tmp_path / "database"
    done = command("archive", "export", tmp_path / "archive", out)
    assert done.returncode == 0, done.stderr
    assert b"database: 30 windows" in done.stdout
    done = command("archive", "import", out, tmp_path / "other", "--audio", tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"30 windows added, of 3 recordings." in done.stdout
    done = command("archive", "import", out, tmp_path / "other", "--model", band_bundle.folder)
    assert (done.returncode, b"expected windows of bands (1 s), got some of 3 s" in done.stderr) == (2, True)
    done = command("archive", "import", out, tmp_path / "other", "--model", level_bundle.folder)
    assert (done.returncode, b"level: this model has no embeddings" in done.stderr) == (5, True)
