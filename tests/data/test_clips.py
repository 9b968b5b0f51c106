"""Folders of clips, whatever ends their preparation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawnchorus.data.clips import Clips, ClipWriter
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import BusyError, InputError, OutputError


@pytest.mark.ops
def test_kill_minus_nine_and_again_gives_the_same_clips(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for k in range(120):
        soundfile.write(tmp_path / f"{k:03d}.flac", rng.normal(0, 0.1, 10 * 32_000), 32_000)
        rows.append(RecordingRow(recording_id=f"{k:03d}", path=f"{k:03d}.flac", scientific_name="A a"))
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    command = [sys.executable, "-m", "dawnchorus", "prepare", "--format", "npy", str(tmp_path)]
    begin = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    elapsed_s = time.monotonic() - begin
    for part in (0.4, 0.55, 0.7, 0.9):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(part * elapsed_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    whole, killed = Clips(tmp_path / "whole"), Clips(tmp_path / "killed")
    assert whole.index.drop(["shard", "row"]) == killed.index.drop(["shard", "row"])
    for k in range(0, len(whole), 7):
        np.testing.assert_array_equal(whole.samples(k), killed.samples(k))
    exports = [tmp_path / name / "npy" / "unsplit_x.npy" for name in ("whole", "killed")]
    assert exports[0].read_bytes() == exports[1].read_bytes()
    assert not list((tmp_path / "killed").glob(".export-*"))


def test_two_at_once_do_not_write_into_each_other(tmp_path: Path) -> None:
    first = ClipWriter(tmp_path, window_samples=10, recipe={"a": 1})
    with pytest.raises(BusyError, match="another process is preparing clips here"):
        ClipWriter(tmp_path, window_samples=10, recipe={"a": 1})
    first.close()
    ClipWriter(tmp_path, window_samples=10, recipe={"a": 1}).close()
    with pytest.raises(InputError, match="clips of another recipe"):
        ClipWriter(tmp_path, window_samples=10, recipe={"a": 2})
    ClipWriter(tmp_path, window_samples=10, recipe={"a": 1}).close()


def test_a_folder_that_cannot_be_written_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "prepare.sqlite").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        ClipWriter(tmp_path, window_samples=10, recipe={"a": 1})
    (tmp_path / "prepare.sqlite").rmdir()
    ClipWriter(tmp_path, window_samples=10, recipe={"a": 1}).close()
