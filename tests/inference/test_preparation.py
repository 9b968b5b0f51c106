"""A bundle's cleaning: the same steps on every path that scores, and times of the recording."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Command
from tests.fixtures.models import level_graph
from tests.fixtures.sounds import tone

from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import InputError
from dawnchorus.evaluation.scoring import score_data_set
from dawnchorus.identification import Options, identify
from dawnchorus.inference.model import Model
from dawnchorus.inference.preparation import Cleaner, KeptSegments
from dawnchorus.models.bundle import Bundle, read_bundle
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.graphs.ensemble import make_ensemble
from dawnchorus.models.store import ModelStore
from dawnchorus.types import Segment

RATE_HZ = 16_000


def with_cleaning(bundle: Bundle, folder: Path, **steps: object) -> Bundle:
    """Copy a bundle, with a cleaning of its own."""
    shutil.copytree(bundle.folder, folder)
    metadata = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**metadata, "cleaning": steps}))
    return read_bundle(folder)


@pytest.fixture
def quiet_ends(tmp_path: Path) -> Path:
    """3.2 s of silence, 2.5 s of a tone, 3.3 s of silence."""
    path = tmp_path / "quiet_ends.wav"
    audio = [np.zeros(51_200), tone(4000, seconds=2.5, level=0.3), np.zeros(52_800)]
    soundfile.write(path, np.concatenate(audio), RATE_HZ, subtype="FLOAT")
    return path


def test_trimmed_recording_is_scored_from_the_first_audible_sample(
    level_bundle: Bundle, quiet_ends: Path, tmp_path: Path, store: ModelStore
) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    out = tmp_path / "out.csv"
    for _ in range(2):  # the second time, times come from the journal
        run = identify(quiet_ends, Options(min_score=0.0), model=Model(bundle, store), out=out, resume=out.exists())
        (table,) = run.tables()
        windows = sorted({(d.start_s, d.end_s) for d in table.detections})
        assert [start for start, _ in windows] == pytest.approx([3.2, 4.2, 5.2], abs=0.1)
        assert windows[-1][1] == pytest.approx(5.7, abs=0.1), "the last window ends with what is kept"
        assert table.duration_s == pytest.approx(9.0)
    untrimmed = identify(quiet_ends, Options(min_score=0.0), model=level_bundle.folder)
    assert len(next(iter(untrimmed.tables())).detections) > len(table.detections)


def test_each_channel_is_trimmed_by_itself(level_bundle: Bundle, quiet_ends: Path, tmp_path: Path) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    audio, _ = soundfile.read(quiet_ends)
    late = tmp_path / "late.wav"
    soundfile.write(late, np.roll(audio, 24_000), RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "both.wav", np.column_stack([audio, np.roll(audio, 24_000)]), RATE_HZ, subtype="FLOAT")
    options = Options(min_score=0.0, channel="each")
    run = identify([tmp_path / "both.wav", quiet_ends, late], options, model=bundle.folder)
    both, *alone = run.tables()
    for number, (channel, mono) in enumerate(zip(both.by_channel(), alone, strict=True), start=1):
        assert channel.detections == tuple(replace(d, channel=number) for d in mono.detections)
    assert alone[1].detections[0].start_s == pytest.approx(4.7, abs=0.1)


def test_speech_is_removed_and_adjacent_windows_keep_recording_times(
    level_bundle: Bundle, voice: np.ndarray, tmp_path: Path
) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "cutting", cut_speech=True, denoise="stationary")
    pytest.importorskip("noisereduce")
    audio = np.concatenate([tone(4000, seconds=4, level=0.1), voice, tone(4000, seconds=4, level=0.1)])
    soundfile.write(tmp_path / "spoken.wav", audio, RATE_HZ)
    run = identify(tmp_path / "spoken.wav", Options(min_score=0.0), model=bundle.folder)
    (table,) = run.tables()
    starts = sorted({d.start_s for d in table.detections})
    assert starts[0] == 0
    assert not [s for s in starts if 5 < s < 7], "nothing is scored while someone speaks"
    assert starts[-1] > 8


def test_evaluation_hears_what_identify_hears(
    level_bundle: Bundle, quiet_ends: Path, tmp_path: Path, store: ModelStore
) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    row = RecordingRow(recording_id="x", path=quiet_ends.name, scientific_name="Avis magna")
    scores = score_data_set(bundle, RecordingsTable(tmp_path, (row,)), [row], store=store)
    assert scores.start_s.tolist() == pytest.approx([3.2, 4.2, 5.2], abs=0.1)


def test_run_with_another_cleaning_is_another_run(
    level_bundle: Bundle, quiet_ends: Path, tmp_path: Path, command: Command
) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    assert command("identify", quiet_ends, "--out", tmp_path / "a.csv", "--model", level_bundle.folder).returncode == 0
    refused = command("identify", quiet_ends, "--out", tmp_path / "a.csv", "--model", bundle.folder, "--resume")
    assert refused.returncode != 0
    assert b"cleaning" in refused.stderr


def test_members_of_an_ensemble_clean_alike(level_bundle: Bundle, tmp_path: Path) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    with pytest.raises(InputError, match="clean recordings alike"):
        make_ensemble([level_bundle, bundle], tmp_path / "both", name="both", license_name="CC0-1.0")


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=6), st.integers(0, 50))
def test_times_of_what_is_kept_are_found_again(lengths: list[tuple[int, int]], quarter: int) -> None:
    segments, at = [], 0.0
    for gap, length in lengths:
        segments.append(Segment(at + gap, at + gap + length))
        at += gap + length
    kept = KeptSegments(tuple(segments), is_whole=False)
    total = sum(segment.length_s for segment in segments)
    time_s = min(quarter / 4, total)
    start_s, end_s = kept.start_s(time_s), kept.end_s(time_s)
    assert kept.kept_s(end_s) == pytest.approx(time_s)
    assert kept.kept_s(start_s) == pytest.approx(time_s)
    assert start_s >= end_s - 1e-9 or time_s == 0
    assert sum(segment.length_s for segment in kept.removed(at + 3)) == pytest.approx(at + 3 - total)


def test_steps_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        Cleaning.model_validate({"reverb": True})
    assert not Cleaning()


def test_wrapped_model_may_want_cleaning(quiet_ends: Path, tmp_path: Path, command: Command) -> None:
    graph = level_graph(tmp_path / "level.onnx", window_samples=RATE_HZ)
    (tmp_path / "labels.txt").write_text("Avis magna\nAvis parva\nEngine\n")
    given = ("--labels", tmp_path / "labels.txt", "--sample-rate", "16000", "--window", "1", "--activation", "identity")
    made = command("models", "wrap", graph, tmp_path / "own", *given, "--trim", "23")
    assert made.returncode == 0, made.stderr
    assert read_bundle(tmp_path / "own").info.cleaning == Cleaning(trim_db=23)
    output = command("identify", quiet_ends, "--model", tmp_path / "own", "--min-score", "0", "--json", "-q")
    assert min(row["start_s"] for row in json.loads(output.stdout)["detections"]) == pytest.approx(3.2, abs=0.1)
    assert command("models", "wrap", graph, tmp_path / "x", *given, "--trim", "-3").returncode == 2


def test_recording_of_which_nothing_is_left_is_named(
    level_bundle: Bundle, quiet_ends: Path, tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_cleaning(level_bundle, tmp_path / "trimming", trim_db=23)
    second = tmp_path / "second.wav"
    shutil.copy(quiet_ends, second)
    find_kept = Cleaner._find_kept
    n_kept = [KeptSegments((), is_whole=False)]

    def remove_one(cleaner: Cleaner, *given: Any) -> KeptSegments:
        kept = find_kept(cleaner, *given)
        return n_kept.pop() if n_kept else kept

    monkeypatch.setattr(Cleaner, "_find_kept", remove_one)
    rows = [RecordingRow(recording_id=p.name, path=p.name, scientific_name="Avis magna") for p in (quiet_ends, second)]
    scores = score_data_set(bundle, RecordingsTable(tmp_path, tuple(rows)), rows, store=store, n_workers=1)
    assert len(scores.rows) == 1
    (reason,) = scores.failures.values()
    assert "nothing of it is left" in reason
