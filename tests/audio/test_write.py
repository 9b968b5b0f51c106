"""Written sound: its level, its form, and what is said where it cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_mono
from dawnchorus.audio.write import encode_mp3, write_recording
from dawnchorus.errors import OutputError


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_a_recording_is_written_as_16_bits(tmp_path: Path, name: str) -> None:
    write_recording(tmp_path / name, tone(seconds=0.1), rate_hz=16_000)
    assert soundfile.info(tmp_path / name).subtype == "PCM_16"
    samples, rate_hz = read_mono(tmp_path / name)
    assert rate_hz == 16_000
    np.testing.assert_allclose(samples, tone(seconds=0.1), atol=2 / 2**15)


def test_a_missing_folder_and_a_full_disk_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none" / "x.wav"
    with pytest.raises(OutputError, match=r"x\.wav: cannot be written"):
        write_recording(path, tone(seconds=0.1), rate_hz=16_000)

    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_recording(path, tone(seconds=0.1), rate_hz=16_000)


@pytest.mark.parametrize("level", [0.001, 0.5, 3.0])
def test_an_mp3_is_raised_to_nearly_full_scale(tmp_path: Path, level: float) -> None:
    (tmp_path / "x.mp3").write_bytes(encode_mp3(tone(level=level), rate_hz=16_000))
    samples, rate_hz = read_mono(tmp_path / "x.mp3")
    assert rate_hz == 16_000
    assert np.abs(samples[4000:-4000]).max() == pytest.approx(0.9, abs=0.03)


def test_silence_and_nothing_can_be_encoded(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_bytes(encode_mp3(np.zeros(16_000, np.float32), rate_hz=16_000))
    assert np.abs(read_mono(tmp_path / "x.mp3")[0]).max() < 1e-4
    encode_mp3(np.zeros(0, np.float32), rate_hz=16_000)
