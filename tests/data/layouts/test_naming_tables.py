"""Tables and folders as public archives of sound have them: read, or refused in words; sources are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from tests.fixtures.logs import logged
from tests.fixtures.sounds import tone

from dawnchorus.data.importing import import_recordings
from dawnchorus.data.recordings import RecordingRow
from dawnchorus.errors import FormatError, InputError


def archive(folder: Path, files: dict[str, str]) -> Path:
    """Write tables with their text, and sounds of 8 s, whose text is empty."""
    for number, (name, text) in enumerate(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if text:
            (folder / name).write_text(text)
        else:
            soundfile.write(folder / name, tone(500 + 20 * number, seconds=8.0, rate_hz=4_000), 4_000)
    return folder


def imported(source: Path) -> tuple[dict[str, RecordingRow], str]:
    with logged() as notes:
        table = import_recordings(source, source.parent / "set", n_workers=1)
    return {row.path.partition(f"/{source.name}/")[2]: row for row in table.rows}, "\n".join(notes)


Marks = list[tuple[float, float, str]]

MARKED: dict[str, tuple[dict[str, str], dict[str, Marks]]] = {
    # Sierra Nevada, High Sierras, Hawaii, Ithaca, Peru (zenodo.org/records/7525805 and others)
    "soundscapes": (
        {
            "annotations.csv": "Filename,Start Time (s),End Time (s),Low Freq (Hz),High Freq (Hz),Species eBird Code\n"
            "SNE_1.wav,0.5,4.5,1000,1900,amerob\n",
            "soundscape_data/SNE_1.wav": "",
        },
        {"soundscape_data/SNE_1.wav": [(0.5, 4.5, "amerob")]},
    ),
    # DCASE task 5: training
    "few-shot, classes": (
        {
            "BV/b.csv": "Audiofilename,Starttime,Endtime,AMRE,BBWA\nb.wav,0.5,1,POS,NEG\nb.wav,2,3,UNK,POS\n",
            "BV/b.wav": "",
        },
        {"BV/b.wav": [(0.5, 1.0, "AMRE"), (2.0, 3.0, "BBWA"), (2.0, 3.0, "?")]},
    ),
    # DCASE task 5: validation; nothing names the class
    "few-shot, one class": (
        {"HB/a.csv": "Audiofilename,Starttime,Endtime,Q\na.wav,0.5,1.0,POS\n", "HB/a.wav": ""},
        {"HB/a.wav": [(0.5, 1.0, "?")]},
    ),
    # OpenSoundscape: one-hot labels
    "one-hot": (
        {
            "labels.csv": "file,start_time,end_time,Avis una,Avis altera\n"
            "r.wav,0.0,4.0,1.0,0.0\nr.wav,4.0,8.0,0.0,0.0\nq.wav,0.0,4.0,0.0,0.0\n",
            "r.wav": "",
            "q.wav": "",
        },
        {"r.wav": [(0.0, 4.0, "Avis una")], "q.wav": []},
    ),
    # Kaleidoscope: cluster.csv
    "kaleidoscope": (
        {
            "cluster.csv": "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n"
            "C:\\d,site1,S_1.wav,0,1.5,0.8,cluster1,Avis una\nC:\\d,site1,S_1.wav,0,4.5,0.5,cluster2,\n",
            "site1/S_1.wav": "",
        },
        {"site1/S_1.wav": [(1.5, 2.3, "Avis una"), (4.5, 5.0, "?")]},
    ),
    # WABAD: pooled annotations
    "pooled": (
        {
            "Pooled annotations.csv": "Recording,Begin Time (s),End Time (s),Species\nB_1,1,2.5,Avis una\n",
            "BAM/Recordings/B_1.WAV": "",
        },
        {"BAM/Recordings/B_1.WAV": [(1.0, 2.5, "Avis una")]},
    ),
    # BIRDeep: a recorder's folder is no species
    "birdeep": (
        {
            "Dataset_CSV/train.csv": "path,recorder,start_time,end_time,specie\nAM1/d/AM1_2.WAV,AM1,1.5,3.0,Avis una\n",
            "Audios/AM1/d/AM1_2.WAV": "",
        },
        {"Audios/AM1/d/AM1_2.WAV": [(1.5, 3.0, "Avis una")]},
    ),
    # AviaNZ: a file beside each recording
    "avianz": (
        {
            "a.wav.data": '[{"Operator": "A"}, [1, 3.5, 500, 1900, [{"species": "Kiwi", "certainty": 100}]]'
            ', [5, 6, 0, 0, [{"species": "Morepork", "certainty": 50}, {"species": "Tui", "certainty": 100}]]]',
            "a.wav": "",
            "b.wav.data": '[{"Operator": "A", "Duration": 8.0}]',
            "b.wav": "",
        },
        {"a.wav": [(1.0, 3.5, "Kiwi"), (5.0, 6.0, "?"), (5.0, 6.0, "Tui")], "b.wav": []},
    ),
    # crowsetta, TweetyNet, DAS: a list without recordings, named after its own
    "of one recording": (
        {
            "a.csv": "label,onset_s,offset_s\nx,0.5,1.0\n",
            "a.wav": "",
            "b_annotations.csv": "name,start_seconds,stop_seconds\nsine,2,3\n",
            "b.wav": "",
        },
        {"a.wav": [(0.5, 1.0, "x")], "b.wav": [(2.0, 3.0, "sine")]},
    ),
    # BirdSet's columns
    "birdset": (
        {
            "metadata.csv": "filepath,start_time,end_time,ebird_code,lat,long\n"
            "H_1.wav,1.5,3.0,gcrfin,37.5,-119.1\nH_1.wav,6.5,7.0,whcspa,37.5,-119.1\n",
            "H_1.wav": "",
        },
        {"H_1.wav": [(1.5, 3.0, "gcrfin"), (6.5, 7.0, "whcspa")]},
    ),
}


@pytest.mark.parametrize(("files", "expected"), MARKED.values(), ids=list(MARKED))
def test_tables_of_marks_are_read(files: dict[str, str], expected: dict[str, Marks], tmp_path: Path) -> None:
    rows, _ = imported(archive(tmp_path / "in", files))
    marks_read = {
        name: sorted((mark.start_s, mark.end_s, mark.scientific_name or "?") for mark in row.annotations)
        for name, row in rows.items()
    }
    assert marks_read == {name: sorted(marks) for name, marks in expected.items()}
    assert all(row.is_annotated and row.scientific_name is None for row in rows.values())


def test_segments_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    content = '[[1, 2, 0, 0, [{"species": "Kiwi"}]], [1, 2], [3, "x", 0, 0, [{"species": "Tui", "certainty": 30}]], 7]'
    rows, notes = imported(archive(tmp_path / "in", {"a.wav.data": content, "a.wav": ""}))
    assert [mark.scientific_name for mark in rows["a.wav"].annotations] == ["Kiwi"]
    assert "a.wav.data line 2, expected [start, end, low, high, species], got [1, 2]" in notes
    (tmp_path / "in" / "a.wav.data").write_text("[[1, 2")
    with pytest.raises(FormatError, match="a.wav.data: expected a list of segments in JSON"):
        imported(tmp_path / "in")


NOT_READ = {
    # Freefield, Warblr, BirdVox-DCASE-20k
    "presence": ({"ff.csv": "itemid,datasetid,hasbird\n64,ff,0\n25,ff,1\n", "wav/64.wav": "", "wav/25.wav": ""},
                 "'itemid' of ff.csv names 2 recordings"),
    # ESC-50
    "esc50": ({"meta/esc50.csv": "filename,fold,target,category\n1-2-A-0.wav,1,0,dog\n", "audio/1-2-A-0.wav": ""},
              "'filename' of esc50.csv names 1 recording"),
    # Kaggle's Rainforest Connection: rows of true and of false positives, and the number of a song, which is no class
    "rainforest": ({"train_fp.csv": "recording_id,species_id,songtype_id,t_min,t_max\n00be,14,1,1.5,3.0\n",
                    "train/00be.flac": ""}, "'recording_id' of train_fp.csv names 1 recording"),
    # Sonic Visualiser, NIPS4Bplus: start, duration, label without a header
    "no header": ({"rec1.csv": "0.5,0.25,Avis una\n2.5,0.4,Avis altera\n", "rec1.wav": ""},
                  "rec1.csv is named after rec1.wav"),
}  # fmt: skip


def test_catalogue_numbers_are_names_of_files(tmp_path: Path) -> None:
    """Macaulay Library: its search results, and files as they are downloaded."""
    table = "ML Catalog Number,Common Name,Scientific Name,Background Species\n12,A bird,Avis una,Avis altera\n"
    source = archive(tmp_path / "in", {"ML_2024.csv": table, "ML12.wav": ""})
    (row,) = import_recordings(source / "ML_2024.csv", tmp_path / "set", n_workers=1).rows
    assert (row.scientific_name, row.secondary, row.problems) == ("Avis una", ("Avis altera",), ())


@pytest.mark.parametrize(("files", "evidence"), NOT_READ.values(), ids=list(NOT_READ))
def test_tables_of_unknown_columns_are_named(files: dict[str, str], evidence: str, tmp_path: Path) -> None:
    rows, notes = imported(archive(tmp_path / "in", files))
    assert all(row.is_unlabeled for row in rows.values())
    assert f"in columns that are not known, not read: 1 ({evidence})" in notes


def test_a_folder_is_no_species_where_a_table_names_its_recordings(tmp_path: Path) -> None:
    """FSD50K: the names of folders are words like any other, and dev.csv has the classes."""
    files = {"FSD50K.ground_truth/dev.csv": "fname,labels,split\n64760,Bird,train\n", "FSD50K.dev_audio/64760.wav": ""}
    source = archive(tmp_path / "in", files)
    with pytest.raises(InputError, match="the layout is ambiguous. 'fname' of dev.csv names 1 recording") as error:
        imported(source)
    assert f"--audio {source}/FSD50K.dev_audio --column path=fname --column scientific_name=COLUMN" in str(error.value)
    columns = {"path": "fname", "scientific_name": "labels"}
    table = import_recordings(
        source / "FSD50K.ground_truth/dev.csv",
        tmp_path / "set",
        columns=columns,
        audio=source / "FSD50K.dev_audio",
        n_workers=1,
    )
    assert [(row.scientific_name, row.problems) for row in table.rows] == [("Bird", ())]


def test_a_table_that_an_import_knows_is_said_to_be_readable(tmp_path: Path) -> None:
    files = {"liste.csv": "Dateiname,Art\nx1.wav,Parus major\n", "Parus major/x1.wav": ""}
    _, notes = imported(archive(tmp_path / "in", files))
    assert "columns that are not known" not in notes
    assert "tables of recordings and their species, not read next to folders: 1 ('Dateiname' of liste.csv" in notes
