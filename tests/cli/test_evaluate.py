"""The command `evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Command

from dawnchorus.audio.write import write_recording
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.models.bundle import Bundle

DEEP, HUMMING = "Avis gravis", "Avis murmurans"


def test_species_that_the_model_does_not_know_are_named_first_and_counted_as_wrong(
    tmp_path: Path, band_bundle: Bundle, command: Command
) -> None:
    names = (DEEP, "Avis ignota", "Avis ignota", "Avis nova", DEEP)
    rows = tuple(
        RecordingRow(recording_id=f"r{k}", path=f"r{k}.wav", scientific_name=name, split="test")
        for k, name in enumerate(names)
    )
    for row in rows:
        tone = np.sin(2 * np.pi * 700 * np.arange(16_000) / 16_000) * 0.3
        write_recording(tmp_path / row.path, tone.astype(np.float32), rate_hz=16_000)
    write_table(RecordingsTable(tmp_path, rows))
    done = command("evaluate", band_bundle.folder, tmp_path, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    warning = (
        b"does not know 2 of the 3 species of these recordings: Avis ignota (2), Avis nova (1). In 3 of 5 recordings"
    )
    assert warning in done.stderr.splitlines()[0]
    evaluation = json.loads((tmp_path / "report" / "evaluation.json").read_text())["evaluations"][0]
    assert evaluation["by_recording"]["accuracy"]["value"] == 1.0
    assert evaluation["counted"]["accuracy"] == {"n_recordings": 2, "n_species": 1}
    assert evaluation["with_unknown"]["accuracy"]["value"] == pytest.approx(2 / 5)
    assert evaluation["with_unknown"]["macro_f1"]["value"] == pytest.approx(1 / 3)
    assert evaluation["counted"]["cmap"]["n_recordings"] == 5, "recordings of unknown species are negatives already"
    assert "5 recordings, 3 species" in next(
        line for line in done.stdout.decode().splitlines()[7:] if "counted as wrong" in line
    )
    lines = [line.split() for line in done.stdout.decode().splitlines() if "counted as wrong" in line]
    assert lines[0][-4:] == ["5", "recordings,", "3", "species"]
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "Avis ignota (2)" in page
    assert "40.0 % of 5" in page
    (tmp_path / "r4.wav").write_bytes(b"no sound")
    done = command("evaluate", band_bundle.folder, tmp_path)
    assert done.returncode == 3, "some recordings failed, as in identify"
    assert b"Left out: 1 failed" in done.stdout
    assert b"failed: bands: r4: " in done.stderr


def test_bundles_that_know_other_species_and_background_alone_are_reported(
    tmp_path: Path, band_bundle: Bundle, level_bundle: Bundle, command: Command
) -> None:
    names = (DEEP, "Avis magna", None)
    rows = tuple(
        RecordingRow(
            recording_id=f"r{k}", path=f"r{k}.wav", scientific_name=name, kind="focal" if name else "background"
        )
        for k, name in enumerate(names)
    )
    rng = np.random.default_rng(1)
    for row in rows:
        write_recording(tmp_path / row.path, rng.normal(0, 0.1, 16_000).astype(np.float32), rate_hz=16_000)
    write_table(RecordingsTable(tmp_path, rows))
    done = command(
        "evaluate", band_bundle.folder, level_bundle.folder, tmp_path, "--split", "all", "--out", tmp_path / "report"
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert b"nothing, because every draw of 3 recordings gives the same." in done.stdout
    assert "nothing, because every draw of 3 recordings gives the same." in page
    write_table(RecordingsTable(tmp_path, rows[2:]))
    done = command("evaluate", level_bundle.folder, tmp_path, "--split", "all", "--json")
    (evaluation,) = json.loads(done.stdout)["evaluations"]
    assert evaluation["background"]["n_recordings"] == 1
    assert evaluation["background"]["n_species"] == 2, "all that the model knows"
    assert evaluation["by_recording"]["padded_cmap"]["value"] is None, "padding is no evidence"
    assert b"NaN" not in done.stdout
    kept = command("evaluate", level_bundle.folder, tmp_path, "--split", "all", "--out", tmp_path / "report")
    assert b"evaluation.json: it exists already. Choose another name, or use --overwrite." in kept.stderr
    doubled = command("evaluate", level_bundle.folder, level_bundle.folder, tmp_path, "--split", "all")
    assert b"are the same bundle" in doubled.stderr
    turned = command("evaluate", tmp_path, level_bundle.folder)
    assert b"expected a data set as the last argument" in turned.stderr
    carrying = tmp_path / "carrying"
    shutil.copytree(level_bundle.folder, carrying)
    shutil.copy(tmp_path / "recordings.parquet", carrying)
    misspelled = command("evaluate", carrying, tmp_path / "nowhere")
    assert b"as the last argument" not in misspelled.stderr
    refused = command(
        "evaluate", level_bundle.folder, tmp_path, "--thresholds", tmp_path / "t.csv", "--precision", "nan"
    )
    assert refused.returncode == 2


def test_what_other_bundles_measured_is_kept_if_one_fails(
    tmp_path: Path, band_bundle: Bundle, level_bundle: Bundle, command: Command
) -> None:
    rows = tuple(
        RecordingRow(recording_id=f"r{k}", path=f"r{k}.wav", scientific_name=name) for k, name in enumerate([DEEP] * 2)
    )
    for row in rows:
        write_recording(tmp_path / row.path, np.full(16_000, 0.25, np.float32), rate_hz=16_000)
    write_table(RecordingsTable(tmp_path, rows))
    reason = f"the model {level_bundle.info.name} knows none of its 1 species"
    for bundles in ((band_bundle, level_bundle), (level_bundle, band_bundle)):
        folders = [each.folder for each in bundles]
        done = command("evaluate", *folders, tmp_path, "--split", "all", "--json", "--thresholds", tmp_path / "t.csv")
        assert done.returncode == 3, done.stderr
        fields = json.loads(done.stdout)
        assert [each["model"] for each in fields["evaluations"]] == ["bands"]
        assert [each["model"] for each in fields["failed"]] == [str(level_bundle.folder)]
        assert reason in fields["failed"][0]["reason"]
        assert f"failed: {level_bundle.folder}: {tmp_path}: {reason}".encode() in done.stderr
        is_written = (tmp_path / "t.csv").exists()
        assert is_written == (bundles[0] is band_bundle)
        assert (b"t.csv: not written, as it has the thresholds of the first BUNDLE" in done.stderr) != is_written
        (tmp_path / "t.csv").unlink(missing_ok=True)
    done = command("evaluate", level_bundle.folder, tmp_path, "--split", "all")
    assert (done.returncode, reason.encode() in done.stderr) == (2, True), "nothing is left to report"
