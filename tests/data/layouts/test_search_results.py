"""Results of xeno-canto's API next to the audio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.imports import imported, make_audio, results
from tests.fixtures.logs import logged

from dawnchorus.errors import FormatError


@pytest.mark.parametrize("source", ["xc.json", "xeno-canto"])
def test_xeno_canto_api_results_next_to_the_audio(source: str, tmp_path: Path) -> None:
    make_audio(tmp_path / "xeno-canto" / "XC25.wav")
    make_audio(tmp_path / "xeno-canto" / "26.WAV")
    (tmp_path / "xc.json").write_text(
        f"[{results({'id': 25, 'length': '0:02'})}, "
        f"{results({'id': '26', 'length': '1:05'}, {'id': '25', 'length': '0:02'}, {'id': '27'}, {'id': ''})}]"
    )
    with logged() as notes:
        rows = imported(tmp_path / source, tmp_path)
    assert (
        "recordings of another length than their source lists: 1 (as XC26: 1.0 s, listed with 65.0 s). The table has "
        "the length of the file." in notes
    )
    assert any("a recording without a number as its id: left out in 1 row (as '" in note for note in notes)
    assert [row.duration_s for row in rows.values()] == [1.0, 1.0, None]
    assert list(rows) == ["XC25", "XC26", "XC27"]
    assert [row.problems for row in rows.values()] == [(), (), ("missing",)]
    row = rows["XC25"]
    assert (row.scientific_name, row.common_name, row.duration_s) == ("Empidonax alnorum", "Alder Flycatcher", 1.0)
    assert (row.license, row.recordist, row.sound_type) == ("CC-BY-NC-SA-4.0", "B. Doe", "song")


def test_results_without_a_number_or_a_genus_are_counted(tmp_path: Path) -> None:
    make_audio(tmp_path / "XC1.wav")
    page = json.loads(results({"id": "1"}, {"id": "x7"}, {"id": ""}))
    page["recordings"] += [{"id": "8", "en": "Alder Flycatcher"}, "XC9"]
    (tmp_path / "xc.json").write_text(json.dumps(page))
    with logged() as notes:
        assert list(imported(tmp_path, tmp_path)) == ["XC1"]
    said = " ".join(notes)
    assert "a recording without a number as its id: left out in 2 rows" in said
    assert """a recording without the field 'gen': left out in 2 rows (as '{"id": "8",""" in said


def test_other_json_is_refused(tmp_path: Path) -> None:
    make_audio(tmp_path / "XC1.wav")
    for text, message in (("{", "expected JSON"), ('{"error": "no"}', "expected results of xeno-canto's API")):
        (tmp_path / "xc.json").write_text(text)
        with pytest.raises(FormatError, match=message):
            imported(tmp_path, tmp_path)
