"""BirdCLEF's submissions: by code, in the shape and order of the year's sample, whatever part recordings are in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Command
from tests.fixtures.models import BANDS_HZ

from dawnchorus.audio.write import write_recording
from dawnchorus.data.presence import NOT_KNOWN
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.evaluation.scoring import Scores
from dawnchorus.evaluation.submission import by_step
from dawnchorus.models.bundle import Bundle

CLASSES = "row_id,hummin1,deebir1,unknow1\n"
ROWS = ("soundscape_7_10", "soundscape_7_5")


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two soundscapes of ten seconds that know no codes, first the deep bird, then none; and a training recording."""
    folder = tmp_path_factory.mktemp("soundscapes")
    t = np.arange(5 * 16_000) / 16_000
    samples = np.concatenate([0.5 * np.sin(2 * np.pi * hz * t) for hz in (BANDS_HZ[0], BANDS_HZ[6])]).astype(np.float32)
    names = ("soundscape_7.wav", "2782_SSW_20170701.wav", "XC1.wav")
    for name in names:
        write_recording(folder / name, samples, rate_hz=16_000)
    rows = [RecordingRow(recording_id=name, path=name, kind="soundscape", duration_s=10.0) for name in names]
    write_table(RecordingsTable(folder, tuple(rows)))
    return folder


@pytest.fixture(scope="module")
def trained(band_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows one of its codes from its recordings; the other one only a taxonomy has."""
    folder = tmp_path_factory.mktemp("trained") / "bundle"
    shutil.copytree(band_bundle.folder, folder)
    row = RecordingRow(recording_id="a", path="", scientific_name="Avis gravis", ebird_code="deebir1")
    write_table(RecordingsTable(folder, (row,)))
    return folder


def submit(command: Command, model: Path, test_set: Path, folder: Path, sample: str) -> tuple[list[str], str]:
    """Write a sample and a taxonomy, and return the lines of the submission and what was said."""
    (folder / "sample_submission.csv").write_text(sample)
    taxonomy = "TAXON_ORDER,SPECIES_CODE,SCI_NAME\n1,hummin1,Avis murmurans\n2,other1,Avis alia\n"
    (folder / "eBird_Taxonomy_v2021.csv").write_text(taxonomy)
    out = folder / "submission.csv"
    out.unlink(missing_ok=True)
    done = command(
        "evaluate", model, test_set, "--submission", out, "--sample-submission", folder / "sample_submission.csv"
    )
    assert done.returncode in (0, 2), done.stderr
    return out.read_text().splitlines() if done.returncode == 0 else [], done.stderr.decode()


def test_a_column_for_each_class_as_since_2023(command: Command, trained: Path, test_set: Path, tmp_path: Path) -> None:
    sample = CLASSES + "".join(f"{row},0.1,0.1,0.1\n" for row in ROWS)
    lines, said = submit(command, trained, test_set, tmp_path, sample)
    assert lines[0] == CLASSES.strip()
    cells = [line.split(",") for line in lines[1:]]
    assert [row[0] for row in cells] == list(ROWS), "the sample's rows in its order"
    assert {row[3] for row in cells} == {"0"}
    assert "1 of 3 classes are not the model's, and 0: unknow1" in said
    late, early = ([float(value) for value in row[1:3]] for row in cells)
    assert early[1] > late[1], "the deep bird is in the first five seconds"


def test_rows_for_windows_and_species_as_in_2022(
    command: Command, trained: Path, test_set: Path, tmp_path: Path
) -> None:
    wanted_rows = [f"soundscape_7_{code}_{end}" for code in ("deebir1", "unknow1") for end in (5, 10)]
    sample = "row_id,target\n" + "".join(f"{row},False\n" for row in wanted_rows)
    lines, _ = submit(command, trained, test_set, tmp_path, sample)
    assert lines == ["row_id,target", f"{wanted_rows[0]},True", *(f"{row},False" for row in wanted_rows[1:])]


def test_a_list_of_species_for_each_window_as_in_2021(
    command: Command, trained: Path, test_set: Path, tmp_path: Path
) -> None:
    lines, _ = submit(command, trained, test_set, tmp_path, "row_id,birds\n2782_SSW_5,nocall\n2782_SSW_10,nocall\n")
    assert [line.split(",")[0] for line in lines] == ["row_id", "2782_SSW_5", "2782_SSW_10"]
    each = [set(line.split(",")[1].split()) for line in lines[1:]]
    assert "deebir1" in each[0] - each[1]
    assert set().union(*each) <= {"deebir1", "hummin1", "nocall"}


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("id,birds\na_5,x\n", "expected the header of BirdCLEF 2021 (row_id,birds)"),
        ("row_id\nsoundscape_7_5\n", "expected the header"),
        ("", "expected a header line, found an empty file"),
        (CLASSES, "a row for each window"),
        ("row_id,cats,dogs\nsoundscape_7_5,0,0\n", "knows none of its 2 classes (as cats, dogs)"),
        (CLASSES + "soundscape_8_5,0,0,0\n", "such as soundscape_8, found 2782_SSW_20170701"),
        (CLASSES + "soundscape_7_15,0,0,0\nsoundscape_7_5,0,0,0\n", "1 missing (soundscape_7_15)"),
        (CLASSES + "soundscape_7_5,0,0,0\n" * 2, "1 twice (soundscape_7_5); 1 unknown to the sample (soundscape_7_10)"),
    ],
)
def test_what_is_no_sample_or_does_not_fit_is_named(
    command: Command, trained: Path, test_set: Path, tmp_path: Path, sample: str, expected: str
) -> None:
    lines, said = submit(command, trained, test_set, tmp_path, sample)
    assert not lines
    assert expected in said
    assert "None" not in said


def test_windows_that_the_sample_does_not_name_are_left_out_and_said(
    command: Command, trained: Path, test_set: Path, tmp_path: Path
) -> None:
    lines, said = submit(command, trained, test_set, tmp_path, CLASSES + "soundscape_7_5,0,0,0\n")
    assert [line.split(",")[0] for line in lines] == ["row_id", "soundscape_7_5"]
    assert "left out: 1 unknown to the sample (soundscape_7_10)" in said


def test_without_a_sample_every_recording_is_in_it_and_parts_are_named(
    command: Command, trained: Path, test_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.csv"
    done = command("evaluate", trained, test_set, "--submission", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text().splitlines()[0] == "row_id,deebir1,Avis murmurans"
    assert len(out.read_text().splitlines()) == 1 + 6
    for part in ((), ("--split", "test", "--submission", out, "--overwrite")):
        refused = command("evaluate", trained, test_set, *part).stderr.decode()
        assert "the recordings are not split" in refused
        assert "None" not in refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--submission", "s.csv", "--pool", "max"], "--pool has no effect: --submission writes no report"),
        (["--submission", "s.csv", "--json"], "--json has no effect"),
        (["--sample-submission", "sample.csv"], "--sample-submission has no effect: it is for a submission"),
        (["--min-score", "0.5"], "--min-score has no effect"),
        (["--precision", "0.8"], "--precision has no effect: it is for --thresholds FILE"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], message: str, tmp_path: Path, command: Command) -> None:
    done = command("evaluate", "birdnet", "set", *options, cwd=tmp_path)
    assert (done.returncode, message in done.stderr.decode()) == (2, True), done.stderr


@pytest.mark.parametrize("window_s", [3.0, 5.0, 10.0])
def test_every_five_seconds_of_a_submission_have_the_score_of_what_is_there(window_s: float) -> None:
    starts = np.arange(0, 20, window_s)
    scores = Scores(
        classes=("A a",),
        rows=(RecordingRow(recording_id="r", path="x/soundscape_1.ogg", duration_s=20.0),),
        recording=np.zeros(len(starts), int),
        start_s=starts,
        window_s=window_s,
        scores=np.full((len(starts), 1), 0.8),
        presence=np.full((len(starts), 1), NOT_KNOWN, np.int8),
        failures={},
    )
    ids, values = by_step(scores, {"r": "soundscape_1"})
    assert ids == [f"soundscape_1_{end}" for end in (5, 10, 15, 20)]
    assert values[:, 0].tolist() == [0.8] * 4
