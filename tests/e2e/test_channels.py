"""One channel or each, from the file to the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command

from dawnchorus.audio.windows import WindowPlan
from dawnchorus.errors import InputError, OutputError
from dawnchorus.identification import Options, identify
from dawnchorus.identification.estimate import estimate_run
from dawnchorus.models.bundle import Bundle
from dawnchorus.types import Detection, Progress


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Two seconds: 0.6 on the left, its negative on the right, so nothing in the mean."""
    left = np.repeat([0.6, 0.3], 16_000) * np.tile([1.0, -1.0], 16_000)
    soundfile.write(tmp_path / "20240601_013005.wav", np.column_stack([left, -0.8 * left]), 16_000, subtype="FLOAT")
    return tmp_path / "20240601_013005.wav"


@pytest.mark.parametrize(
    ("channel", "scores"), [("mean", [0.06, 0.03]), ("left", [0.6, 0.3]), ("right", [0.48, 0.24]), ("best", [0.6, 0.3])]
)
def test_requested_channel_is_scored(stereo: Path, level_bundle: Bundle, channel: str, scores: list[float]) -> None:
    options = Options(min_score=0.01, species=("Avis magna",), channel=channel)  # type: ignore[arg-type]
    run = identify(stereo, options, model=level_bundle.folder)
    (table,) = run.tables()
    assert [detection.score for detection in table.detections] == pytest.approx(scores, abs=0.01)


def test_default_journals_are_those_of_older_versions_and_others_have_the_channel() -> None:
    assert "channel" not in Options().scoring()
    assert Options(channel="left").scoring() == {**Options().scoring(), "channel": "left"}
    with pytest.raises(InputError, match="channel: expected one of mean, left, right, best, each, got 'middle'"):
        Options(channel="middle")  # type: ignore[arg-type]


def test_a_run_is_resumed_with_its_own_channel_only(stereo: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    identify(stereo, Options(channel="left"), model=level_bundle.folder, out=out)
    identify(stereo, Options(channel="left"), model=level_bundle.folder, out=out, resume=True)
    with pytest.raises((InputError, OutputError)):
        identify(stereo, Options(), model=level_bundle.folder, out=out, resume=True)


def test_the_command_warns_and_notes_once(command: Command, stereo: Path, level_bundle: Bundle, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.wav", np.full(16_000, 0.5), 16_000)
    done = command("identify", tmp_path, "--model", level_bundle.folder, "--json", "-q")
    result = json.loads(done.stdout)
    (warning,) = result["warnings"]
    assert warning["recording"].endswith("20240601_013005.wav")
    assert warning["reason"].startswith("channels: they cancel out in their mean")
    (note,) = result["notes"]
    assert note.startswith("no time found for 1 of 2 recordings, as ")
    done = command("identify", stereo, "--model", level_bundle.folder, "--channel", "best", "--json", "-q")
    assert (json.loads(done.stdout)["warnings"], json.loads(done.stdout)["notes"]) == ([], [])


# ---------------------------------------------------------------------- each channel by itself


def several(path: Path, n_channels: int, rate_hz: int = 22_050) -> Path:
    """Return a recording of 2.6 s with another level in each channel and second, with mono files `1.wav`... of each."""
    folder = path.parent / "mono"
    folder.mkdir(exist_ok=True)
    levels = np.random.default_rng(n_channels).uniform(0.1, 0.9, (n_channels, 3)).repeat(rate_hz, axis=1)
    signals = (levels * np.resize([1.0, -1.0], levels.shape[1])).astype(np.float32)[:, : int(2.6 * rate_hz)]
    soundfile.write(path, signals.T, rate_hz, subtype="FLOAT")
    for number, signal in enumerate(signals, start=1):
        soundfile.write(folder / f"{number}.wav", signal, rate_hz, subtype="FLOAT")
    return path


def detected(detections: tuple[Detection, ...], channel: int) -> list[tuple[float, float, str, float]]:
    return [(d.start_s, d.end_s, d.scientific_name, d.score) for d in detections if d.channel == channel]


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_each_channel_has_the_scores_of_its_own_recording(
    level_bundle: Bundle, tmp_path: Path, n_channels: int
) -> None:
    recording = several(tmp_path / "x.wav", n_channels)
    options = Options(min_score=0.0, overlap_s=0.25, channel="each", top=2)
    run = identify([recording, tmp_path / "mono"], options, model=level_bundle.folder)
    table, *alone = run.tables()
    assert table.n_channels == n_channels
    for number, mono in enumerate(alone, start=1):
        expected, detections = detected(mono.detections, 1), detected(table.detections, number)
        assert len(detections) == len(expected) >= 6
        for ours, theirs in zip(detections, expected, strict=True):
            assert ours[:3] == theirs[:3]
            assert ours[3] == pytest.approx(theirs[3], abs=1e-6)
    assert run.counts.scored_s == pytest.approx(2 * n_channels * 2.5), "the last 0.1 s are in no window"


def test_interrupted_run_of_each_channel_resumes_to_the_same_table(level_bundle: Bundle, tmp_path: Path) -> None:
    recordings = [several(tmp_path / f"{k}.wav", k) for k in (2, 3)]
    options = Options(min_score=0.0, channel="each")

    def stop_after_one(progress: Progress) -> None:
        if progress.done == 1:
            raise KeyboardInterrupt

    given = {"model": level_bundle.folder, "workers": 1}
    identify(recordings, options, out=tmp_path / "whole.csv", **given)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        identify(recordings, options, out=tmp_path / "x.csv", report=stop_after_one, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="started with other settings .channel changed"):
        identify(recordings, Options(min_score=0.0), out=tmp_path / "x.csv", **given)  # type: ignore[arg-type]
    run = identify(recordings, options, out=tmp_path / "x.csv", **given)  # type: ignore[arg-type]
    assert run.counts.n_resumed == 1
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    header, *rows = (tmp_path / "x.csv").read_text().splitlines()
    assert header.endswith(",File,channel")
    assert sorted({row.rsplit(",", 1)[1] for row in rows if "3.wav" in row}) == ["1", "2", "3"]


def test_faults_of_channels_are_said_once_for_each(level_bundle: Bundle, tmp_path: Path) -> None:
    """The third of four is dead, and the file is cut off."""
    signals = np.tile([0.5, -0.5], 16_000)[:, np.newaxis] * [1.0, 0.5, 0.0, 0.25]
    soundfile.write(tmp_path / "x.wav", signals, 16_000, subtype="PCM_16")
    content = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(content[:-80_000])
    run = identify(tmp_path / "x.wav", Options(channel="each"), model=level_bundle.folder)
    dead, truncated = [warning.reason for warning in run.warnings]
    assert truncated.startswith("truncated: ")
    assert dead == "channels: channel 3 of 4 is silent"


def test_estimate_counts_each_channel(level_bundle: Bundle, stereo: Path) -> None:
    plan = WindowPlan.from_seconds(rate_hz=16_000, window_s=1.0)
    times = iter([0.0, 1.0, 0.0, 1.0])
    given = {"n_workers": 1, "clock": lambda: next(times)}
    one = estimate_run([stereo], level_bundle, plan, **given)  # type: ignore[arg-type]
    each = estimate_run([stereo], level_bundle, plan, channel="each", **given)  # type: ignore[arg-type]
    assert (one.duration_s, each.duration_s) == (2.0, 4.0)
    assert each.estimated_s == pytest.approx(2 * one.estimated_s)


def test_the_command_says_which_tables_have_no_channel(
    command: Command, stereo: Path, level_bundle: Bundle, tmp_path: Path
) -> None:
    given = ("identify", stereo, "--model", level_bundle.folder, "--channel", "each", "--min-score", "0.2")
    done = command(*given, "--out", tmp_path / "out", "--format", "audacity,raven", "--json")
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("channels: tables of audacity have no place for them")
    (table,) = (tmp_path / "out").glob("*.selections.txt")
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert [row[2] for row in rows if row[8] == "Avis magna"] == ["1", "2", "1", "2"]
    result = json.loads(command(*given, "--json", "-q").stdout)
    assert {detection["channel"] for detection in result["detections"]} == {1, 2}
    assert result["notes"] == []
