"""`--channel`: which channel is scored, said in the run, kept by its journal, and the default unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import Command

from dawnchorus.errors import InputError, OutputError
from dawnchorus.identification import Options, identify
from dawnchorus.models.bundle import Bundle


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Two seconds: 0.6 on the left, its negative on the right, so nothing in the mean."""
    left = np.repeat([0.6, 0.3], 16_000) * np.tile([1.0, -1.0], 16_000)
    soundfile.write(tmp_path / "20240601_013005.wav", np.column_stack([left, -0.8 * left]), 16_000, subtype="FLOAT")
    return tmp_path / "20240601_013005.wav"


@pytest.mark.parametrize(
    ("channel", "scores"), [("mean", [0.06, 0.03]), ("left", [0.6, 0.3]), ("right", [0.48, 0.24]), ("best", [0.6, 0.3])]
)
def test_the_channel_that_is_asked_for_is_scored(
    stereo: Path, level_bundle: Bundle, channel: str, scores: list[float]
) -> None:
    options = Options(min_score=0.01, species=("Avis magna",), channel=channel)  # type: ignore[arg-type]
    run = identify(stereo, options, model=level_bundle.folder)
    (table,) = run.tables()
    assert [detection.score for detection in table.detections] == pytest.approx(scores, abs=0.01)


def test_default_journals_are_those_of_older_versions_and_others_have_the_channel() -> None:
    assert "channel" not in Options().scoring()
    assert Options(channel="left").scoring() == {**Options().scoring(), "channel": "left"}
    with pytest.raises(InputError, match="channel: expected one of mean, left, right, best, got 'each'"):
        Options(channel="each")  # type: ignore[arg-type]


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
