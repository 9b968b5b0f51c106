"""Plots of whole recordings."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from tests.fixtures.birds import bird, table
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import read_clip
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.plotting.recording import (
    DPI,
    MAX_ROWS,
    ROW_S,
    WAVEFORM_IN,
    draw_recording,
    draw_recording_with_waveform,
)
from dawnchorus.plotting.spectrogram import recording_spectrogram
from dawnchorus.reports.summary import summarize


def test_plots_and_clips_follow_the_channel(decoder: DecoderProcess, tmp_path: Path) -> None:
    left, right = tone(3000, seconds=2.0, rate_hz=24_000), tone(6000, seconds=2.0, rate_hz=24_000)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.column_stack([left, right]), 24_000)
    for channel, hz in (("left", 3000), ("right", 6000)):
        levels = recording_spectrogram(path, decoder=decoder, duration_s=2, channel=channel).levels_db  # type: ignore[arg-type]
        assert levels.mean(axis=1).argmax() / levels.shape[0] * 12_000 == pytest.approx(hz, abs=50)
        detected = replace(table(path, bird(0.5), duration_s=2.0), channel=channel)
        best = summarize([(path, detected)]).classes[bird(0.5).scientific_name].best
        assert best is not None
        assert best.channel == channel
        clip = read_clip(path, start_s=0.5, end_s=1.0, rate_hz=24_000, channel=best.channel)
        assert np.abs(np.fft.rfft(clip)).argmax() * 2 == hz
    assert (
        pixels(draw_recording(path, detected, decoder=decoder))
        != pixels(draw_recording(path, replace(detected, channel="left"), decoder=decoder))
    ).any()


def test_a_waveform_stands_above_each_row(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    for seconds in (0.01, 31.0):
        soundfile.write(path, tone(3000, seconds=seconds, rate_hz=24_000), 24_000)
        description = table(path, bird(4.0), duration_s=seconds)
        plain = pixels(draw_recording(path, description, decoder=decoder))
        both = pixels(draw_recording_with_waveform(path, description, decoder=decoder))
        n_rows = 2 if seconds > ROW_S else 1
        assert both.shape[0] - plain.shape[0] == pytest.approx(n_rows * WAVEFORM_IN * DPI, abs=2)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(imread(io.BytesIO(png)))


def test_spectrogram_shows_signal_and_boxes(decoder: DecoderProcess, recording: Path) -> None:
    plain = pixels(draw_recording(recording, table(recording), decoder=decoder))
    boxed = pixels(draw_recording(recording, table(recording, bird(4.0)), decoder=decoder))
    assert plain.shape[1] == boxed.shape[1] >= 1000
    assert np.unique(plain.reshape(-1, plain.shape[-1]), axis=0).shape[0] > 50
    assert boxed.shape[0] >= plain.shape[0], "a name tag needs its lane"
    names = [bird(4.0, f"Avis {k}", f"Bird {k}") for k in range(9)]
    assert pixels(draw_recording(recording, table(recording, *names), decoder=decoder)).shape[0] > boxed.shape[0]


@pytest.mark.parametrize("name", ["a$b_{c.wav", "Ärger ☂.wav", "%s {0}.wav"])
def test_any_name_can_be_in_a_title(decoder: DecoderProcess, recording: Path, name: str) -> None:
    renamed = recording.rename(recording.with_name(name))
    odd = bird(1.0, "Avis $x$", "A $bad_{ name <b>")
    assert draw_recording(renamed, table(renamed, odd), decoder=decoder).startswith(b"\x89PNG")


def test_plots_of_very_short_and_long_recordings(decoder: DecoderProcess, tmp_path: Path) -> None:
    for name, seconds in (("short.wav", 0.01), ("long.wav", ROW_S * MAX_ROWS + 1)):
        path = tmp_path / name
        soundfile.write(path, tone(seconds=seconds, rate_hz=8000), 8000)
        png = draw_recording(path, table(path, duration_s=seconds), decoder=decoder)
        assert png.startswith(b"\x89PNG")
        assert pixels(png).shape[0] < 6000
