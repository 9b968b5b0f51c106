"""Random crops: inside the recording, new in each epoch, the same after a resume and for any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.fixtures.commands import Command
from tests.fixtures.training import SMALL, Train

from dawnchorus.data.clips import WholeRecording
from dawnchorus.data.recordings import Annotation, RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import InputError
from dawnchorus.models.store import ModelStore
from dawnchorus.training.compose import compose_config
from dawnchorus.training.crops import CropBatchSampler, CropDataset
from dawnchorus.training.dataset import DistributedBatchSampler, LabeledClips, load_labeled_clips
from dawnchorus.training.losses import IGNORED
from dawnchorus.training.trainer import resume
from dawnchorus.types import Progress

RATE_HZ = 8_000
LENGTHS_S = {"a": 7.3, "b": 2.0, "c": 0.5}


@pytest.fixture
def ramps(tmp_path: Path) -> Path:
    """Recordings whose samples say where they are, of two species; one of each is for validation."""
    rows = []
    for number, (name, seconds) in enumerate(LENGTHS_S.items()):
        for split in ("train", "validation"):
            ramp = np.linspace(0.01, 0.9, round(seconds * RATE_HZ))
            soundfile.write(tmp_path / f"{name}-{split}.wav", ramp, RATE_HZ, subtype="PCM_16")
            species = f"Avis {'una' if number % 2 else 'altera'}"
            rows.append(
                RecordingRow(
                    recording_id=f"{name}-{split}", path=f"{name}-{split}.wav", scientific_name=species, split=split
                )
            )
    write_table(RecordingsTable(tmp_path, tuple(rows)))
    return tmp_path


def loaded(data_set: Path, store: ModelStore, *more: str) -> LabeledClips:
    config = compose_config([f"data={data_set}", "model=mel_cnn", "data.crop=random", *more])
    return load_labeled_clips(config.data, rate_hz=RATE_HZ, window_s=1.0, clips_folder=None, store=store)


def epoch(data: CropDataset, number: int) -> dict[str, np.ndarray]:
    """Return the crops of an epoch by recording."""
    batches = DistributedBatchSampler(len(data), batch=3, seed=1, weights=None)
    batches.set_epoch(number)
    drawn = [data[draw] for batch in CropBatchSampler(batches) for draw in batch]
    examples = data._examples
    return {examples.rows[examples.recordings[clip]].recording_id: audio.numpy() for audio, _, clip in drawn}


def test_a_crop_is_a_part_of_its_recording_at_a_position_drawn_anew(ramps: Path, store: ModelStore) -> None:
    examples = loaded(ramps, store)
    assert len(examples.train) == 3, "one of each recording"
    assert len(examples.validation) == 8 + 2 + 1, "every window"
    data = CropDataset(examples, seed=1)
    epochs = [epoch(data, number) for number in range(20)]
    starts_s = []
    for crops in epochs:
        whole, _ = soundfile.read(ramps / "a-train.wav", dtype="float32")
        start = int(np.abs(whole - crops["a-train"][0]).argmin())
        np.testing.assert_allclose(crops["a-train"], whole[start : start + RATE_HZ], atol=1e-4)
        starts_s.append(start / RATE_HZ)
    assert len(set(starts_s)) > 15
    assert min(starts_s) < 1.5
    assert 5 < max(starts_s) <= 6.3
    short, _ = soundfile.read(ramps / "c-train.wav", dtype="float32")
    np.testing.assert_allclose(epochs[0]["c-train"], np.tile(short, 2), atol=1e-4)
    again, other = CropDataset(examples, seed=1), CropDataset(examples, seed=2)
    np.testing.assert_array_equal(epoch(again, 3)["a-train"], epochs[3]["a-train"])
    assert not np.array_equal(epoch(other, 3)["a-train"], epochs[3]["a-train"])


def test_a_recording_that_is_drawn_twice_in_an_epoch_gives_two_crops(ramps: Path, store: ModelStore) -> None:
    data = CropDataset(loaded(ramps, store), seed=1)
    batches = DistributedBatchSampler(50, batch=10, seed=1, weights=torch.tensor([1.0, 1e-9, 1e-9]))
    firsts = {float(data[draw][0][0]) for batch in CropBatchSampler(batches) for draw in batch}
    assert len(firsts) > 40


def test_processes_share_the_crops_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = DistributedBatchSampler(12, batch=4, seed=1, weights=None)
    batches.set_epoch(2)
    alone = list(CropBatchSampler(batches))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(list(CropBatchSampler(batches)))
    for whole, first, second in zip(alone, *shares, strict=True):
        assert sorted(first + second) == sorted(whole)
        assert len(first) == len(second)
    assert len({number for batch in alone for _, number in batch}) == 12


def test_targets_are_what_is_annotated_in_the_crop(tmp_path: Path, store: ModelStore) -> None:
    soundfile.write(tmp_path / "x.wav", np.full(20 * RATE_HZ, 0.1), RATE_HZ)
    soundfile.write(tmp_path / "y.wav", np.full(20 * RATE_HZ, 0.1), RATE_HZ)
    marks = (
        Annotation(start_s=3, end_s=6, scientific_name="Avis una"),
        Annotation(start_s=12, end_s=13, scientific_name="Avis altera"),
    )
    common = {"annotations": marks, "split": "train"}
    rows = (
        RecordingRow(recording_id="x", path="x.wav", kind="soundscape", **common),  # type: ignore[arg-type]
        RecordingRow(recording_id="y", path="y.wav", scientific_name="Avis una", **common),  # type: ignore[arg-type]
    )
    write_table(RecordingsTable(tmp_path, rows))
    examples = loaded(tmp_path, store, "data.validation=0")
    assert examples.class_counts.tolist() == [2, 2], "each recording has both species somewhere"
    data = CropDataset(examples, seed=1)
    targets = {name: [data[index, k][1].tolist() for k in range(60)] for index, name in enumerate("xy")}
    known = {tuple(target) for target in targets["x"] if IGNORED not in target}
    assert known == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)}, "with a sliver of a mark nothing is known"
    assert (0.0, 0.0) not in {tuple(target) for target in targets["y"]}, "a recording of a species has its sounds"


def test_unannotated_species_are_not_trained_as_absent(tmp_path: Path, store: ModelStore) -> None:
    mark = Annotation(start_s=0, end_s=1, scientific_name="Avis una")
    other = Annotation(start_s=0, end_s=1, scientific_name="Avis altera")
    unknown = Annotation(start_s=0, end_s=1, scientific_name="")
    description = {"kind": "soundscape", "split": "train"}
    rows = (
        RecordingRow(recording_id="a", path="a.wav", annotations=(mark,), **description),  # type: ignore[arg-type]
        RecordingRow(recording_id="b", path="b.wav", annotations=(other, unknown), **description),  # type: ignore[arg-type]
        RecordingRow(recording_id="empty", path="c.wav", is_annotated=True, **description),  # type: ignore[arg-type]
        RecordingRow(recording_id="never", path="d.wav", **description),  # type: ignore[arg-type]
    )
    for row in rows:
        soundfile.write(tmp_path / row.path, np.full(RATE_HZ, 0.1), RATE_HZ)
    write_table(RecordingsTable(tmp_path, rows))
    examples = loaded(tmp_path, store, "data.validation=0", "data.crop=fixed")
    assert [row.recording_id for row in examples.rows] == ["a", "b", "empty"]
    assert examples.targets.tolist() == [[0.0, 1.0], [1.0, IGNORED], [0.0, 0.0]]
    assert examples.warnings[0].startswith("1 of 4 recordings are unlabeled (never...) and left out")


def test_clips_between_marks_are_trained_on_as_background(tmp_path: Path, store: ModelStore) -> None:
    marks = (
        Annotation(start_s=0, end_s=1.1, scientific_name="Avis una"),
        Annotation(start_s=4.5, end_s=4.6, scientific_name="Avis aliena"),
    )
    soundfile.write(tmp_path / "a.wav", np.full(6 * RATE_HZ, 0.1), RATE_HZ)
    row = RecordingRow(recording_id="a", path="a.wav", kind="soundscape", annotations=marks, split="train")
    write_table(RecordingsTable(tmp_path, (row,)))
    options = ("data.validation=0", "data.crop=fixed", "data.classes=[Avis una]")
    examples = loaded(tmp_path, store, *options)
    assert examples.targets[:, 0].tolist() == [1.0, IGNORED, 0.0, 0.0, 0.0, 0.0]
    assert examples.train.tolist() == [0, 1, 2, 3, 4, 5]
    assert examples.backgrounds.tolist() == [2, 3, 5], "another species is in the fifth"


def test_times_of_crops_count_what_was_cut_out() -> None:
    whole = WholeRecording(0, 0, 100, ((2.0, 5.0), (6.0, 7.0)))
    assert [whole.recorded_s(kept_s) for kept_s in (0.0, 1.9, 2.5, 2.9, 3.5)] == [0.0, 1.9, 5.5, 5.9, 7.5]


class _InterruptionError(Exception):
    """The end of a run after an epoch."""


@pytest.mark.ops
def test_a_resumed_run_draws_the_crops_of_an_uninterrupted_one(run_training: Train, tmp_path: Path) -> None:
    settings = (*SMALL, "data.crop=random", "trainer.epochs=2")
    whole, fixed = run_training(*settings), run_training(*SMALL, "trainer.epochs=2")
    assert whole.metrics["loss"] != fixed.metrics["loss"]

    def stop(progress: Progress) -> None:
        if progress.done == 1:
            raise _InterruptionError

    with pytest.raises(_InterruptionError):
        run_training(*settings, f"paths.runs={tmp_path / 'stopped'}", report=stop)
    (folder,) = (tmp_path / "stopped").iterdir()
    assert resume(folder).metrics == pytest.approx(whole.metrics, abs=1e-5)


def test_embeddings_of_random_crops_are_computed_in_each_epoch(run_training: Train) -> None:
    head = ("model=embedding_head", "model.hidden=4", "trainer.epochs=1")
    fixed, cropped = run_training(*head), run_training(*head, "data.crop=random")
    assert cropped.metadata["n_train"] < fixed.metadata["n_train"], "one crop of each recording"
    assert cropped.metrics["loss"] != fixed.metrics["loss"]


@pytest.mark.parametrize(
    "setting", ["data.clip_selection=loudest", "data.overlap_s=0.5", "data.random_clip_split=true"]
)
def test_crops_are_of_whole_recordings_only(setting: str, ramps: Path, store: ModelStore) -> None:
    with pytest.raises(InputError, match=r"data\.crop=random draws from whole recordings"):
        loaded(ramps, store, setting)


def test_prepared_clips_of_whole_recordings_are_cropped(ramps: Path, store: ModelStore, command: Command) -> None:
    folder = ramps / "clips of mine"
    shape = ("--sample-rate", "8000", "--window", "1", "--pad-mode", "repeat")
    assert command("prepare", ramps, folder, *shape, "--whole").returncode == 0
    own, prepared = (epoch(CropDataset(loaded(path, store), seed=1), 4) for path in (ramps, folder))
    assert own.keys() == prepared.keys()
    for name, audio in own.items():
        np.testing.assert_array_equal(prepared[name], audio)


@pytest.mark.parametrize("options", [["--select", "first"], ["--overlap", "0.5"], ["--normalize"]])
def test_prepared_clips_that_are_no_whole_recordings_are_refused(
    options: list[str], ramps: Path, store: ModelStore, command: Command
) -> None:
    folder = ramps / "clips of mine"
    assert command("prepare", ramps, folder, "--sample-rate", "8000", "--window", "1", *options).returncode == 0
    with pytest.raises(InputError, match=r"consecutive windows of whole recordings.*--select all --overlap 0"):
        loaded(folder, store)
