"""Clips by a recipe: right in length, position and content; resumed, and read in place."""

from __future__ import annotations

import errno
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from tests.fixtures.commands import Command
from tests.fixtures.sounds import tone

from dawnchorus.audio.mel import MelImage, hz_to_mel, mel_to_hz
from dawnchorus.audio.process import DecoderProcess, IsolatedRecording
from dawnchorus.data.check import check_table
from dawnchorus.data.clips import JOURNAL_NAME, Clips
from dawnchorus.data.images import write_images
from dawnchorus.data.prepare import PrepareSummary, check_and_cut, prepare
from dawnchorus.data.recipes import ClipSelection, Recipe
from dawnchorus.data.recordings import RecordingRow, RecordingsTable, write_table
from dawnchorus.errors import InputError, OutputError
from dawnchorus.inference.preparation import Cleaner, open_cleaner
from dawnchorus.inference.speech import VoiceActivityDetector
from dawnchorus.models.catalog.silero import speech_graph
from dawnchorus.models.store import ModelStore
from dawnchorus.training.clip_recipes import known_recipes
from dawnchorus.types import Progress

RATE_HZ = 16_000


@pytest.fixture
def table(tmp_path: Path) -> RecordingsTable:
    """Ramps whose samples say where they are: 12 s, 2 s and a broken file."""
    rows = []
    for name, seconds in (("long", 12.0), ("short", 2.0)):
        ramp = np.linspace(0, 0.9, round(seconds * RATE_HZ))
        soundfile.write(tmp_path / f"{name}.wav", ramp, RATE_HZ, subtype="PCM_16")
        rows.append(
            RecordingRow(
                recording_id=name,
                path=f"{name}.wav",
                scientific_name="Avis una",
                license="CC-BY-4.0",
                recordist="R. Ecord",
                split="train",
            )
        )
    (tmp_path / "broken.wav").write_text("no sound")
    rows.append(RecordingRow(recording_id="broken", path="broken.wav", scientific_name="Avis una"))
    return RecordingsTable(tmp_path, tuple(rows))


def made(table: RecordingsTable, name: str, recipe: Recipe, **more: object) -> tuple[PrepareSummary, Clips]:
    folder = table.folder / name
    done = prepare(table, folder, recipe, seed=1, n_workers=2, **more)  # type: ignore[arg-type]
    return done, Clips(folder)


def test_windows_are_the_parts_of_the_recording_that_they_say(table: RecordingsTable) -> None:
    done, clips = made(table, "all", Recipe(rate_hz=RATE_HZ, window_s=5.0))
    assert (done.n_clips, done.n_recordings, list(done.failures)) == (4, 2, ["broken"])
    times = [(r["recording_id"], r["start_s"], r["end_s"]) for r in clips.index.to_pylist()]
    assert times == [("long", 0.0, 5.0), ("long", 5.0, 10.0), ("long", 10.0, 12.0), ("short", 0.0, 2.0)]
    for k, (name, start_s, end_s) in enumerate(times):
        whole, _ = soundfile.read(table.folder / f"{name}.wav", dtype="float32")
        part = whole[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
        samples = clips.samples(k)
        assert len(samples) == 5 * RATE_HZ
        np.testing.assert_allclose(samples[: len(part)], part, atol=1e-4)
        assert not samples[len(part) :].any()


def test_every_clip_leads_back_to_its_recording_license_and_recordist(table: RecordingsTable) -> None:
    _, clips = made(table, "all", Recipe(rate_hz=RATE_HZ))
    row = clips.index.slice(1, 1).to_pylist()[0]
    assert (row["recording_id"], row["license"], row["recordist"]) == ("long", "CC-BY-4.0", "R. Ecord")
    assert (row["scientific_name"], row["split"]) == ("Avis una", "train")


def test_running_it_twice_changes_nothing_and_a_changed_recording_is_made_again(table: RecordingsTable) -> None:
    recipe = Recipe(rate_hz=RATE_HZ)
    made(table, "all", recipe)
    before = {path.name: path.read_bytes() for path in (table.folder / "all").glob("clips*")}
    done, _ = made(table, "all", recipe)
    assert (done.n_recordings, done.n_before) == (0, 2)
    assert {path.name: path.read_bytes() for path in (table.folder / "all").glob("clips*")} == before
    soundfile.write(table.folder / "short.wav", tone(seconds=7), RATE_HZ)
    done, clips = made(table, "all", recipe)
    assert (done.n_recordings, len(clips)) == (1, 5)
    np.testing.assert_allclose(clips.samples(3), tone(seconds=5), atol=1e-3)
    with pytest.raises(InputError, match="holds clips of another recipe"):
        made(table, "all", replace(recipe, window_s=3.0))


@pytest.mark.parametrize(
    ("selection", "trim_db", "n_decodings"), [("all", None, 1), ("first", None, 1), ("all", 60.0, 2)]
)
def test_checks_and_clips_come_from_one_decoding(
    table: RecordingsTable,
    monkeypatch: pytest.MonkeyPatch,
    selection: ClipSelection,
    trim_db: float | None,
    n_decodings: int,
) -> None:
    """Trimming needs to know the whole recording before."""
    monkeypatch.setattr("dawnchorus.data.cutting.MAX_CHOICE_S", 1.0)
    recipe = Recipe(rate_hz=8000, clip_selection=selection, pad_mode="noise", trim_db=trim_db)
    _, expected = made(check_table(table, n_workers=1), "apart", recipe)
    opened: Counter[str] = Counter()
    decode = DecoderProcess.open

    def count(decoder: DecoderProcess, path: Path, **request: Any) -> IsolatedRecording:
        opened[path.stem] += 1
        return decode(decoder, path, **request)

    monkeypatch.setattr(DecoderProcess, "open", count)
    folder = table.folder / "together"
    checked = check_and_cut(table, folder, recipe, seed=1, n_workers=2, cleaner=Cleaner(recipe.cleaning))
    assert opened == {"long": n_decodings, "short": n_decodings, "broken": 1}
    done, clips = made(checked, "together", recipe)
    assert (done.n_recordings, done.n_before, done.n_left_out) == (0, 2, 1)
    assert opened.total() == 2 * n_decodings + 1
    assert checked == check_table(table, n_workers=1)
    assert clips.index.drop(["shard", "row"]) == expected.index.drop(["shard", "row"])
    for k in range(len(clips)):
        np.testing.assert_array_equal(clips.samples(k), expected.samples(k))


def test_clips_that_were_prepared_before_the_rename_are_read_and_added_to(table: RecordingsTable) -> None:
    recipe = Recipe(rate_hz=RATE_HZ)
    _, before = made(table, "clips", recipe)
    with closing(sqlite3.connect(before.folder / JOURNAL_NAME)) as database:
        database.execute("ALTER TABLE metadata RENAME TO about")
    assert Clips(before.folder).recipe == before.recipe
    again, after = made(table, "clips", recipe)
    assert (again.n_recordings, again.n_before) == (0, 2)
    assert after.recipe == before.recipe


def test_full_disk_is_no_fault_of_a_recording(table: RecordingsTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dawnchorus.data.prepare.cut_clips", fail)
    recipe = Recipe(rate_hz=RATE_HZ)
    with pytest.raises(OutputError, match="No space left"):
        made(table, "prepared", recipe)
    with pytest.raises(OutputError, match="No space left"):
        check_and_cut(table, table.folder / "both", recipe, seed=1, n_workers=1, cleaner=Cleaner(recipe.cleaning))


def test_first_random_and_loudest_windows(table: RecordingsTable) -> None:
    _, clips = made(table, "first", Recipe(rate_hz=RATE_HZ, clip_selection="first"))
    assert [(r["recording_id"], r["start_s"]) for r in clips.index.to_pylist()] == [("long", 0.0), ("short", 0.0)]
    _, clips = made(table, "random", Recipe(rate_hz=RATE_HZ, clip_selection="random", window_s=1.0, n_clips=5))
    starts = [r["start_s"] for r in clips.index.to_pylist() if r["recording_id"] == "long"]
    assert len(set(starts)) == 5
    _, again = made(table, "again", Recipe(rate_hz=RATE_HZ, clip_selection="random", window_s=1.0, n_clips=5))
    assert again.index == clips.index, "the same seed takes the same windows"


@pytest.mark.parametrize("pad_mode", ["noise", "repeat"])
def test_short_recordings_are_filled_as_the_recipe_says(table: RecordingsTable, pad_mode: str) -> None:
    _, clips = made(table, pad_mode, Recipe(rate_hz=RATE_HZ, pad_mode=pad_mode))  # type: ignore[arg-type]
    samples = clips.samples(3)
    beyond = samples[2 * RATE_HZ :]
    if pad_mode == "repeat":
        np.testing.assert_array_equal(beyond[: 2 * RATE_HZ], samples[: 2 * RATE_HZ])
    else:
        assert 0.001 < np.abs(beyond).max() < 0.1


def test_clips_can_be_brought_to_one_level(table: RecordingsTable) -> None:
    _, clips = made(table, "level", Recipe(rate_hz=RATE_HZ, normalize=True))
    assert all(np.abs(clips.samples(k)).max() == pytest.approx(0.9, abs=1e-3) for k in range(len(clips)))


@pytest.fixture(scope="session")
def detector(store: ModelStore) -> VoiceActivityDetector:
    """Silero VAD, from the package index if it is not on this machine yet."""
    return VoiceActivityDetector(speech_graph(store.folder))


def test_speech_is_cut_and_its_position_remembered(
    tmp_path: Path, voice: np.ndarray, store: ModelStore, detector: VoiceActivityDetector
) -> None:
    bird = tone(4000, seconds=10, level=0.1)
    sound = np.concatenate([bird, voice, bird])
    soundfile.write(tmp_path / "x.wav", sound, RATE_HZ)
    truth = detector.find(voice)
    assert truth, "the detector finds the voice alone"
    table = RecordingsTable(tmp_path, (RecordingRow(recording_id="x", path="x.wav", scientific_name="A a"),))
    recipe = Recipe(rate_hz=RATE_HZ, window_s=1.0, cut_speech=True)
    done, clips = made(
        table, "cut", recipe, cleaner=open_cleaner(recipe.cleaning, store.folder), speech_folder=tmp_path
    )
    assert done.cut_s["x"] == pytest.approx(sum(segment.length_s for segment in truth), abs=1.0)
    starts = [r["start_s"] for r in clips.index.to_pylist()]
    assert starts[:9] == [float(k) for k in range(9)]
    assert starts[-1] > 20, "times are those of the recording, not of what is left of it"
    detected, _ = soundfile.read(tmp_path / "x.speech.wav")
    assert len(detected) / RATE_HZ == pytest.approx(done.cut_s["x"], abs=0.01)


def test_birds_are_no_speech(detector: VoiceActivityDetector, dawn: Path) -> None:
    from dawnchorus.audio.decode import read_mono

    samples, _ = read_mono(dawn, rate_hz=RATE_HZ)
    assert sum(segment.length_s for segment in detector.find(samples)) < 0.05 * len(samples) / RATE_HZ
    assert detector.find(np.zeros(RATE_HZ, np.float32)) == ()
    assert detector.find(np.zeros(0, np.float32)) == ()


@pytest.mark.parametrize("name", [name for name, (_, recipe) in known_recipes().items() if recipe.denoise is None])
def test_every_recipe_makes_clips_of_its_length(table: RecordingsTable, name: str) -> None:
    recipe = replace(known_recipes()[name][1], cut_speech=False)
    _, clips = made(table, name, recipe)
    assert len(clips) >= 2
    assert len(clips.samples(0)) == round(recipe.window_s * recipe.rate_hz)


def test_noise_is_reduced(table: RecordingsTable) -> None:
    pytest.importorskip("noisereduce")
    rng = np.random.default_rng(1)
    noisy = rng.normal(0, 0.05, 10 * RATE_HZ).astype(np.float32)
    for k in range(4):
        start = 5 * RATE_HZ + k * 4000
        noisy[start : start + 1600] += tone(4000, seconds=0.1, level=0.4)
    soundfile.write(table.folder / "long.wav", noisy, RATE_HZ)
    before = noisy[5 * RATE_HZ : 6 * RATE_HZ].std() / noisy[2 * RATE_HZ : 3 * RATE_HZ].std()
    for kind in ("stationary", "nonstationary"):
        _, clips = made(table, kind, Recipe(rate_hz=RATE_HZ, window_s=1.0, denoise=kind))  # type: ignore[arg-type]
        quiet, call = clips.samples(2), clips.samples(5)
        assert call.std() / quiet.std() > 2 * before


def test_the_prepare_command(table: RecordingsTable, command: Command) -> None:
    write_table(table)
    done = command("prepare", table.folder, table.folder / "out", "--recipe", "birdnet-3s", "--select", "loudest")
    assert done.returncode == 3
    assert b"2 clips of 2 recordings (0 of them before); 0 left out, 1 failed" in done.stderr
    assert b"broken: " in done.stderr
    assert (table.folder / "out" / "ATTRIBUTION.md").read_text().count("R. Ecord") == 2
    assert b"autobird" in command("prepare", "--list-recipes").stdout


def test_clips_are_selected_where_the_species_calls(table: RecordingsTable) -> None:
    recipe = Recipe(rate_hz=RATE_HZ, window_s=2.0, clip_selection="scored", n_clips=2)
    _, clips = made(table, "scored", recipe, calls={"long": [7.5, 8.0, 0.2]})
    starts = {r["recording_id"]: [] for r in clips.index.to_pylist()}
    for row in clips.index.to_pylist():
        starts[row["recording_id"]].append(row["start_s"])
    assert starts["long"] == [0.0, 6.5], "8.0 s is in the clip around 7.5 s; 0.2 s is as near as the start allows"
    assert starts["short"] == [0.0], "nothing is heard there: the loudest"


def test_calls_are_found_in_what_is_left_after_cutting(tmp_path: Path, voice: np.ndarray, store: ModelStore) -> None:
    call, quiet = tone(4000, seconds=2, level=0.3), np.zeros(6 * RATE_HZ, np.float32)
    soundfile.write(tmp_path / "x.wav", np.concatenate([quiet, voice, quiet, call, quiet]), RATE_HZ)
    table = RecordingsTable(tmp_path, (RecordingRow(recording_id="x", path="x.wav", scientific_name="A a"),))
    recipe = Recipe(rate_hz=RATE_HZ, window_s=2.0, clip_selection="scored", cut_speech=True)
    _, clips = made(table, "cut", recipe, cleaner=open_cleaner(recipe.cleaning, store.folder), calls={"x": [17.0]})
    (row,) = clips.index.to_pylist()
    assert (row["start_s"], row["end_s"]) == (pytest.approx(16.0, abs=0.01), pytest.approx(18.0, abs=0.01))
    assert np.abs(clips.samples(0)).min(initial=1.0, where=np.abs(clips.samples(0)) > 0.29) > 0.29
    assert np.sqrt(np.mean(clips.samples(0) ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


def test_images_show_the_clips_and_say_where_they_are_from(table: RecordingsTable) -> None:
    soundfile.write(table.folder / "long.wav", tone(3000, seconds=12), RATE_HZ)
    _, clips = made(table, "all", Recipe(rate_hz=RATE_HZ))
    folder, how = table.folder / "all" / "images", MelImage(n_mels=64, high_hz=20_000)
    assert write_images(clips, folder, how, n_workers=2) == 4
    assert write_images(clips, folder, how, n_workers=2) == 0, "they are there"
    with Image.open(folder / "Avis una" / "long_5.000-10.000.png") as image:
        assert (image.mode, image.size) == ("L", (501, 64))
        assert (image.info["license"], image.info["recordist"]) == ("CC-BY-4.0", "R. Ecord")
        assert (image.info["recording_id"], image.info["start_s"]) == ("long", "5.0")
        levels = np.asarray(image)[::-1]
    edges = mel_to_hz(np.linspace(hz_to_mel(50), hz_to_mel(8000), 66))
    band = int(levels[:, 250].argmax())
    assert edges[band] < 3000 < edges[band + 2]
    assert levels[band, 250] == 255
    assert write_images(clips, folder, MelImage(n_mels=32), n_workers=1) == 4, "drawn another way"
    with pytest.raises(InputError, match="narrower than"):
        write_images(clips, folder, MelImage(n_mels=500), n_workers=1)


def test_clips_that_begin_nearly_together_have_images_of_their_own(table: RecordingsTable) -> None:
    _, clips = made(table, "many", Recipe(rate_hz=RATE_HZ, window_s=0.5, clip_selection="random", n_clips=80))
    # Start and end are each rounded to a millisecond, so that clips of one start may have different ends.
    times = {(clip["recording_id"], clip["start_s"], clip["end_s"]) for clip in clips.index.to_pylist()}
    assert len({(name, round(start_s, 2)) for name, start_s, _end_s in times}) < len(times)
    folder = table.folder / "many" / "images"
    assert write_images(clips, folder, MelImage(n_mels=8), n_workers=2) == len(times)
    assert len(list(folder.rglob("*.png"))) == len(times)


def test_speech_across_the_edge_of_a_block_is_cut_as_a_whole(
    tmp_path: Path, voice: np.ndarray, store: ModelStore
) -> None:
    bird = tone(4000, seconds=4, level=0.1)
    soundfile.write(tmp_path / "x.wav", np.concatenate([bird, voice, bird]), RATE_HZ)
    table = RecordingsTable(tmp_path, (RecordingRow(recording_id="x", path="x.wav", scientific_name="A a"),))
    recipe = Recipe(rate_hz=RATE_HZ, window_s=1.0, cut_speech=True)
    done, _ = made(table, "cut", recipe, cleaner=open_cleaner(recipe.cleaning, store.folder))
    samples, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    whole = sum(segment.length_s for segment in VoiceActivityDetector(speech_graph(store.folder)).find(samples))
    assert done.cut_s["x"] == pytest.approx(whole, abs=0.02)


def test_progress_counts_the_recordings_that_were_not_prepared_before(table: RecordingsTable) -> None:
    progress: list[Progress] = []
    for _ in range(2):
        made(table, "all", Recipe(rate_hz=RATE_HZ), report=progress.append)
    counts = [(each.stage, each.done, each.total, each.unit) for each in progress]
    first = [("preparing", n, 3, "recordings") for n in (1, 2, 3)]
    assert counts == [*first, ("preparing", 1, 1, "recordings")], "the broken one is tried again"
