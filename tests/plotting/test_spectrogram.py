"""Spectrograms: right in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.spectrogram import (
    MAX_COLUMNS,
    Spectrogram,
    clip_spectrogram,
    recording_spectrogram,
    stretch_spectrogram,
)


def test_a_tone_is_where_it_is_in_time_and_pitch(decoder: DecoderProcess, recording: Path) -> None:
    spectrogram = recording_spectrogram(recording, decoder=decoder, duration_s=10)
    levels = spectrogram.levels_db
    row, column = np.unravel_index(levels.argmax(), levels.shape)
    assert row / levels.shape[0] * spectrogram.top_hz == pytest.approx(3000, abs=50)
    loud = np.flatnonzero(levels[row] > levels.max() - 10) / spectrogram.columns_per_s
    assert (loud[0], loud[-1]) == (pytest.approx(4, abs=0.05), pytest.approx(6, abs=0.05))
    assert column / spectrogram.columns_per_s == pytest.approx(5, abs=1.1)


def test_long_recordings_keep_the_loudest_of_what_shares_a_column(decoder: DecoderProcess, tmp_path: Path) -> None:
    signal = np.zeros(24_000 * 600, np.float32)
    signal[24_000 * 300 : 24_000 * 300 + 1200] = tone(3000, seconds=0.05, rate_hz=24_000)
    soundfile.write(tmp_path / "long.flac", signal, 24_000)
    spectrogram = recording_spectrogram(tmp_path / "long.flac", decoder=decoder, duration_s=600)
    assert spectrogram.levels_db.shape[1] <= 15_000
    _, column = np.unravel_index(spectrogram.levels_db.argmax(), spectrogram.levels_db.shape)
    assert column / spectrogram.columns_per_s == pytest.approx(300, abs=0.3)


def test_a_clip_equals_that_part_of_the_whole(decoder: DecoderProcess, recording: Path) -> None:
    samples, rate_hz = soundfile.read(recording, dtype="float32")
    clip = clip_spectrogram(samples[: 5 * rate_hz], rate_hz=rate_hz)
    whole = recording_spectrogram(recording, decoder=decoder, duration_s=10)
    np.testing.assert_allclose(clip.levels_db[:, :400], whole.levels_db[:, :400], atol=0.1)


def test_segment_equals_that_part_of_the_audio(decoder: DecoderProcess, recording: Path) -> None:
    samples, rate_hz = soundfile.read(recording, dtype="float32")
    clip = clip_spectrogram(samples[3 * rate_hz : 5 * rate_hz], rate_hz=rate_hz, start_s=3.0)
    stretch = stretch_spectrogram(recording, decoder=decoder, start_s=3.0, end_s=5.0)
    assert (stretch.start_s, stretch.end_s, stretch.top_hz) == (clip.start_s, clip.end_s, clip.top_hz)
    np.testing.assert_allclose(stretch.levels_db, clip.levels_db, atol=0.1)


def test_a_long_stretch_has_few_columns_and_shows_the_loudest(decoder: DecoderProcess, tmp_path: Path) -> None:
    signal = np.zeros(16_000 * 500, np.float32)
    signal[16_000 * 300 : 16_000 * 300 + 1600] = tone(3000, seconds=0.1, rate_hz=16_000)
    soundfile.write(tmp_path / "long.flac", signal, 16_000)
    stretch = stretch_spectrogram(tmp_path / "long.flac", decoder=decoder, start_s=100.0, end_s=1000.0)
    assert stretch.levels_db.shape[1] <= MAX_COLUMNS
    assert (stretch.start_s, stretch.top_hz) == (100.0, 12_000)
    assert stretch.end_s == pytest.approx(500, abs=0.01), "the end of the recording"
    row, column = np.unravel_index(stretch.levels_db.argmax(), stretch.levels_db.shape)
    assert row / stretch.levels_db.shape[0] * stretch.top_hz == pytest.approx(3000, abs=50)
    assert stretch.start_s + column / stretch.columns_per_s == pytest.approx(300, abs=0.3)


def test_a_part_is_within_the_spectrogram_and_has_a_column() -> None:
    whole = Spectrogram(np.zeros((4, 100), np.float32), 12_000.0, 10.0, 20.0)
    for given, expected in (((5, 12), (10, 12, 20)), ((20, 21), (19.9, 20, 1)), ((15, 15), (15, 15.1, 1))):
        part = whole.between(*given)
        assert (part.start_s, part.end_s, part.levels_db.shape[1]) == pytest.approx(expected)
