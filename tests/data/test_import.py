"""Recordings of all the usual layouts become one table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import Command
from tests.sounds import tone

from dawnchorus.data.attribution import attribution_text
from dawnchorus.data.importing import detect_layout, import_recordings
from dawnchorus.data.layouts.tables import clock, iso_date
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, species_of, write_table
from dawnchorus.errors import FormatError, InputError
from dawnchorus.formats.registry import read_annotations


def sound(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds=seconds), 16_000)
    return path


def imported(source: Path, folder: Path, **more: object) -> dict[str, RecordingRow]:
    table = import_recordings(source, folder, read_annotations=read_annotations, n_workers=2, **more)  # type: ignore[arg-type]
    return {row.recording_id: row for row in table.rows}


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_folder_per_species_by_birdnet_analyzers_rules(tmp_path: Path) -> None:
    for place in (
        "Parus major_Great Tit/XC123 - song.wav",
        "Cuculus_canorus/b.wav",
        "Parus major_Great Tit,Strix aluco_Tawny Owl/both.wav",
        "-Parus major_Great Tit/c.wav",
        "Background/d.wav",
        "mockingbird/e.wav",
    ):
        sound(tmp_path / place)
    rows = imported(tmp_path, tmp_path)
    one = rows["XC123"]
    assert (one.scientific_name, one.common_name, one.url) == ("Parus major", "Great Tit", "https://xeno-canto.org/123")
    assert (one.path, one.duration_s, one.rate_hz) == ("Parus major_Great Tit/XC123 - song.wav", 1.0, 16_000)
    assert rows["Cuculus_canorus/b.wav"].scientific_name == "Cuculus canorus"
    both = rows["Parus major_Great Tit,Strix aluco_Tawny Owl/both.wav"]
    assert (both.scientific_name, both.secondary) == ("Parus major", ("Strix aluco",))
    negative = rows["-Parus major_Great Tit/c.wav"]
    assert (negative.kind, negative.scientific_name, negative.absent) == ("background", None, ("Parus major",))
    assert rows["Background/d.wav"].kind == "background"
    assert rows["mockingbird/e.wav"].scientific_name == "mockingbird"


def test_birdclef(tmp_path: Path) -> None:
    sound(tmp_path / "train_audio" / "gretit1" / "XC7.wav")
    sound(tmp_path / "train_audio" / "41663" / "iNat8.wav")
    about = {"latitude": "52.5", "longitude": "13.4", "author": "A. Bird", "rating": "4.5", "url": "https://x.org/7"}
    cc = (
        "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"
    )
    write_csv(
        tmp_path / "train_metadata.csv",
        {"primary_label": "gretit1", "secondary_labels": "['eurbla', 'cowpig1']", "filename": "gretit1/XC7.wav",
         "scientific_name": "Parus major", "common_name": "Great Tit", "license": cc, **about},
        {"primary_label": "41663", "secondary_labels": "[]", "filename": "41663/iNat8.wav", "scientific_name": "",
         "common_name": "", "license": "cc0 1.0", **about, "latitude": ""},
    )  # fmt: skip
    write_csv(
        tmp_path / "taxonomy.csv",
        {"primary_label": "eurbla", "scientific_name": "Turdus merula"},
        {"primary_label": "41663", "scientific_name": "Gryllus campestris"},
    )
    assert detect_layout(tmp_path) == "csv"
    rows = imported(tmp_path, tmp_path)
    one, other = rows["XC7"], rows["41663/iNat8.wav"]
    assert (one.scientific_name, one.ebird_code, one.recordist) == ("Parus major", "gretit1", "A. Bird")
    assert one.secondary == ("Turdus merula", "cowpig1")
    assert (one.license, one.quality, one.latitude) == ("CC-BY-NC-SA-4.0", "4.5", 52.5)
    assert (other.scientific_name, other.license, other.latitude) == ("Gryllus campestris", "CC0-1.0", None)
    assert other.duration_s == 1.0


def test_cornell_2020_has_folders_by_code(tmp_path: Path) -> None:
    sound(tmp_path / "train_audio" / "aldfly" / "XC134874.wav")
    write_csv(
        tmp_path / "train.csv",
        {"ebird_code": "aldfly", "filename": "XC134874.wav", "species": "Alder Flycatcher", "date": "2013-05-25",
         "sci_name": "Empidonax alnorum", "recordist": "J. Doe", "time": "8:00"},
    )  # fmt: skip
    row = imported(tmp_path, tmp_path)["XC134874"]
    assert (row.path, row.scientific_name, row.time) == (
        "train_audio/aldfly/XC134874.wav", "Empidonax alnorum", "08:00"
    )  # fmt: skip


def test_kaggles_114_species(tmp_path: Path) -> None:
    sound(tmp_path / "Voice of Birds" / "Voice of Birds" / "Andean Guan_sound" / "Andean Guan2.wav")
    sound(tmp_path / "Voice of Birds" / "Voice of Birds" / "Brushland Tinamou_sound" / "1.wav")
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


def test_a_csv_with_columns_of_any_name(tmp_path: Path) -> None:
    sound(tmp_path / "x.wav")
    table = write_csv(tmp_path / "mine.csv", {"Datei": "x.wav", "Art": "Parus major", "split": "VAL"})
    with pytest.raises(FormatError, match=r"expected a column with paths .*it has \['Datei', 'Art', 'split'\]"):
        imported(table, tmp_path)
    row = imported(table, tmp_path, columns={"path": "Datei", "scientific_name": "Art"})["x.wav"]
    assert (row.scientific_name, row.split) == ("Parus major", "validation")
    with pytest.raises(InputError, match="Did you mean 'scientific_name'"):
        imported(table, tmp_path, columns={"scientific": "Art", "path": "Datei"})
    with pytest.raises(InputError, match="there is no column 'Ort'"):
        imported(table, tmp_path, columns={"path": "Ort"})


def test_annotated_soundscapes(tmp_path: Path) -> None:
    sound(tmp_path / "a_20260501_043000.wav", 10)
    (tmp_path / "a_20260501_043000.Table.1.selections.txt").write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
        "1\t1\t2\t3000\t5000\tParus major\n"
    )
    sound(tmp_path / "b.wav", 10)
    (tmp_path / "b.txt").write_text("0.5\t1.5\tCuculus canorus\n")
    assert detect_layout(tmp_path) == "annotations"
    rows = imported(tmp_path, tmp_path)
    first = rows["a_20260501_043000.wav"]
    assert (first.kind, first.date, first.time) == ("soundscape", "2026-05-01", "04:30")
    assert [(a.start_s, a.scientific_name, a.high_hz) for a in first.annotations] == [(1.0, "Parus major", 5000.0)]
    assert rows["b.wav"].annotations[0].scientific_name == "Cuculus canorus"
    assert species_of(list(rows.values())) == ["Cuculus canorus", "Parus major"]


def test_missing_and_broken_recordings_stay_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no sound")
    table = write_csv(
        tmp_path / "t.csv", {"path": "gone.wav", "species": "A a"}, {"path": "broken.wav", "species": "A a"}
    )
    rows = imported(table, tmp_path)
    assert rows["gone.wav"].problems == ("missing",)
    assert rows["broken.wav"].problems == ("unreadable",)


def test_the_table_keeps_everything(tmp_path: Path) -> None:
    sound(tmp_path / "Parus major" / "a.wav")
    table = import_recordings(tmp_path, tmp_path, read_annotations=read_annotations, n_workers=1)
    write_table(table)
    assert read_table(tmp_path) == table
    assert table.file(table.rows[0]).exists()
    twice = RecordingsTable(tmp_path, table.rows * 2)
    with pytest.raises(InputError, match="two recordings have the recording_id"):
        write_table(twice)
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="expected a Parquet file"):
        read_table(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("text", "date"),
    [("2019-05-00", "2019-05"), ("0000-00-00", None), ("2019-05-12", "2019-05-12"), ("2019-20-05", "2019"), ("", None)],
)
def test_dates_are_as_exact_as_they_are_known(text: str, date: str | None) -> None:
    assert iso_date(text) == date


@pytest.mark.parametrize(
    ("text", "time"), [("5:30", "05:30"), ("05.30", "05:30"), ("5:30 pm", "17:30"), ("?", None), ("25:00", None)]
)
def test_times_of_day(text: str, time: str | None) -> None:
    assert clock(text) == time


def test_names_in_attributions_are_text() -> None:
    row = RecordingRow(recording_id="XC1", path="a", recordist="*<b>", license="CC-BY-4.0")
    text = attribution_text([row])
    assert r"\*\<b\>, XC1. Accessible at www.xeno-canto.org/1" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text


def test_the_commands_from_folder_to_split(tmp_path: Path, command: Command) -> None:
    rng = np.random.default_rng(1)
    for species in ("Avis una", "Avis altera"):
        for k in range(10):
            path = tmp_path / "birds" / species / f"{k}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 32_000), 16_000)
    done = command("data", "import", "birds", "set", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode().strip()) == (0, "set/recordings.parquet"), done.stderr
    assert command("data", "import", "birds", "set", cwd=tmp_path).returncode == 4
    done = command("data", "check", "set", cwd=tmp_path)
    assert done.stdout.decode().startswith("no_license: 20 (its licence is not known")
    done = command("data", "split", "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: 14 recordings" in done.stdout.decode()
    assert "0 of 6 recordings outside the largest part have a relative in it" in done.stdout.decode()
    assert b"split: " in command("data", "show", "set", cwd=tmp_path).stdout
    assert (
        b"scientific_name: Avis una"
        in command("data", "show", "set", "--recording", "Avis una/3.wav", cwd=tmp_path).stdout
    )
    assert command("data", "attribution", "set", cwd=tmp_path).stdout.decode().strip() == "set/ATTRIBUTION.md"
