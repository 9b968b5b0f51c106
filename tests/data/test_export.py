"""Prepared clips in other formats, whole or not at all, and clips that are left out, with their numbers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.audio.mel import MelImage
from dawnchorus.audio.write import MAX_WAV_BYTES, write_wav
from dawnchorus.data.clips import LOCK_NAME, Clips
from dawnchorus.data.export import ExportKind, write_export
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, read_table, write_table
from dawnchorus.errors import BusyError, InputError, MissingExtraError, OutputError, OutputExistsError

RATE_HZ = 8_000
SHAPE = ("--sample-rate", "8000", "--window", "1")


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Three tones of two species, split, and one recording of no species."""
    folder = tmp_path / "my set"
    folder.mkdir()
    rows = []
    for number, (name, seconds, species, split) in enumerate(
        [
            ("a", 2.5, "Avis una", "train"),
            ("b/c", 1.0, "Avis una", "test"),
            ("b_c", 3.0, "Avis altera", "train"),
            ("wind", 1.0, None, "train"),
        ]
    ):
        path = folder / f"{number}.wav"
        soundfile.write(path, tone(500 * (number + 1), seconds=seconds, rate_hz=RATE_HZ), RATE_HZ)
        rows.append(
            RecordingRow(
                recording_id=name,
                path=path.name,
                scientific_name=species,
                split=split,
                group="g1" if name == "a" else None,
                kind="focal" if species else "background",
            )
        )
    write_table(RecordingsTable(folder, tuple(rows)))
    return folder


@pytest.fixture
def folder(data_set: Path) -> Path:
    """Folder for prepared clips."""
    return data_set.parent / "my clips"


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_clips_as_arrays_by_split_with_labels_and_groups(data_set: Path, folder: Path, command: Command) -> None:
    done = command("prepare", data_set, folder, *SHAPE, "--format", "npy")
    assert done.returncode == 0, done.stderr
    assert b"7 clips written to" in done.stderr
    assert b"1 clip without a species left out" in done.stderr
    out = folder / "npy"
    labels = json.loads((out / "labels.json").read_text())
    groups = json.loads((out / "groups.json").read_text())
    assert labels == ["Avis altera", "Avis una"]
    assert groups == {"train": ["g1", "g1", "g1", "b_c", "b_c", "b_c"], "test": ["b/c"]}
    x, y = (np.load(out / f"train_{name}.npy", mmap_mode="r") for name in "xy")
    assert (x.shape, x.dtype, y.tolist()) == ((6, RATE_HZ), np.float32, [1, 1, 1, 0, 0, 0])
    clips = Clips(folder)
    members = [
        k for k, clip in enumerate(clips.index.to_pylist()) if clip["split"] == "train" and clip["scientific_name"]
    ]
    np.testing.assert_array_equal(x, np.stack([clips.samples(k) for k in members]))
    metadata = json.loads((out / "export.json").read_text())
    assert (metadata["sample_rate_hz"], metadata["window_s"], metadata["n_items"]) == (RATE_HZ, 1.0, 7)
    with pytest.raises(InputError, match=f"{out}: this is a folder of the data set {folder}. Name that one."):
        read_table(out)


def test_exporting_twice_changes_nothing_and_new_labels_are_exported(
    data_set: Path, folder: Path, command: Command
) -> None:
    arguments = ("prepare", data_set, folder, *SHAPE, "--format", "wav")
    assert command(*arguments).returncode == 0
    before = files_in(folder / "wav")
    assert [name for name in before if "Avis una" in name] == [
        "Avis una/a_0.000-1.000.wav",
        "Avis una/a_1.000-2.000.wav",
        "Avis una/a_2.000-2.500.wav",
        "Avis una/b_c_0.000-1.000.wav",
    ]
    assert b"8 clips already in" in command(*arguments).stderr
    assert files_in(folder / "wav") == before
    samples, rate_hz = soundfile.read(folder / "wav" / "Avis una" / "a_1.000-2.000.wav", dtype="int16")
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(samples, Clips(folder).stored_clip(1))
    table = read_table(data_set)
    write_table(table.with_rows([replace(table.rows[0], scientific_name="Avis nova"), *table.rows[1:]]))
    assert b"8 clips written to" in command(*arguments).stderr
    names = list(files_in(folder / "wav"))
    assert "Avis nova/a_0.000-1.000.wav" in names
    assert "Avis una/a_0.000-1.000.wav" not in names, "no clip stays with its old label"


def test_images_of_clips_with_another_label_now_are_removed(data_set: Path, folder: Path, command: Command) -> None:
    arguments = ("prepare", data_set, folder, *SHAPE, "--images", "--n-mels", "24")
    assert command(*arguments).returncode == 0
    (folder / "images" / "Avis una" / "mine.png").write_bytes(b"not ours")
    table = read_table(data_set)
    write_table(table.with_rows([replace(table.rows[0], scientific_name="Avis nova"), *table.rows[1:]]))
    assert command(*arguments).returncode == 0
    images = {name for name in files_in(folder / "images") if "Avis" in name and "altera" not in name}
    assert images == {
        "Avis nova/a_0.000-1.000.png",
        "Avis nova/a_1.000-2.000.png",
        "Avis nova/a_2.000-2.500.png",
        "Avis una/b_c_0.000-1.000.png",
        "Avis una/mine.png",
    }


def test_names_that_look_alike_or_lead_elsewhere_stay_apart_and_inside(
    data_set: Path, folder: Path, command: Command
) -> None:
    table = read_table(data_set)
    rows = [replace(row, scientific_name="../..") for row in table.rows if row.recording_id.startswith("b")]
    long = replace(rows[0], recording_id="ä/" * 200, scientific_name="Å" * 300)
    write_table(table.with_rows([*rows, long]))
    assert command("prepare", data_set, folder, *SHAPE, "--format", "wav", "--select", "first").returncode == 0
    species, other = sorted(path for path in (folder / "wav").iterdir() if path.is_dir())
    assert sorted(path.name for path in species.iterdir()) == ["b_c_0.000-1.000-2.wav", "b_c_0.000-1.000.wav"]
    (path,) = other.iterdir()
    assert path.name.endswith("ä__0.000-1.000.wav")


def test_whole_recordings_have_their_own_lengths(data_set: Path, folder: Path, command: Command) -> None:
    arguments = ("prepare", data_set, folder, *SHAPE, "--recipe", "loudest-5s", "--whole")
    for export_format in ("wav", "npy"):
        done = command(*arguments, "--format", export_format)
        assert done.returncode == 0, done.stderr
        assert b"4 recordings written to" in done.stderr
    original, _ = soundfile.read(data_set / "0.wav", dtype="float32")
    samples, _ = soundfile.read(folder / "whole-wav" / "Avis una" / "a.wav", dtype="float32")
    array = np.load(folder / "whole-npy" / "Avis una" / "a.npy")
    assert len(samples) == len(array) == round(2.5 * RATE_HZ)
    np.testing.assert_allclose(samples, original, atol=1e-4)
    np.testing.assert_allclose(array, original, atol=1e-4)
    assert (folder / "whole-wav" / "background" / "wind.wav").is_file()
    done = command(*arguments, "--select", "first")
    assert done.returncode == 2
    assert b"--whole: expected all of each recording" in done.stderr


def test_spectrograms_are_those_of_the_images(data_set: Path, folder: Path, command: Command) -> None:
    done = command("prepare", data_set, folder, *SHAPE, "--format", "npy", "--mel", "--n-mels", "24")
    assert done.returncode == 0, done.stderr
    x = np.load(folder / "mel-npy" / "test_x.npy")
    clips = Clips(folder)
    (number,) = [k for k, clip in enumerate(clips.index.to_pylist()) if clip["split"] == "test"]
    levels = MelImage(n_mels=24).levels(clips.samples(number), rate_hz=RATE_HZ)
    np.testing.assert_array_equal(x, levels[None])
    for wrong in (("--format", "wav"), ("--format", "npy", "--whole"), ()):
        assert command("prepare", data_set, folder, *SHAPE, "--mel", *wrong).returncode == 2


def test_an_export_that_fails_or_is_killed_leaves_the_one_before(
    data_set: Path, folder: Path, command: Command
) -> None:
    assert command("prepare", data_set, folder, *SHAPE, "--format", "npy").returncode == 0
    before = files_in(folder / "npy")
    table = read_table(folder)
    write_table(table.with_rows(replace(row, group="other") for row in table.rows))

    def fail(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_export(read_table(folder), ExportKind("npy"), convert=fail)
    assert files_in(folder / "npy") == before
    (folder / ".export-killed").mkdir()
    (folder / ".export-killed" / "train_x.npy").write_bytes(b"half")
    assert write_export(read_table(folder), ExportKind("npy")).is_new
    assert not list(folder.glob(".export-*")), "what a killed run left is removed"
    assert files_in(folder / "npy") != before


def test_nothing_of_others_is_replaced(data_set: Path, folder: Path, command: Command) -> None:
    (folder / "npy").mkdir(parents=True)
    (folder / "npy" / "precious.txt").write_text("mine")
    done = command("prepare", data_set, folder, *SHAPE, "--format", "npy")
    assert done.returncode == OutputExistsError.exit_code
    assert (folder / "npy" / "precious.txt").read_text() == "mine"
    with FileLock(folder / LOCK_NAME), pytest.raises(BusyError, match="another process is writing here"):
        write_export(read_table(folder), ExportKind("wav"))


def test_a_recording_that_no_wav_file_can_hold_is_named(tmp_path: Path) -> None:
    samples = np.broadcast_to(np.int16(0), MAX_WAV_BYTES // 2 + 1)
    with pytest.raises(OutputError, match=r"at most 74\.6 h for a WAV file"):
        write_wav(tmp_path / "x.wav", samples, rate_hz=RATE_HZ)


def test_quiet_flat_and_rare_clips_are_left_out_with_their_numbers(
    data_set: Path, folder: Path, command: Command
) -> None:
    rng = np.random.default_rng(1)
    table = read_table(data_set)
    for name, samples in (
        ("quiet", 1e-4 * tone(1000, seconds=1, rate_hz=RATE_HZ)),
        ("noise", rng.normal(0, 0.1, RATE_HZ)),
    ):
        soundfile.write(data_set / f"{name}.wav", samples, RATE_HZ)
        row = RecordingRow(recording_id=name, path=f"{name}.wav", scientific_name="Avis rara", split="train")
        table = table.with_rows([*table.rows, row])
    write_table(table)
    arguments = ("prepare", data_set, folder, *SHAPE)
    done = command(*arguments, "--min-rms", "0.001", "--min-mel-std", "8", "--min-clips", "4")
    assert done.returncode == 0, done.stderr
    text = done.stderr.decode()
    assert "1 clip with an RMS below 0.001; 1 clip with a mel std below 8 dB" in text
    assert "3 clips of 2 species with fewer than 4 clips (Avis altera, Avis rara); 5 clips stay" in text
    assert set(Clips(folder).index["scientific_name"].to_pylist()) == {"Avis una", None}
    assert {row.scientific_name for row in read_table(folder).rows} == {"Avis una", None}
    before = (folder / "clips-00000.i16").read_bytes()
    assert command(*arguments).returncode == 0
    assert len(Clips(folder)) == 10, "without thresholds all are there again"
    assert (folder / "clips-00000.i16").read_bytes() == before
    done = command(*arguments, "--min-rms", "1")
    assert done.returncode == InputError.exit_code
    assert b"none of 10 clips stays" in done.stderr


def test_tensors_without_pytorch_are_refused_before_anything_is_prepared(
    data_set: Path, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dawnchorus.training.tensor_files", None)
    done = command("prepare", data_set, folder, *SHAPE, "--format", "pt")
    assert done.returncode == MissingExtraError.exit_code
    assert b"--format pt needs the package" in done.stderr
    assert not folder.exists()
