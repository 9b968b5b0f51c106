"""`dawnchorus compare`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.fixtures.archives import write_sounds
from tests.fixtures.commands import Command
from tests.fixtures.models import write_band_bundle

from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.identification.archiving import archive_recordings
from dawnchorus.models.bundle import Bundle
from dawnchorus.taxonomy.labels import Label

pytest.importorskip("deltalake")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("compared") / "sounds")


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same graph, whose first class has another scientific name, and the second is another species."""
    labels = (Label("Avis profunda", "Deep Bird"), Label("Avis nova", "New Bird"))
    return write_band_bundle(tmp_path_factory.mktemp("others"), name="others", labels=labels)


def test_models_are_compared_on_recordings(
    sounds: Path, band_bundle: Bundle, other_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "compared.csv"
    models = (band_bundle.folder, other_bundle.folder)
    done = command("compare", *models, sounds, "--out", out, "--workers", "1")
    assert done.returncode == 3, done.stderr
    assert done.stderr.decode().count("B_20260503_040000.wav") == 2
    text = done.stdout.decode()
    assert "bands 1 and others 1: 4 recordings that both scored, in segments of 1 s, from score 0.25 on." in text
    assert "Classes: 1 known to both, 1 of them by another name; 1 known to bands 1 only, 1 to others 1 only." in text
    assert "Agreement: 1.000 (1.000 to 1.000) of segments and species" in text
    assert "Detected by bands 1, which alone knows them (segments): Humming Bird 3." in text
    assert "Detected by others 1, which alone knows them (segments): New Bird 3." in text
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["scientific_name"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"Avis gravis", "Avis murmurans", "Avis nova"}
    assert (rows["Avis gravis"]["known_to"], rows["Avis gravis"]["name_in_second"]) == ("both", "Avis profunda")
    assert (rows["Avis gravis"]["n_both"], rows["Avis gravis"]["score_shift"]) == ("3", "0.0")
    assert (rows["Avis nova"]["known_to"], rows["Avis nova"]["n_only_second"]) == ("second", "3")
    done = command("compare", *models, sounds, "--out", out)
    assert (done.returncode, b"use --overwrite" in done.stderr) == (4, True)


def test_runs_of_an_archive_are_compared(
    sounds: Path, band_bundle: Bundle, other_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    for bundle in (band_bundle, other_bundle):
        archive_recordings(sounds, archive, model=bundle.folder, workers=1)
    done = command("compare", "bands", "others", archive, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["first"], printed["second"], printed["n_recordings"]) == ("bands 1", "others 1", 4)
    assert printed["species"][0]["n_both"] == 3
    assert printed["first_minus_second"] is None
    assert printed["labels"]["renamed"] == [["Avis gravis", "Avis profunda"]]
    runs = [archive_recordings(sounds, archive, model=band_bundle.folder, top=n, workers=1).run for n in (1, 2)]
    text = command("compare", *runs, archive).stdout.decode()
    assert f"bands 1 ({runs[0]}) and bands 1 ({runs[1]}): 4 recordings that both scored" in text
    done = command("compare", "bands", "others", archive)
    assert done.returncode == 2
    assert b"expected the id of a run, or a model that has one run, got several runs of 'bands'" in done.stderr


def test_labels_say_which_model_is_right(
    sounds: Path, band_bundle: Bundle, other_bundle: Bundle, command: Command, tmp_path: Path
) -> None:
    """The first model knows both species, the second one the first of them, by another name."""
    names = {"A_20260430_040000.wav": "Avis profunda", "B_20260501_040000.wav": "Avis murmurans"}
    rows = [
        RecordingRow(recording_id=name, path=str(sounds / name), scientific_name=species)
        for name, species in names.items()
    ]
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    done = command("compare", band_bundle.folder, other_bundle.folder, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    truth = json.loads(done.stdout)["first_minus_second"]
    assert truth["counted"] == {"n_recordings": 1, "n_species": 1}
    assert truth["first_minus_other"]["top_1"]["value"] == 0.0
    text = command("compare", band_bundle.folder, other_bundle.folder, tmp_path).stdout.decode()
    assert "By the labels, bands 1 minus others 1, on what both know (1 recording, 1 species): top 1 0.000" in text
    write_table(RecordingsTable(tmp_path, tuple(rows[1:])))
    done = command("compare", band_bundle.folder, other_bundle.folder, tmp_path)
    assert (done.returncode, b"no species that both models know" in done.stderr) == (0, True)
