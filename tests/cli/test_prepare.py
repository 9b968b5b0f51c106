"""The command `prepare`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.commands import Command

from dawnchorus.data.clips import Clips
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table


@pytest.mark.ops
def test_prepare_with_scores_and_images_from_the_command_line(tmp_path: Path, dawn: Path, command: Command) -> None:
    write_table(
        RecordingsTable(tmp_path, (RecordingRow(recording_id="d", path=str(dawn), scientific_name="Cuculus canorus"),))
    )
    done = command("prepare", tmp_path, tmp_path / "clips", "--recipe", "scored-5s", "--images", "--n-mels", "64")
    assert done.returncode == 0, done.stderr
    (row,) = Clips(tmp_path / "clips").index.to_pylist()
    detected = command("identify", dawn, "--min-score", "0.3", "--format", "csv").stdout.decode()
    cuckoo = [line.split(",") for line in detected.splitlines() if "Cuculus" in line]
    best = max(cuckoo, key=lambda fields: float(fields[4]))
    assert row["start_s"] <= float(best[0]) < float(best[1]) <= row["end_s"]
    assert len(list((tmp_path / "clips" / "images" / "Cuculus canorus").iterdir())) == 1
