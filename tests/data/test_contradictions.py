"""Files of the same content under contradicting labels."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.imports import added, make_audio
from tests.fixtures.logs import logged

from dawnchorus.data.check import check_table
from dawnchorus.data.contradictions import CONTRADICTORY
from dawnchorus.data.identity import merge
from dawnchorus.data.importing import import_recordings


def test_one_file_under_two_species_is_one_recording_without_a_label(tmp_path: Path) -> None:
    source, other = tmp_path / "in", tmp_path / "other"
    for path in (source / "Avis una" / "1.wav", source / "Avis altera" / "2.wav", other / "noise" / "3.wav"):
        make_audio(path, 0.2, frequency_hz=500)
    make_audio(source / "Avis una" / "4.wav", 0.2, frequency_hz=600)
    make_audio(source / "-Avis altera" / "5.wav", 0.2, frequency_hz=600)
    with logged() as notes:
        table = import_recordings(source, tmp_path, n_workers=1)
    assert {row.recording_id: (row.scientific_name, row.problems) for row in table.rows} == {
        "-Avis altera/5.wav": (None, ()),
        "Avis una/4.wav": ("Avis una", ()),
        "Avis altera/2.wav": (None, ("contradictory_labels",)),
    }
    said = "1 (in/Avis altera/2.wav as Avis altera, in/Avis una/1.wav as Avis una). Each is one recording without"
    assert any(said in note for note in notes), notes
    for once in (merge(table, import_recordings(other, tmp_path, n_workers=1)), merge(table, table)):
        assert (once.n_added, once.table) == (0, table), "the same bytes are known to be in doubt"
    (source / "Avis altera").rename(tmp_path / "Avis altera")
    table = added(tmp_path, other, source)
    assert [row.scientific_name for row in table.rows if CONTRADICTORY in row.problems] == [None]
    again = merge(table, import_recordings(source, tmp_path, n_workers=1))
    assert (again.table, again.n_added, again.n_unchanged) == (table, 0, 3)
    assert CONTRADICTORY in check_table(table, n_workers=1).rows[0].problems
