"""Kaggle's 114 species."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from tests.fixtures.imports import imported, make_audio, write_csv
from tests.fixtures.logs import logged

from dawnchorus.data.importing import import_recordings
from dawnchorus.data.layout_detection import detect_layout
from dawnchorus.errors import FormatError, InputError


def test_the_encoding_of_a_table_of_voices_is_said(tmp_path: Path) -> None:
    (tmp_path / "Birds Voice.csv").write_bytes("common_name;scientific_name\nM\u00f6we;Larus canus\n".encode("cp1252"))
    (tmp_path / "M\u00f6we_sound").mkdir()
    soundfile.write(tmp_path / "M\u00f6we_sound" / "1.wav", [0.0] * 800, 8000)
    with logged() as notes:
        (row,) = import_recordings(tmp_path, tmp_path, n_workers=1).rows
    assert row.scientific_name == "Larus canus"
    assert any("Birds Voice.csv: not in UTF-8: 1 of 2 lines read as code page cp1252" in note for note in notes)


def test_kaggles_114_species(tmp_path: Path) -> None:
    make_audio(tmp_path / "Voice of Birds" / "Voice of Birds" / "Andean Guan_sound" / "Andean Guan2.wav")
    make_audio(tmp_path / "Voice of Birds" / "Voice of Birds" / "Brushland Tinamou_sound" / "1.wav")
    write_csv(
        tmp_path / "Birds Voice.csv",
        {"common_name": "Andean Guan", "scientific_name": "Penelope montagnii atrogularis", "recordist_name": "J. Doe",
         "recording_length": "0:09", "Date": "2021-08-01", "xc_id": "667002", "Country": "Ecuador"},
    )  # fmt: skip
    assert detect_layout(tmp_path) == "voices"
    rows = list(imported(tmp_path, tmp_path).values())
    assert [(r.scientific_name, r.common_name) for r in rows] == [
        ("Penelope montagnii", "Andean Guan"),
        ("Brushland Tinamou", "Brushland Tinamou"),
    ]
    assert rows[0].path == "Voice of Birds/Voice of Birds/Andean Guan_sound/Andean Guan2.wav"
    write_csv(tmp_path / "Birds Voice.csv", {"a": "b"})
    with pytest.raises(FormatError, match="expected the columns common_name and scientific_name"):
        imported(tmp_path, tmp_path)


def test_the_table_of_the_114_species_is_found_below_and_names_are_read_however_they_are_written(
    tmp_path: Path,
) -> None:
    guan = {"Common_Name": "Andean Guan", "scientific_name": "Penelope montagnii brooki"}
    (tmp_path / "raw").mkdir()
    write_csv(tmp_path / "raw" / "Birds_Voice.csv", guan, {"Common_Name": "", "scientific_name": ""})
    make_audio(tmp_path / "Voice of Birds" / "Andean_Guan_sound" / "Andean_Guan1.WAV")
    make_audio(tmp_path / "retrain_data" / "Andean Guan12.wav")
    make_audio(tmp_path / "Nova_Avis" / "Nova_Avis2.wav")
    make_audio(tmp_path / "test_audio" / "sample_bird.wav")
    rows = imported(tmp_path, tmp_path)
    assert {name: row.scientific_name for name, row in rows.items()} == {
        "Voice of Birds/Andean_Guan_sound/Andean_Guan1.WAV": "Penelope montagnii",
        "retrain_data/Andean Guan12.wav": "Penelope montagnii",
        "Nova_Avis/Nova_Avis2.wav": "Nova Avis",
        "test_audio/sample_bird.wav": None,
    }
    apart = imported(tmp_path / "raw", tmp_path, audio=tmp_path / "Voice of Birds")
    assert [row.common_name for row in apart.values()] == ["Andean Guan"]
    with pytest.raises(InputError, match="there are no recordings in it. Name the folder that has them with --audio"):
        imported(tmp_path / "raw", tmp_path)
    with pytest.raises(InputError, match=r"expected 'Birds Voice\.csv' in this folder or below"):
        imported(tmp_path / "test_audio", tmp_path, layout="voices")
