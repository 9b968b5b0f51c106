"""Rows that the archive has changed since they were fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.xeno_canto import Fetch, XenoCanto

from dawnchorus.data.recordings import read_table


def test_rows_that_the_archive_has_changed_are_named_and_updated(
    archive: XenoCanto, fetch: Fetch, tmp_path: Path
) -> None:
    data_set = tmp_path / "set"
    assert fetch(data_set)[0] == 0
    (data_set / "audio" / "XC10.mp3").write_bytes(b"<!DOCTYPE html><html>Too many requests</html>")
    (data_set / "audio" / "XC12.mp3").write_bytes(bytes(range(256)))
    archive.removed = {2}
    archive.outside = {3}
    archive.recordings = {12: bytes(range(256)) * 4}
    archive.changed = {
        3: {"gen": "Cyanistes", "sp": "caeruleus", "en": "Blue Tit"},
        4: {"gen": "Mystery", "sp": "mystery", "en": "Identity unknown"},
        6: {"lic": "//creativecommons.org/licenses/by-nc-nd/4.0/"},
        8: {"length": "1:00"},
        10: {"date": "2023-01-02", "q": "A"},
    }
    archive.n_downloads = 0
    code, _, errors = fetch(data_set)
    said = " ".join(errors.split())
    rows = {row.recording_id: row for row in read_table(data_set).rows}
    assert code != 0, "XC12 failed"
    assert "that the archive has removed, whose rows and sound stay: 1 (XC2)." in said
    assert "under another species at the archive now: 2 (" in said
    assert "XC3: Parus major -> Cyanistes caeruleus" in said
    assert "XC4: Cuculus canorus -> unknown" in said
    assert "under another license at the archive now: 1 (XC6: CC-BY-SA-4.0 -> CC-BY-NC-ND-4.0)." in said
    assert "with another date at the archive now: 1 (XC10: 2024-05-10 -> 2023-01-02)." in said
    assert "with another quality at the archive now: 1 (XC10: E -> A)." in said
    assert "another file at the archive now, which is downloaded if it is selected: 1 (XC8)." in said
    assert "no sound, removed: 2 (as XC10); fetched again: 1; without a row now: 1." in said
    assert (rows["XC3"].scientific_name, rows["XC4"].scientific_name) == ("Cyanistes caeruleus", None)
    assert "sounds of another length than the archive lists: 2, 2 of them shorter (as XC10: 1.0 s, listed with" in said
    assert rows["XC8"].duration_s == pytest.approx(1.0, abs=0.1), "the file's, not the archive's"
    assert rows["XC6"].license == "CC-BY-NC-ND-4.0"
    assert "XC2" in rows
    assert "XC12" not in rows
    files = {path.name: path.read_bytes() for path in (data_set / "audio").iterdir()}
    assert {Path(row.path).name for row in rows.values()} == set(files)
    assert not any(content.startswith(b"<") for content in files.values())
    archive.n_downloads = 0
    again = " ".join(fetch(data_set)[2].split())
    assert archive.n_downloads == 1, "XC12 alone: a file that is not as long as listed is still the archive's"
    assert "another length" not in again
    assert {row.recording_id: row.duration_s for row in read_table(data_set).rows} == {
        name: row.duration_s for name, row in rows.items()
    }
