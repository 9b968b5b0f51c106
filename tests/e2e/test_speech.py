"""Human voices in recordings to identify: found, flagged, silenced, dropped, and remembered."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.commands import Command
from tests.fixtures.recordings import VOICE_RATE_HZ as RATE_HZ
from tests.fixtures.sounds import tone

from dawnchorus.errors import InputError
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import Bundle

FloatArray = np.ndarray


def test_windows_with_a_voice_are_flagged_or_dropped(spoken: Path, level_bundle: Bundle) -> None:
    def windows(**more: object) -> dict[float, bool | None]:
        options = Options(min_score=0.0, species=("Avis magna",), **more)  # type: ignore[arg-type]
        run = identify(spoken, options, model=level_bundle.folder)
        (table,) = run.tables()
        assert (run.speech_s > 0) == (options.speech is not None)
        assert bool(table.silenced) == (options.speech in ("blank", "drop"))
        return {d.start_s: d.human_voice for d in table.detections}

    assert set(windows().values()) == {None}, "nobody looked"
    flagged = windows(speech="flag")
    assert [flagged[s] for s in (0.0, 8.0, 11.0, 12.0, 15.0, 23.0)] == [False, False, True, True, False, False]
    assert windows(speech="blank") == flagged
    assert windows(speech="drop") == {start: False for start, voice in flagged.items() if not voice}
    merged = identify(spoken, Options(min_score=0.0, speech="flag", merge=True), model=level_bundle.folder)
    assert any(d.human_voice for t in merged.tables() for d in t.detections)
    with pytest.raises(InputError, match="speech: expected one of flag, blank, drop, got 'mute'"):
        Options(speech="mute")  # type: ignore[arg-type]


def test_a_voice_in_one_channel_counts_for_all(voice: FloatArray, tmp_path: Path, level_bundle: Bundle) -> None:
    bird = tone(4000, seconds=4, level=0.3)
    spoken = np.concatenate([bird, voice])
    soundfile.write(tmp_path / "x.wav", np.column_stack([np.resize(bird, len(spoken)), spoken]), RATE_HZ)
    options = Options(min_score=0.0, species=("Avis magna",), speech="flag", channel="each")
    run = identify(tmp_path / "x.wav", options, model=level_bundle.folder)
    (table,) = run.tables()
    left, right = ({d.start_s: d.human_voice for d in each.detections} for each in table.by_channel())
    assert left == right
    assert (left[0.0], left[5.0]) == (False, True)
    assert run.speech_s == pytest.approx(sum(segment.length_s for segment in table.speech))
    assert run.speech_s < table.duration_s


def test_the_journal_remembers_voices_and_the_csv_names_them(
    spoken: Path, level_bundle: Bundle, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out.csv"
    arguments = ["identify", spoken, "--model", level_bundle.folder, "--min-score", "0.1", "--out", out, "-q"]
    assert command(*arguments, "--speech", "flag").returncode == 0
    with out.open() as file:
        flagged = {row["Start (s)"]: row["human_voice"] for row in csv.DictReader(file)}
    assert flagged["11.0"] == "true"
    assert flagged["0.0"] == "false"
    # Another use of what was found needs no second listening.
    assert command(*arguments, "--speech", "drop", "--resume").returncode == 0
    with out.open() as file:
        assert {row["human_voice"] for row in csv.DictReader(file)} == {"false"}
    refused = command(*arguments, "--resume")
    assert refused.returncode == 2
    assert b"find_speech" in refused.stderr
