"""Lists that users bring: both sides of every limit, and messages with the line."""

from __future__ import annotations

import os
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.errors import FormatError, InputError
from dawnchorus.identification import Options
from dawnchorus.identification.input_tables import DatedMetadata, read_recordings, read_species_list, read_thresholds
from dawnchorus.identification.score_filter import build_score_filter
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.classes import nearest_species
from dawnchorus.taxonomy.labels import Label
from dawnchorus.types import RecordingMetadata


def written(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


@pytest.mark.parametrize("read", [read_species_list, read_thresholds, read_recordings])
def test_lists_that_are_not_there_are_refused(tmp_path: Path, read: object) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read(tmp_path / "none.csv")  # type: ignore[operator]
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path)  # type: ignore[operator]


def test_species_list_of_comments_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list\.csv: expected one species in a line, found none"):
        read_species_list(written(tmp_path, "# none\n\n  \n"))
    assert read_species_list(written(tmp_path, "# one\n\n  Parus major \n")).values == ("Parus major",)


def test_thresholds_are_accepted_from_0_to_1(tmp_path: Path) -> None:
    table = written(tmp_path, "species,min_score\nParus major,0\nCuculus canorus,0.5\nStrix aluco,1\n")
    assert read_thresholds(table).values == {"Parus major": 0.0, "Cuculus canorus": 0.5, "Strix aluco": 1.0}


@pytest.mark.parametrize("row", ["Parus major,-0.01", "Parus major,1.01", ",0.5"])
def test_thresholds_beyond_0_to_1_are_refused(tmp_path: Path, row: str) -> None:
    table = written(tmp_path, f"species,min_score\nStrix aluco,0.5\n{row}\n")
    with pytest.raises(FormatError, match=r"list\.csv: line 3: expected a species and a score from 0 to 1"):
        read_thresholds(table)


@pytest.mark.parametrize("location", [(-90, -180), (0, 11), (90, 180), (52.5, 13.4)])
def test_extreme_coordinates_are_accepted(tmp_path: Path, location: tuple[float, float]) -> None:
    (metadata,) = read_recordings(
        written(tmp_path, f"path,lat,lon\na.wav,{location[0]},{location[1]}\n")
    ).values.values()
    assert metadata == RecordingMetadata(latitude=location[0], longitude=location[1], source="list.csv")


@pytest.mark.parametrize("location", ["-90.1,0", "90.1,0", "0,-180.1", "0,180.1", "1,", ",1"])
def test_locations_beyond_the_earth_are_refused(tmp_path: Path, location: str) -> None:
    table = written(tmp_path, f"path,lat,lon\nb.wav,1,1\na.wav,{location}\n")
    with pytest.raises(FormatError, match=r"list\.csv: line 3: expected a latitude from -90 to 90 and a longitude"):
        read_recordings(table)


def test_recordings_may_lack_location_or_time_but_not_both(tmp_path: Path) -> None:
    expected = RecordingMetadata(start_time=datetime(2026, 5, 1, 4, 30), source="list.csv")
    for table in ("path,time\na.wav,2026-05-01T04:30:00\n", "path,time,lat,lon\na.wav,2026-05-01T04:30,,\n"):
        assert list(read_recordings(written(tmp_path, table)).values.values()) == [expected]
    (metadata,) = read_recordings(written(tmp_path, "path,lat,lon,time\na.wav,1,2,\n")).values.values()
    assert metadata == RecordingMetadata(latitude=1, longitude=2, source="list.csv")
    with pytest.raises(FormatError, match=r"expected columns latitude and longitude, or start_time; found \['path'"):
        read_recordings(written(tmp_path, "path,notes\na.wav,x\n"))
    with pytest.raises(FormatError, match="line 2: expected a path, found"):
        read_recordings(written(tmp_path, "path,lat,lon\n,1,2\n"))


def test_times_are_accepted_to_the_year_2100(tmp_path: Path) -> None:
    (metadata,) = read_recordings(written(tmp_path, "path,time\na.wav,2100-12-31T23:59:59\n")).values.values()
    assert metadata.start_time == datetime(2100, 12, 31, 23, 59, 59)
    for text in ("2101-01-01", "9999-01-01", "dawn"):
        with pytest.raises(FormatError, match=f"line 2: expected a time like 2026-05-01T04:30:00, found '{text}'"):
            read_recordings(written(tmp_path, f"path,time\na.wav,{text}\n"))


def test_paths_are_relative_to_the_table_or_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("tables", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tables" / "a.wav").touch()
    monkeypatch.chdir(tmp_path / "here")
    long_name = "x" * 300 + ".wav"
    table = written(tmp_path / "tables", f"path,lat,lon\na.wav,1,2\nb.wav,1,2\n{long_name},1,2\n")
    assert list(read_recordings(table).values) == [
        tmp_path / "tables" / "a.wav",
        tmp_path / "here" / "b.wav",
        tmp_path / "here" / long_name,
    ]


def encoded(folder: Path, text: str, encoding: str) -> Path:
    (folder / "list.csv").write_bytes(text.encode(encoding))
    return folder / "list.csv"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_lists_are_read_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    assert read_species_list(encoded(tmp_path, "Parus major\r\nGrünspecht\r\n", encoding)).values == (
        "Parus major",
        "Grünspecht",
    )
    assert read_thresholds(encoded(tmp_path, "species;min_score\r\nGrünspecht;0,5\r\n", encoding)).values == {
        "Grünspecht": 0.5
    }


def test_species_lists_may_be_tables(tmp_path: Path) -> None:
    table = written(tmp_path, "Common Name;Scientific Name\nGreat Tit;Parus major\n")
    assert read_species_list(table).values == ("Parus major",)
    assert read_species_list(written(tmp_path, "Species\nParus major\n")).values == ("Parus major",)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("latitude;longitude;start_time\na.wav;52,5;13,4;03.05.2024 06:00", (52.5, 13.4, datetime(2024, 5, 3, 6))),
        ("lat;lon;date;time\na.wav;52°30'N;13.4E;2024-05-03;0600", (52.5, 13.4, datetime(2024, 5, 3, 6))),
        ("Lat ;LON;Date;Time\na.wav;52.5;13.4;3 May 2024;6:00 AM", (52.5, 13.4, datetime(2024, 5, 3, 6))),
        ("place;datetime\na.wav;52.5, 13.4;2024-05-03T06:00:00Z", (52.5, 13.4, datetime(2024, 5, 3, 6, tzinfo=UTC))),
        ("lat;date\na.wav;52.5, 13.4;2024-05-03 06:00", (52.5, 13.4, datetime(2024, 5, 3, 6))),
        ("lat;lon;date;time\na.wav;52.5;13.4;45415;0.25", (52.5, 13.4, datetime(2024, 5, 3, 6))),
        ("start_time\na.wav;2024-05-03 00:00:00", (None, None, datetime(2024, 5, 3))),
    ],
)
def test_locations_and_times_as_people_write_them(tmp_path: Path, row: str, expected: tuple[object, ...]) -> None:
    (metadata,) = read_recordings(written(tmp_path, f"path;{row}\n")).values.values()
    assert (metadata.latitude, metadata.longitude, metadata.start_time) == expected


@pytest.mark.parametrize("column", ["date", "start_time"])
def test_a_date_alone_is_a_day_without_a_time(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, f"path,{column}\na.wav,2024-05-03\n")
    table = read_recordings(path)
    assert list(table.values.values()) == [DatedMetadata(source="list.csv", day=date(2024, 5, 3))]
    assert table.notes == (f"{path}: 1 of 1 recording has a date without a time: it counts for the week.",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("path,date,time\na.wav,2024-05-03,early\n", "line 2: expected a time like .*, found '2024-05-03 early'"),
        ("path,date,time\na.wav,2024-05,06:00\n", "expected a time like"),
        ("path,date,time\na.wav,,06:00\n", "expected a time like"),
        ("path,date\na.wav,spring\n", "found 'spring'"),
        ("path,place\na.wav,48.1 11.5\nb.wav,Pond\n", "line 3: expected a latitude .* found 'Pond'"),
        (
            "path,lat,lon\na.wav,1,2\na.wav,1,3\n",
            "lines 2 and 3: expected one time and location for each recording, found .* and .* of a.wav",
        ),
        ("path,lat,lon\na.wav,1,2,3\n", "line 2"),
    ],
)
def test_values_that_are_not_understood_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_recordings(written(tmp_path, rows))


def test_ambiguous_day_month_order_is_reported(tmp_path: Path) -> None:
    table = read_recordings(written(tmp_path, "path,date,time\na.wav,5/3/2024,6:00\nb.wav,5/4/2024,6:00\n"))
    times = [metadata.start_time for metadata in table.values.values()]
    assert times == [datetime(2024, 5, 3, 6), datetime(2024, 5, 4, 6)]
    assert "in 2 rows day and month could change places (as '5/3/2024')" in table.notes[0]


def test_times_with_hyphens_are_no_dates(tmp_path: Path) -> None:
    table = read_recordings(written(tmp_path, "path,date,time\na.wav,2024-05-03,05-06-07\n"))
    (metadata,) = table.values.values()
    assert (metadata.start_time, table.notes) == (datetime(2024, 5, 3, 5, 6, 7), ())


def test_columns_that_are_not_read_are_named_with_an_example(tmp_path: Path) -> None:
    path = written(tmp_path, "Datei,date,week,timezone,place,empty\na.wav,2024-05-03,18,Europe/Berlin,Austin,\n")
    table = read_recordings(path)
    assert len(table.values) == 1
    named = "columns that are not read: week (as '18'), timezone (as 'Europe/Berlin'), place (as 'Austin')."
    assert any(note.endswith(named) for note in table.notes)


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "a.wav").touch()
    assert list(read_recordings(written(tmp_path, "path,lat,lon\n.\\night\\a.wav,1,2\n")).values) == [
        tmp_path / "night" / "a.wav"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_species_list, "Parus major\n", ("Parus major",)),
        (read_thresholds, "species,min_score\nParus major,0.5\n", {"Parus major": 0.5}),
    ],
)
def test_lists_may_be_pipes(tmp_path: Path, read: object, text: str, expected: object) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert read(pipe).values == expected  # type: ignore[operator]
    writer.join()


def test_a_species_with_two_thresholds_is_refused_with_both_lines(tmp_path: Path) -> None:
    table = written(tmp_path, "species,min_score\nParus major,0.9\nStrix aluco,0.5\nparus  major_Great Tit,0.1\n")
    with pytest.raises(FormatError, match=r"lines 2 and 4: expected one score for parus major, found 0\.9 and 0\.1"):
        read_thresholds(table)
    same = written(tmp_path, "species,min_score\nParus major,0.9\nParus major_Great Tit,0.9\n")
    assert read_thresholds(same).values == {"Parus major": 0.9}


def test_lists_have_any_name_of_a_class(tmp_path: Path, level_bundle: Bundle) -> None:
    names = read_species_list(written(tmp_path, "loud_bird\n?\nAVIS PARVA_Quiet Bird\n")).values
    assert nearest_species(names, level_bundle.labels) == ["'?' is not a class of the model."]
    assert np.isfinite(build_score_filter(level_bundle, Options(species=names)).thresholds).tolist() == [
        True,
        True,
        False,
    ]
    thresholds = {"Loud Bird": 0.9, "Avis parva": 0.8}
    kept = build_score_filter(level_bundle, Options(thresholds=thresholds)).thresholds
    assert kept[:2].tolist() == pytest.approx([0.9, 0.8])
    with pytest.raises(InputError, match=r"'Avis magna' and 'Loud Bird' are one class of the model .* 0\.1 and 0\.9"):
        build_score_filter(level_bundle, Options(thresholds={"Avis magna": 0.1, "Loud Bird": 0.9}))


def test_names_that_are_twice_in_a_species_list_are_said(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("Parus major\nTurdus merula\nparus  major_Great Tit\n")
    table = read_species_list(path)
    assert len(table.values) == 3
    assert table.notes == (f"{path}: names that are there twice: 1, as 'Parus major' and 'parus  major_Great Tit'.",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,latt,lon\na.wav,1,2\n", "Is the column 'latt' meant to be 'lat'?"),
        ("path,latitud,longtude\na.wav,1,2\n", "Is the column 'longtude' meant to be 'longitude'?"),
        ("path,lat,lon,star_time\na.wav,1,2,2024-05-01\n", "Is the column 'star_time' meant to be 'start_time'?"),
        ("path,lat,lon\na.wav,0,0\n", "no location is known: left out in 1 row (as '0, 0')"),
    ],
)
def test_misspelled_columns_and_doubtful_locations_are_said(tmp_path: Path, content: str, said: str) -> None:
    try:
        text = "\n".join(read_recordings(written(tmp_path, content)).notes)
    except FormatError as error:
        text = str(error)
    assert said in text


def test_threshold_of_no_one_species_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected the name of one species, found 'Strix aluco\\?'"):
        read_thresholds(written(tmp_path, "scientific_name,min_score\nStrix aluco?,0.5\n"))


def test_doubted_species_of_a_list_is_no_class() -> None:
    message = nearest_species(["Strix aluco?"], [Label("Strix aluco", "Tawny Owl")])
    assert message == ["'Strix aluco?' is not a class of the model. Did you mean 'Strix aluco'?"]


# ---------------------------------------------------------------------- lists


def test_lists_as_people_write_them(tmp_path: Path) -> None:
    species = tmp_path / "species.txt"
    species.write_bytes(
        b"\xef\xbb\xbf# my list\r\nParus major_Great Tit\r\n\r\nCuculus canorus\r\n",
    )
    assert read_species_list(species).values == ("Parus major", "Cuculus canorus")
    thresholds = tmp_path / "thresholds.csv"
    thresholds.write_text("Species,Threshold\nParus major_Great Tit,0.7\n")
    assert read_thresholds(thresholds).values == {"Parus major": 0.7}
    thresholds.write_text("scientific_name,min_score\n")
    read = read_thresholds(thresholds)
    assert (read.values, len(read.notes)) == ({}, 1)
    assert "no threshold in it" in read.notes[0]
    thresholds.write_text("species,threshold\nParus major,0.5\nGreat Tit,0.7\n")
    with pytest.raises(FormatError, match=r"thresholds.csv: lines 2 and 3: expected one score for Great Tit"):
        read_thresholds(thresholds, labels=[Label("Parus major", "Great Tit")])
    thresholds.write_text("species,threshold\nParus major,7\n")
    with pytest.raises(FormatError, match=r"thresholds.csv: line 2: expected a species and a score from 0 to 1"):
        read_thresholds(thresholds)
